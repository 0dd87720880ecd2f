"""The inference service on a real store and a tiny model."""

import asyncio
import contextlib
import gc
import io
import json
import threading
import weakref

import pytest
import structlog
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
from hyprstream_core.interfaces.inference import GenerateRequest, SamplingParams, TokenChunk
from hyprstream_core.plugins import discover
from hyprstream_core.services.inference import InferenceService
from hyprstream_core.telemetry import setup_logging
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


def test_requests_of_one_id_are_told_apart(serve, commits):
    """The id is the caller's, for logs: neither two at a time nor one after a cancelled one share anything."""

    async def main():
        async with serve() as service:
            expected = await collect(service, request("alone", commits["main"], 30, (9, 9)))
            other = service.generate(request("same", commits["main"], 500))
            await anext(other)
            assert await collect(service, request("same", commits["main"], 30, (9, 9))) == expected
            await other.aclose()
            assert await collect(service, request("same", commits["main"], 30, (9, 9))) == expected

    asyncio.run(main())


def test_chunks_of_a_cancelled_request_do_not_reach_the_next_of_its_name(serve, commits):
    async def main():
        async with serve() as service:
            stream = service.generate(request("same", commits["main"], 500))
            await anext(stream)
            (key,) = service._streams
            await stream.aclose()
            again = asyncio.create_task(collect(service, request("same", commits["main"], 3, (9, 9))))
            await asyncio.sleep(0)
            service._dispatch([(key, TokenChunk((1, 2, 3), "stop"))])
            service._dispatch([("same", TokenChunk((1, 2, 3), "stop"))])
            assert await again == (await collect(service, request("x", commits["main"], 3, (9, 9))))

    asyncio.run(main())


@pytest.fixture
def logged():
    """What is logged, as JSON lines."""
    stream = io.StringIO()
    setup_logging("info", "json", stream)
    yield lambda event: [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == event]
    structlog.reset_defaults()


def test_the_log_says_how_each_request_ended(serve, commits, logged):
    async def main():
        async with serve() as service:
            await collect(service, request("whole", commits["main"], 3))
            with pytest.raises(ContextLengthExceeded):
                await collect(service, request("refused", commits["main"], 2000))
            with pytest.raises(ModelNotFound):
                await collect(service, request("unknown", "0" * 40))
            stream = service.generate(request("left", commits["main"], 900))
            await anext(stream)
            await stream.aclose()

    asyncio.run(main())
    assert {line["request_id"]: line["outcome"] for line in logged("request done")} == {
        "whole": "length",
        "refused": "context_length_exceeded",
        "unknown": "model_not_found",
        "left": "cancelled",
    }


def test_our_own_defects_are_logged_with_their_traceback(serve, commits, monkeypatch, logged):
    def defect(*_):
        raise InternalError("KV block 3 is released but not in use")

    async def main():
        async with serve() as service:
            await collect(service, request("warm", commits["main"]))
            engine = service._models.loaded()[commits["main"]].engine
            monkeypatch.setattr(engine.runner, "run", defect)
            with pytest.raises(InternalError, match="engine step failed"):
                await collect(service, request("x", commits["main"]))

    asyncio.run(main())
    (line,) = logged("an engine step failed")
    assert "KV block 3" in line["exception"]
    assert "Traceback" in line["exception"]


def test_a_broken_pool_takes_only_its_own_model_down(serve, commits, monkeypatch):
    """Cancelling fails as well: that engine is dropped, others answer, and the next request loads the model anew."""

    async def main():
        async with serve() as service:
            for name in ("main", "b1"):
                await collect(service, request(name, commits[name]))
            good = service.generate(request("good", commits["b1"], 400))
            await anext(good)
            engine = service._models.loaded()[commits["main"]].engine
            monkeypatch.setattr(engine, "cancel", lambda _: 1 / 0)
            monkeypatch.setattr(engine.runner, "run", lambda _: 1 / 0)
            asked = [collect(service, request(f"x{i}", commits["main"])) for i in range(3)]
            found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)
            assert {type(e) for e in found} <= {InternalError, Unavailable}
            assert service._engine_loop.is_alive
            assert len([token async for chunk in good for token in chunk.token_ids]) > 300
            assert len(await collect(service, request("anew", commits["main"]))) == 8
            assert service._models.loaded()[commits["main"]].engine is not engine
            assert (await service.status()).generated_tokens >= 8 + 8 + 400 + 8

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


def test_commands_that_come_while_the_engine_thread_dies_are_answered(serve, commits, monkeypatch):
    """What was queued during the fatal step, and what comes after it: each is answered once."""

    async def main():
        async with serve() as service:
            await collect(service, request("warm", commits["main"]))
            loop = service._engine_loop
            dying, late = threading.Event(), threading.Event()

            def die():
                dying.set()
                late.wait(10)
                raise RuntimeError("a defect")

            monkeypatch.setattr(loop, "_step_all", die)
            first = loop.call(lambda: None)
            await asyncio.to_thread(dying.wait, 10)
            waiting = [asyncio.create_task(collect(service, request(str(i), commits["main"]))) for i in range(3)]
            removal = loop.remove(commits["b1"])
            await asyncio.sleep(0.1)
            late.set()
            found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
            assert {type(e) for e in found} == {InternalError}
            with pytest.raises(InternalError, match="thread ended"):
                await asyncio.wait_for(asyncio.wrap_future(removal), 10)
            with pytest.raises(InternalError, match="thread ended"):
                loop.call(lambda: None).result(10)
            assert first.result(10) is None
            assert not loop._engines, "the models of a thread that ended are kept in memory"

    asyncio.run(main())


def test_commands_to_a_stopped_engine_thread_are_answered(serve):
    async def main():
        async with serve() as service:
            loop = service._engine_loop
        with pytest.raises(Unavailable, match="stopped"):
            loop.call(lambda: None).result(10)

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
