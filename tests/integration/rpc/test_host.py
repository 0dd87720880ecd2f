import asyncio

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import ConfigError, Conflict, PluginError, Unavailable
from hyprstream_core.hosting import HOST, Host, Hosted, host_config
from hyprstream_core.interfaces.transport import RpcLink
from hyprstream_core.plugins import discover, load
from hyprstream_core.rpc.client import Client
from hyprstream_core.rpc.contracts import STATUS, Empty
from hyprstream_core.rpc.service_clients import InferenceClient
from hyprstream_core.spawn.program import Program
from hyprstream_core.spawn.spawned import spawn


@pytest.fixture
def transports():
    return discover().rpc_transports()


def config_for(runtime_dir, transports, scheme="inproc", services=None, **options):
    return host_config(
        services or [Hosted("inference", "scripted_service:Scripted")],
        runtime_dir,
        transports,
        scheme=scheme,
        **options,
    )


def test_hook_rpc_transports_yields_links_for_inproc_and_ipc(transports):
    links = {scheme: load(t.load)() for t in transports for scheme in t.schemes}
    assert set(links) >= {"inproc", "ipc"}
    assert all(isinstance(link, RpcLink) for link in links.values())


@pytest.mark.parametrize("mode", ["task", "thread"])
def test_services_run_inside_the_calling_process_too(runtime_dir, transports, mode, ask):
    async def main():
        spawned = await spawn(Program("engine", HOST, config_for(runtime_dir, transports), mode))
        async with Client(spawned.info["endpoints"]["inference"]) as client:
            stream = InferenceClient(client).generate(ask("count", 300))
            assert [t async for c in stream for t in c.token_ids] == list(range(300))
        await spawned.stop()

    asyncio.run(main())


def test_each_service_has_its_own_endpoint_and_all_share_one_server(runtime_dir, transports):
    services = [Hosted(name, "scripted_service:Scripted") for name in ("inference", "embedding")]

    async def main():
        host = Host.create(config_for(runtime_dir, transports, "ipc", services))
        info = await host.start()
        assert {place.rpartition("/")[2] for place in info["endpoints"].values()} == {
            "inference.sock",
            "embedding.sock",
        }
        for place in info["endpoints"].values():
            async with Client(place) as client:
                assert (await client.call(STATUS, Empty())).ready
        await host.stop()

    asyncio.run(main())


def test_limits_reach_the_server(runtime_dir, transports):
    async def main():
        host = Host.create(config_for(runtime_dir, transports, limits=Limits(message_bytes=2048)))
        assert host._server._limits.message_bytes == 2048

    asyncio.run(main())


def test_what_was_started_is_stopped_when_a_later_part_fails(runtime_dir, transports, scripted, monkeypatch):
    events = []

    async def start(service):
        events.append("start")

    async def stop(service):
        events.append("stop")

    monkeypatch.setattr(scripted, "start", start)
    monkeypatch.setattr(scripted, "stop", stop)

    async def main():
        first = Host.create(config_for(runtime_dir, transports, "ipc"))
        await first.start()
        with pytest.raises(Conflict):
            await Host.create(config_for(runtime_dir, transports, "ipc")).start()
        assert events == ["start", "start", "stop"]
        await first.stop()
        assert events == ["start", "start", "stop", "stop"]

    asyncio.run(main())


def test_a_scheme_without_a_transport_is_named(runtime_dir):
    async def main():
        with pytest.raises(Unavailable, match="available schemes: none"):
            await Host.create(config_for(runtime_dir, [])).start()

    asyncio.run(main())


@pytest.mark.parametrize(
    "bad", [{}, {"services": 1}, {"services": [], "endpoints": {}, "links": {}, "limits": {}, "x": 1}]
)
def test_a_configuration_of_another_shape_is_refused(bad):
    with pytest.raises(ConfigError, match="host configuration"):
        Host.create(bad)


def test_a_service_class_that_does_not_exist_is_named(runtime_dir, transports):
    with pytest.raises(PluginError, match="scripted_service:Absent"):
        Host.create(config_for(runtime_dir, transports, services=[Hosted("inference", "scripted_service:Absent")]))
