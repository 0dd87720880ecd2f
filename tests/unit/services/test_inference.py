"""The inference service on a real store and a tiny model."""

import asyncio
import contextlib
import gc
import weakref

import pytest
import torch

from hyprstream_core.config import EngineSettings, Settings
from hyprstream_core.errors import (
    ContextLengthExceeded,
    InternalError,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    Unavailable,
    WeightsError,
)
from hyprstream_core.interfaces.inference import GenerateRequest, SamplingParams
from hyprstream_core.plugins import discover
from hyprstream_core.services.inference import InferenceService
from hyprstream_core.testing.checkpoints import TINY_QWEN3, random_tensors, write_checkpoint
from hyprstream_qwen.qwen3 import Qwen3

NUM_BRANCHES = 3


@pytest.fixture
def commits(store, make_repo):
    """Commits of three branches of the cloned model ``tiny``, and of a fourth whose weights hold NaN."""
    repo, found = make_repo("tiny"), {}
    for seed, branch in enumerate(["main", "b1", "b2", "broken"]):
        if seed:
            repo.run("checkout", "-q", "-b", branch)
        tensors = random_tensors(Qwen3, TINY_QWEN3, seed)
        if branch == "broken":
            tensors["model.norm.weight"].fill_(float("nan"))
        write_checkpoint(repo.path, TINY_QWEN3, tensors)
        found[branch] = repo.commit(branch)
    repo.run("checkout", "-q", "main")
    store.clone(str(repo.path))
    return found


@pytest.fixture
def serve(store, tmp_path):
    """serve(settings) → an async context with a running service."""
    torch.set_num_threads(1)

    @contextlib.asynccontextmanager
    async def make(**engine):
        settings = Settings(
            models_dir=tmp_path / "models",
            engine=EngineSettings(**{"threads": 1, "kv_memory": 2**22, **engine}),
        )
        service = InferenceService(store, discover(), settings)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()

    return make


def request(name, commit, count=8, prompt=(5, 6, 7), **params):
    return GenerateRequest(name, "tiny", commit, prompt, SamplingParams(count, **{"temperature": 0.0, **params}))


async def collect(service, asked):
    tokens = []
    async for chunk in service.generate(asked):
        tokens += chunk.token_ids
    return tokens


async def settled(service):
    """The status once nothing runs any more."""
    for _ in range(100):
        status = await service.status()
        if not status.running and not status.waiting:
            return status
        await asyncio.sleep(0.02)
    raise AssertionError("requests keep running")


def test_commits_answer_side_by_side_and_differently(serve, commits):
    async def main():
        async with serve() as service:
            names = ["main", "b1", "b2"]
            answers = await asyncio.gather(*(collect(service, request(n, commits[n])) for n in names))
            again = await asyncio.gather(*(collect(service, request(n, commits[n])) for n in names))
            assert answers == again
            assert len({tuple(a) for a in answers}) == NUM_BRANCHES
            status = await service.status()
            assert set(status.loaded) == {commits[n] for n in names}
            assert status.generated_tokens == 2 * 3 * 8
            assert status.kv_blocks_free == status.kv_blocks_total > 0

    asyncio.run(main())


def test_the_least_recently_used_idle_model_makes_room_and_counters_stay(serve, commits):
    async def main():
        async with serve(max_cached_models=2) as service:
            for name in ("main", "b1", "main", "b2"):
                await collect(service, request(name, commits[name]))
            status = await service.status()
            assert set(status.loaded) == {commits["main"], commits["b2"]}
            assert status.generated_tokens == 4 * 8

    asyncio.run(main())


def test_when_all_models_are_in_use_another_is_refused(serve, commits):
    async def main():
        async with serve(max_cached_models=1) as service:
            stream = service.generate(request("long", commits["main"], 900))
            await anext(stream)
            with pytest.raises(Overloaded):
                await collect(service, request("other", commits["b1"]))
            await stream.aclose()
            await settled(service)
            assert len(await collect(service, request("other", commits["b1"]))) == 8

    asyncio.run(main())


def test_closing_the_stream_frees_everything(serve, commits):
    async def main():
        async with serve() as service:
            streams = [service.generate(request(str(i), commits["main"], 900, (i + 1, 2))) for i in range(8)]
            for stream in streams:
                await anext(stream)
            for stream in streams:
                await stream.aclose()
            status = await settled(service)
            assert status.kv_blocks_free == status.kv_blocks_total
            assert status.generated_tokens < 8 * 800
            assert not service._streams

    asyncio.run(main())


def test_refusals_are_typed_and_the_engine_goes_on(serve, commits):
    async def main():
        async with serve() as service:
            for asked, error in [
                (request("a", commits["main"], 2000), ContextLengthExceeded),
                (request("b", commits["main"], prompt=(1, 320)), InvalidRequest),
                (request("c", commits["main"], prompt=()), InvalidRequest),
                (request("d", "0" * 40), ModelNotFound),
                (request("e", commits["broken"]), WeightsError),
            ]:
                with pytest.raises(error):
                    await collect(service, asked)
            assert len(await collect(service, request("f", commits["main"]))) == 8

    asyncio.run(main())


def test_a_failing_step_ends_its_requests_with_an_error_and_leaves_others(serve, commits, monkeypatch):
    async def main():
        async with serve() as service:
            await collect(service, request("warm", commits["main"]))
            engine = service._models.loaded()[commits["main"]].engine
            run = engine.runner.run
            monkeypatch.setattr(engine.runner, "run", lambda plan: 1 / 0)
            with pytest.raises(InternalError, match="engine step failed"):
                await collect(service, request("x", commits["main"]))
            assert len(await collect(service, request("y", commits["b1"]))) == 8
            monkeypatch.setattr(engine.runner, "run", run)
            assert len(await collect(service, request("z", commits["main"]))) == 8
            engine.pool.check_integrity()
            assert engine.pool.num_free == engine.pool.num_blocks

    asyncio.run(main())


def test_a_request_id_in_use_is_refused(serve, commits):
    async def main():
        async with serve() as service:
            stream = service.generate(request("same", commits["main"], 500))
            await anext(stream)
            with pytest.raises(InvalidRequest, match="in use"):
                await collect(service, request("same", commits["main"]))
            await stream.aclose()

    asyncio.run(main())


def test_without_max_tokens_an_answer_takes_what_fits_the_kv_cache(serve, commits):
    async def main():
        block = 2 * 3 * 2 * 16 * 16 * 4
        async with serve(kv_memory=6 * block) as service:
            tokens = await collect(service, request("a", commits["main"], 0))
            assert len(tokens) == 6 * 16 - 3
            with pytest.raises(ContextLengthExceeded, match="KV cache holds 96"):
                await collect(service, request("b", commits["main"], 94))

    asyncio.run(main())


def test_an_unloaded_model_is_really_freed(serve, commits):
    async def main():
        async with serve(max_cached_models=1) as service:
            await collect(service, request("a", commits["main"]))
            gone = weakref.ref(service._models.loaded()[commits["main"]].engine.runner)
            await collect(service, request("b", commits["b1"]))
            gc.collect()
            assert gone() is None

    asyncio.run(main())


def test_two_requests_for_a_new_model_load_it_once(serve, commits, monkeypatch):
    async def main():
        async with serve(max_cached_models=1) as service:
            await collect(service, request("first", commits["main"]))
            loads, load = [], service._models.load
            monkeypatch.setattr(service._models, "load", lambda *names: loads.append(names) or load(*names))
            both = [collect(service, request(name, commits["b1"])) for name in "ab"]
            one, two = await asyncio.gather(*both)
            assert one == two
            assert len(loads) == 1

    asyncio.run(main())


def test_callers_that_leave_while_room_is_made_do_no_harm(serve, commits):
    """Their cancellation reaches neither the unloading nor the engine thread, and no counter goes down."""

    async def main():
        async with serve(max_cached_models=1) as service:
            await collect(service, request("first", commits["main"]))
            for i in range(40):
                task = asyncio.create_task(collect(service, request(f"gone{i}", commits[("b1", "b2")[i % 2]])))
                for _ in range(i % 5):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Overloaded):
                    await task
            await settled(service)
            while service._models.num_loading:
                await asyncio.sleep(0.02)
            assert service._engine_loop.is_alive
            assert len(await collect(service, request("last", commits["main"]))) == 8
            assert (await service.status()).generated_tokens >= 16

    asyncio.run(main())


def test_stop_ids_outside_the_vocabulary_are_refused_by_the_engine_itself(serve, commits):
    async def main():
        async with serve() as service:
            for bad in (320, -1):
                with pytest.raises(InvalidRequest, match="outside the vocabulary"):
                    await collect(service, request("x", commits["main"], stop_token_ids=(bad,), min_tokens=2))

    asyncio.run(main())


def test_an_engine_thread_that_ended_is_said_and_nobody_waits(serve, commits, monkeypatch):
    async def main():
        async with serve() as service:
            stream = service.generate(request("x", commits["main"], 900))
            await anext(stream)
            monkeypatch.setattr(service._engine_loop, "_drain", lambda: 1 / 0)
            with pytest.raises(InternalError, match="thread ended"):
                async for _ in stream:
                    pass
            with pytest.raises(Unavailable):
                await collect(service, request("y", commits["main"]))
            assert not (await service.status()).ready

    asyncio.run(main())
