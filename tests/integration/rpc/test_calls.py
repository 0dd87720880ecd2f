import asyncio
import json
import time
from contextlib import suppress

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    Overloaded,
    Unavailable,
)
from hyprstream_core.interfaces.inference import EngineStatus
from hyprstream_core.rpc import wire
from hyprstream_core.rpc.client import Client, ClientOptions
from hyprstream_core.rpc.contracts import GENERATE, INFERENCE, MODELS, SCHEMAS, STATUS, Empty, Method
from hyprstream_core.rpc.endpoints import endpoint
from hyprstream_core.rpc.server import Server, ServerOptions
from hyprstream_core.rpc.service_clients import InferenceClient


async def collect(stream):
    return [token async for chunk in stream for token in chunk.token_ids]


def test_a_unary_call_returns_its_record(hosting, scheme, scripted):
    async def main():
        async with hosting(scripted(), scheme) as (_, client):
            status = await client.call(STATUS, Empty())
            assert isinstance(status, EngineStatus)
            assert status.ready is True
            assert await InferenceClient(client).status() == status

    asyncio.run(main())


def test_a_stream_yields_every_chunk_in_order(hosting, scheme, ask, scripted):
    async def main():
        async with hosting(scripted(), scheme) as (server, client):
            for model in ("count", "turns"):
                assert await collect(InferenceClient(client).generate(ask(model, 2000))) == list(range(2000))
            assert server.running_calls == 0

    asyncio.run(main())


def test_a_prompt_of_100_000_tokens_arrives(hosting, ask, scripted):
    async def main():
        async with hosting(scripted()) as (_, client):
            prompt = range(100_000)
            assert await collect(InferenceClient(client).generate(ask("count", 1, prompt))) == [0]

    asyncio.run(main())


def test_the_method_knows_who_calls(hosting, ask, scripted):
    async def main():
        service = scripted()
        async with hosting(service) as (_, client):
            before = time.time()
            stream = client.stream(
                GENERATE, ask(), subject="token:bob", request_id="chat-1", traceparent="00-ab-cd-01", timeout=9
            )
            await collect(stream)
            (call,) = service.calls
            assert (call.subject, call.request_id, call.traceparent) == ("token:bob", "chat-1", "00-ab-cd-01")
            assert before + 8.9 < call.deadline < time.time() + 9

    asyncio.run(main())


def test_typed_errors_cross_with_all_their_facts(hosting, scheme, ask, scripted):
    async def main():
        async with hosting(scripted(), scheme) as (server, client):
            with pytest.raises(ContextLengthExceeded) as caught:
                await collect(InferenceClient(client).generate(ask("refuse")))
            error = caught.value
            assert (error.message, error.remedy, error.param) == ("got 9, expected 8", "shorten", "prompt")
            assert error.details == {"limit": 8}
            assert server.counters.errors == 1

    asyncio.run(main())


def test_an_unexpected_exception_tells_the_client_nothing_and_the_log_everything(hosting, ask, logged, scripted):
    async def main():
        async with hosting(scripted()) as (_, client):
            with pytest.raises(InternalError) as caught:
                await collect(InferenceClient(client).generate(ask("crash")))
            assert "secret" not in repr(caught.value.to_record())

    asyncio.run(main())
    assert "internal secret 0xdeadbeef" in logged.getvalue()
    assert "Traceback" in logged.getvalue()


def test_a_defect_that_the_service_names_itself_is_logged_too(hosting, ask, logged, scripted):
    async def main():
        async with hosting(scripted()) as (_, client):
            with pytest.raises(InternalError, match="a block is wrong"):
                await collect(InferenceClient(client).generate(ask("defect")))

    asyncio.run(main())
    assert "a block is wrong" in logged.getvalue()
    assert "Traceback" in logged.getvalue()


def test_a_server_says_at_its_end_what_it_did(hosting, ask, logged, scripted):
    async def main():
        async with hosting(scripted()) as (_, client):
            await client.call(STATUS, Empty())
            with pytest.raises(ContextLengthExceeded):
                await collect(InferenceClient(client).generate(ask("refuse")))

    asyncio.run(main())
    (line,) = [
        line for line in map(json.loads, logged.getvalue().splitlines()) if line["event"] == "rpc server stopped"
    ]
    assert {name: line[name] for name in ("calls", "errors", "cancelled", "vanished", "dropped")} == {
        "calls": 2,
        "errors": 1,
        "cancelled": 0,
        "vanished": 0,
        "dropped": 0,
    }


def test_a_response_of_another_type_is_the_services_fault(hosting, ask, scripted):
    async def main():
        async with hosting(scripted()) as (_, client):
            with pytest.raises(InternalError, match="another type"):
                await collect(InferenceClient(client).generate(ask("type")))

    asyncio.run(main())


def test_closing_the_iterator_closes_the_generator_within_one_turn(hosting, ask, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service, "inproc") as (server, client):
            stream = InferenceClient(client).generate(ask("slow", 10_000))
            await anext(stream)
            assert service.open == 1
            await stream.aclose()
            started = time.monotonic()
            await until(lambda: service.open == 0, 0.5)
            assert time.monotonic() - started < 0.25
            assert server.counters.cancelled == 1
            await until(lambda: server.running_calls == 0)
            assert server.counters.errors == 0, "a client that leaves is no error"

    asyncio.run(main())


def test_leaving_a_loop_early_cancels_too(hosting, ask, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service) as (_, client):
            async for _chunk in InferenceClient(client).generate(ask("slow", 10_000)):
                break
            await until(lambda: service.open == 0)

    asyncio.run(main())


def test_a_generator_that_waits_forever_is_closed_by_cancellation(hosting, ask, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service) as (_, client):
            task = asyncio.create_task(collect(InferenceClient(client).generate(ask("hang"))))
            await until(lambda: service.open == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: service.open == 0)

    asyncio.run(main())


def test_deadlines_end_the_call_on_both_sides(hosting, ask, until, scheme, scripted):
    async def main():
        service = scripted()
        async with hosting(service, scheme) as (_, client):
            for model in ("hang", "slow"):
                started = time.monotonic()
                with pytest.raises(DeadlineExceeded):
                    await collect(client.stream(GENERATE, ask(model, 100_000), timeout=0.2))
                assert 0.15 < time.monotonic() - started < 1.5
                await until(lambda: service.open == 0)

    asyncio.run(main())


def test_the_server_keeps_a_deadline_that_the_client_forgets(hosting, ask, until, scripted):
    """A client that is stuck neither reads nor cancels; its call ends at its deadline all the same."""

    async def main():
        service = scripted()
        async with hosting(service) as (_, client):
            stream = client.stream(GENERATE, ask("slow", 100_000), timeout=0.3)
            await anext(stream)
            await until(lambda: service.open == 0, 2)
            with pytest.raises(DeadlineExceeded):
                await collect(stream)

    asyncio.run(main())


def test_a_reader_that_takes_nothing_holds_one_window_and_is_cancelled(hosting, ask, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service, options=ServerOptions(stall_timeout=0.3)) as (_, client):
            stream = InferenceClient(client).generate(ask("turns", 100_000))
            await anext(stream)
            await until(lambda: service.open == 0)
            assert service.chunks <= wire.WINDOW + 2
            with pytest.raises(Overloaded) as caught:
                await collect(stream)
            assert caught.value.error_code == "rpc.slow_reader"

    asyncio.run(main())


def test_a_slow_reader_within_the_stall_time_loses_nothing(hosting, ask, scripted):
    async def main():
        async with hosting(scripted(), options=ServerOptions(stall_timeout=5)) as (_, client):
            seen = []
            async for chunk in InferenceClient(client).generate(ask("count", 1500)):
                seen += chunk.token_ids
                if len(seen) % 250 == 0:
                    await asyncio.sleep(0.05)
            assert seen == list(range(1500))

    asyncio.run(main())


def test_stopping_the_server_tells_everybody(hosting, scheme, ask, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service, scheme) as (server, client):
            task = asyncio.create_task(collect(InferenceClient(client).generate(ask("hang"))))
            await until(lambda: service.open == 1)
            await server.stop()
            with pytest.raises(Unavailable):
                await asyncio.wait_for(task, 3)
            assert service.open == 0
            await until(lambda: not client.connected)
            started = time.monotonic()
            with pytest.raises(Unavailable):
                await client.call(STATUS, Empty())
            assert time.monotonic() - started < 0.1

    asyncio.run(main())


def test_a_client_reconnects_to_the_next_server(hosting, scheme, until, scripted):
    async def main():
        async with hosting(scripted(), scheme) as (server, client):
            await client.call(STATUS, Empty())
            await server.stop()
            await until(lambda: not client.connected)
            successor = Server([scripted()], server.endpoints, server._links)
            await successor.start()
            try:
                await until(lambda: client.connected)
                assert (await client.call(STATUS, Empty())).ready
            finally:
                await successor.stop()

    asyncio.run(main())


def test_a_client_may_come_before_its_server(hosting, runtime_dir, scheme, scripted):
    async def main():
        async with Client(
            endpoint("inference", scheme, runtime_dir), options=ClientOptions(connect_timeout=5)
        ) as early:
            call = asyncio.create_task(early.call(STATUS, Empty()))
            await asyncio.sleep(0.1)
            async with hosting(scripted(), scheme):
                assert (await call).ready

    asyncio.run(main())


def test_without_a_server_a_call_fails_after_the_connect_timeout(runtime_dir):
    async def main():
        async with Client(f"ipc://{runtime_dir}/none.sock", options=ClientOptions(connect_timeout=0.2)) as client:
            with pytest.raises(Unavailable, match="cannot be reached"):
                await client.call(STATUS, Empty())

    asyncio.run(main())


def test_unknown_services_and_methods_are_named(hosting, scripted):
    async def main():
        async with hosting(scripted()) as (server, client):
            with pytest.raises(Unavailable, match="'registry'"):
                await client.call(MODELS, Empty())
            unknown = Method("inference", "__init__", Empty, Empty, SCHEMAS / "inference.capnp")
            with pytest.raises(InvalidRequest, match="'__init__'"):
                await client.call(unknown, Empty())
            assert server.counters.errors == 2

    asyncio.run(main())


def test_one_client_may_run_so_many_calls_at_a_time(hosting, ask, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service, options=ServerOptions(max_calls=2)) as (_, client):
            tasks = [asyncio.create_task(collect(InferenceClient(client).generate(ask("hang")))) for _ in range(2)]
            await until(lambda: service.open == 2)
            with pytest.raises(Overloaded):
                await client.call(STATUS, Empty())
            for task in tasks:
                task.cancel()
            await until(lambda: service.open == 0)
            assert (await client.call(STATUS, Empty())).running == 0

    asyncio.run(main())


def test_calls_cancelled_before_they_began_are_forgotten(hosting, until, scripted):
    """Request and cancellation arrive together: the call's task is cancelled before its first turn."""

    async def main():
        async with hosting(scripted(), options=ServerOptions(max_calls=4)) as (server, client):
            await client.call(STATUS, Empty())
            for _ in range(20):
                task = asyncio.create_task(client.call(STATUS, Empty()))
                await asyncio.sleep(0)
                task.cancel()
            for _ in range(200):  # some of the cancelled ones may still be on their way
                with suppress(Overloaded):
                    assert (await client.call(STATUS, Empty())).running == 0
                    break
                await asyncio.sleep(0.02)
            else:
                raise AssertionError("cancelled calls are still counted")
            await until(lambda: server.running_calls == 0)

    asyncio.run(main())


def test_a_request_that_is_too_large_is_refused_before_it_is_sent(hosting, ask, scripted):
    async def main():
        async with hosting(scripted(), limits=Limits(message_bytes=4096)) as (server, client):
            with pytest.raises(InvalidRequest, match="too large"):
                await collect(InferenceClient(client).generate(ask("count", 1, range(5000))))
            assert (await client.call(STATUS, Empty())).forward_passes == 0
            assert server.counters.dropped == 0

    asyncio.run(main())


def test_calling_a_stream_as_a_call_is_a_defect_that_is_named(hosting, ask, scripted):
    async def main():
        async with hosting(scripted()) as (_, client):
            with pytest.raises(InternalError, match="use Client"):
                await client.call(GENERATE, ask())
            with pytest.raises(InternalError, match="use Client"):
                await anext(client.stream(STATUS, Empty()))
            with pytest.raises(InternalError, match="takes GenerateRequest"):
                await anext(client.stream(GENERATE, Empty()))

    asyncio.run(main())


def test_32_streams_half_of_them_cancelled_leave_nothing_behind(hosting, scheme, ask, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service, scheme) as (server, client):
            await client.call(STATUS, Empty())
            tasks_before = len(asyncio.all_tasks())

            async def one(i):
                stream = InferenceClient(client).generate(ask("slow", 60, request_id=str(i)))
                if i % 2:
                    return await collect(stream)
                await anext(stream)
                return await stream.aclose()

            answers = await asyncio.gather(*[one(i) for i in range(32)])
            assert all(a == (list(range(60)) if i % 2 else None) for i, a in enumerate(answers))
            await until(lambda: service.open == 0 and server.running_calls == 0)
            assert server.counters.cancelled == 16
            assert server.counters.errors == 0
            assert len(asyncio.all_tasks()) == tasks_before
            assert not client._calls

    asyncio.run(main())


def test_a_silent_client_is_forgotten_and_its_streams_cancelled(hosting, ask, until, scripted):
    """It is connected, but sends no PING."""

    async def main():
        service = scripted()
        mute = ClientOptions(ping_interval=60)
        options = ServerOptions(peer_timeout=0.4)
        async with hosting(service, options=options, client_options=mute) as (server, client):
            task = asyncio.create_task(collect(InferenceClient(client).generate(ask("hang"))))
            await until(lambda: service.open == 1)
            await until(lambda: service.open == 0)
            assert (server.counters.vanished, server.counters.errors) == (1, 0)
            task.cancel()

    asyncio.run(main())


def test_pings_keep_an_idle_stream_alive(hosting, ask, until, scripted):
    async def main():
        service = scripted()
        lively = ClientOptions(ping_interval=0.1)
        async with hosting(service, options=ServerOptions(peer_timeout=0.5), client_options=lively) as (_, client):
            task = asyncio.create_task(collect(InferenceClient(client).generate(ask("hang"))))
            await until(lambda: service.open == 1)
            await asyncio.sleep(1.2)
            assert service.open == 1
            task.cancel()
            await until(lambda: service.open == 0)

    asyncio.run(main())


def test_closing_the_client_ends_its_calls(hosting, ask, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service) as (_, client):
            task = asyncio.create_task(collect(InferenceClient(client).generate(ask("hang"))))
            await until(lambda: service.open == 1)
            await client.close()
            with pytest.raises(Unavailable, match="closed"):
                await task
            await until(lambda: service.open == 0)
            with pytest.raises(Unavailable, match="closed"):
                await client.call(STATUS, Empty())

    asyncio.run(main())


def test_a_client_stays_on_its_event_loop(hosting, scripted):
    async def main():
        async with hosting(scripted()) as (_, client):
            await client.call(STATUS, Empty())
            with pytest.raises(InternalError, match="event loop"):
                await asyncio.to_thread(lambda: asyncio.run(client.call(STATUS, Empty())))

    asyncio.run(main())


def test_a_server_stays_reachable_after_its_loop_was_held_up(hosting, ask, scripted):
    """The heartbeats of both sides forgive what they missed themselves."""

    async def main():
        async with hosting(
            scripted(),
            options=ServerOptions(peer_timeout=0.3),
            client_options=ClientOptions(pong_timeout=0.3, ping_interval=0.05),
        ) as (server, client):
            assert await collect(InferenceClient(client).generate(ask("block", 700))) == list(range(700))
            assert server.counters.vanished == 0
            assert client.connected

    asyncio.run(main())


def test_a_contract_refuses_two_methods_of_one_name():
    with pytest.raises(InternalError, match="unique"):
        type(INFERENCE)("inference", (STATUS, STATUS))
