"""The supervisor's care for its services, with scripted processes."""

import asyncio
import json
import socket

from hyprstream_api import launcher
from hyprstream_core.config import Settings
from hyprstream_core.errors import Unavailable
from hyprstream_core.plugins import Plugins, installed


class Process:
    """Ends at once, or never."""

    def __init__(self, ends: bool) -> None:
        self.ends = ends

    async def wait(self) -> int:
        if not self.ends:
            await asyncio.Event().wait()
        return -9


def test_a_service_is_started_again_whatever_came_in_between(monkeypatch, capsys):
    outcomes = [OSError(11, "no process to spare"), Unavailable("not ready in time"), KeyError("defect")]

    async def spawn(*_):
        if outcomes:
            raise outcomes.pop(0)
        alive.set()
        return Process(ends=False)

    async def keep(supervisor):
        keeper = asyncio.create_task(supervisor._keep("engine"))
        try:
            await asyncio.wait({keeper, asyncio.create_task(alive.wait())}, timeout=10, return_when="FIRST_COMPLETED")
        finally:
            keeper.cancel()

    monkeypatch.setattr(launcher, "spawn", spawn)
    monkeypatch.setattr(launcher, "FIRST_PAUSE", 0.001)
    builtin = Plugins([c for c in installed() if c.name == "builtin"])
    alive = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as bound:
        supervisor = launcher._Supervisor(launcher.Launch(Settings(), builtin, lambda *_: None), bound)
        supervisor._services["engine"] = Process(ends=True)
        asyncio.run(keep(supervisor))
    assert alive.is_set()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    failures = [line for line in lines if line["event"] == "service cannot be started"]
    assert [line["service"] for line in failures] == ["engine"] * 3
    assert "no process to spare" in failures[0]["exception"]
    assert "KeyError" in failures[2]["exception"]
