"""Servers and clients as real processes, killed without warning."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyprstream_core.builtin.rpc import Ipc
from hyprstream_core.errors import Conflict, InternalError, Unavailable
from hyprstream_core.hosting import HOST, Hosted, host_config
from hyprstream_core.interfaces.transport import RpcTransport
from hyprstream_core.rpc import wire
from hyprstream_core.rpc.client import Client, ClientOptions
from hyprstream_core.rpc.contracts import STATUS, Empty
from hyprstream_core.rpc.endpoints import endpoint
from hyprstream_core.rpc.server import Server, ServerOptions
from hyprstream_core.rpc.service_clients import InferenceClient
from hyprstream_core.spawn.program import Program
from hyprstream_core.spawn.spawned import spawn

TRANSPORTS = [RpcTransport("ipc", ("ipc",), "hyprstream_core.builtin.rpc:Ipc")]


def engine(runtime_dir, **config):
    services = [Hosted("inference", "scripted_service:Scripted", config)]
    return Program("engine", HOST, host_config(services, runtime_dir, TRANSPORTS))


async def collect(stream):
    return [token async for chunk in stream for token in chunk.token_ids]


def test_a_service_in_a_subprocess_answers(runtime_dir, ask):
    async def main():
        spawned = await spawn(engine(runtime_dir))
        try:
            async with Client(spawned.info["endpoints"]["inference"]) as client:
                inference = InferenceClient(client)
                assert await collect(inference.generate(ask("count", 500))) == list(range(500))
                assert (await inference.status()).device == str(spawned.pid) != str(os.getpid())
        finally:
            await spawned.stop()
        assert await spawned.wait() == 0

    asyncio.run(main())


@pytest.mark.parametrize("model", ["slow", "hang"])
def test_killing_the_server_ends_its_calls_within_seconds_and_new_ones_at_once(runtime_dir, ask, until, model):
    async def main():
        spawned = await spawn(engine(runtime_dir))
        async with Client(spawned.info["endpoints"]["inference"]) as client:
            inference = InferenceClient(client)
            tasks = [asyncio.create_task(collect(inference.generate(ask(model, 100_000)))) for _ in range(4)]
            while (await inference.status()).running < 4:
                await asyncio.sleep(0.01)
            os.kill(spawned.pid, signal.SIGKILL)
            killed = time.monotonic()
            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(answer, Unavailable)
            assert time.monotonic() - killed < 3
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await inference.status()
            assert time.monotonic() - began < 0.1
            assert await spawned.wait() == -signal.SIGKILL
            assert spawned.state == "stopped"

            successor = await spawn(engine(runtime_dir))  # the dead one's socket and lock are no obstacle
            try:
                await until(lambda: client.connected)
                assert (await inference.status()).forward_passes == 0  # no old request was sent again
            finally:
                await successor.stop()

    asyncio.run(main())


def test_a_service_that_ends_itself_is_seen(runtime_dir, ask, until):
    async def main():
        spawned = await spawn(engine(runtime_dir))
        async with Client(spawned.info["endpoints"]["inference"]) as client:
            with pytest.raises(Unavailable):
                await collect(InferenceClient(client).generate(ask("exit")))
            assert await spawned.wait() == 3
            assert spawned.state == "stopped"

    asyncio.run(main())


CLIENT = """
import asyncio, sys
from hyprstream_core.interfaces.inference import GenerateRequest, SamplingParams
from hyprstream_core.rpc import wire
from hyprstream_core.rpc.client import Client, ClientOptions
from hyprstream_core.rpc.service_clients import InferenceClient

async def main():
    async with Client(sys.argv[1]) as client:
        async def one():
            request = GenerateRequest("r", sys.argv[2], "0" * 40, (1,), SamplingParams(100000))
            async for chunk in InferenceClient(client).generate(request):
                pass
        await asyncio.gather(*[one() for _ in range(8)])

asyncio.run(main())
"""


@pytest.mark.parametrize("model", ["slow", "hang"])
def test_killing_a_client_cancels_its_streams(hosting, until, model, scripted):
    async def main():
        service = scripted()
        async with hosting(service, options=ServerOptions(peer_timeout=2)) as (server, _):
            process = subprocess.Popen([sys.executable, "-c", CLIENT, server.endpoints[0], model])
            try:
                await until(lambda: service.open == 8, 15)
            finally:
                process.kill()
                process.wait()
            await until(lambda: service.open == 0, 5)
            assert server.counters.vanished == 1
            assert server.running_calls == 0

    asyncio.run(main())


def test_a_second_server_is_refused_and_the_first_goes_on(runtime_dir, ask):
    async def main():
        first = await spawn(engine(runtime_dir))
        try:
            with pytest.raises(Conflict, match=f"pid {first.pid}") as caught:
                await spawn(engine(runtime_dir))
            assert caught.value.details["pid"] == first.pid
            async with Client(first.info["endpoints"]["inference"]) as client:
                assert await collect(InferenceClient(client).generate(ask("count", 2))) == [0, 1]
        finally:
            await first.stop()

    asyncio.run(main())


def test_an_endpoint_is_free_again_after_stop(runtime_dir, scripted):
    async def main():
        place = endpoint("inference", "ipc", runtime_dir)
        for _ in range(5):
            server = Server([scripted()], [place], {"ipc": Ipc()})
            await server.start()
            async with Client(place) as client:
                assert (await client.call(STATUS, Empty())).ready
            await server.stop()
        assert not Path(place.removeprefix("ipc://")).exists()

    asyncio.run(main())


def test_a_service_whose_constructor_fails_is_an_error_at_the_caller(runtime_dir):
    async def main():
        with pytest.raises(InternalError, match="ValueError: no such thing"):
            await spawn(engine(runtime_dir, create_fails=True))

    asyncio.run(main())


def test_a_client_is_refused_in_a_forked_process(hosting, ask, scripted):
    async def main():
        async with hosting(scripted()) as (_, client):
            await client.call(STATUS, Empty())
            pid = os.fork()
            if pid == 0:  # pragma: no cover - the child
                try:
                    client.call(STATUS, Empty()).send(None)
                except InternalError as error:
                    os._exit(0 if "fork" in error.message else 2)
                except BaseException:
                    os._exit(3)
                os._exit(4)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert (await client.call(STATUS, Empty())).ready

    asyncio.run(main())


def test_a_server_that_hangs_is_taken_for_down_until_it_answers_again(runtime_dir, ask, until):
    async def main():
        spawned = await spawn(engine(runtime_dir))
        options = ClientOptions(ping_interval=0.1, pong_timeout=0.5)
        try:
            async with Client(spawned.info["endpoints"]["inference"], options=options) as client:
                task = asyncio.create_task(collect(InferenceClient(client).generate(ask("hang"))))
                while (await client.call(STATUS, Empty())).running < 1:
                    await asyncio.sleep(0.01)
                os.kill(spawned.pid, signal.SIGSTOP)
                with pytest.raises(Unavailable, match="no sign of life"):
                    await asyncio.wait_for(task, 5)
                with pytest.raises(Unavailable):
                    await client.call(STATUS, Empty())
                os.kill(spawned.pid, signal.SIGCONT)
                await until(lambda: client.connected)
                assert (await client.call(STATUS, Empty())).ready
        finally:
            os.kill(spawned.pid, signal.SIGCONT)
            await spawned.stop()

    asyncio.run(main())


def test_a_client_that_is_stopped_costs_bounded_memory_and_then_its_streams(hosting, until, scripted):
    async def main():
        service = scripted()
        async with hosting(service, options=ServerOptions(peer_timeout=1.5)) as (server, _):
            process = subprocess.Popen([sys.executable, "-c", CLIENT, server.endpoints[0], "turns"])
            try:
                await until(lambda: service.open == 8, 15)
                os.kill(process.pid, signal.SIGSTOP)
                await asyncio.sleep(0.3)
                before = service.chunks
                await until(lambda: service.open == 0, 8)
                assert service.chunks - before <= 8 * wire.WINDOW
                assert server.counters.vanished == 1
            finally:
                process.kill()
                process.wait()

    asyncio.run(main())
