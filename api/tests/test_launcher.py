"""The supervisor: its care for its services, and what it says when its server answers."""

import asyncio
import json
import socket
import time

import pytest

from hyprstream_api import launcher, listener
from hyprstream_core.config import Settings
from hyprstream_core.errors import InternalError, Unavailable
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


@pytest.fixture
def told(monkeypatch, tmp_path):
    """told(listing) → what is told while the list of models is made by ``listing``."""

    def tell(listing):
        async def listed(*_):
            return await listing()

        said = []
        monkeypatch.setattr(launcher, "listed_models", listed)
        launch = launcher.Launch(Settings(runtime_dir=tmp_path), None, lambda *what: said.append(what))
        with listener.bind("127.0.0.1", 0) as bound:
            asyncio.run(launcher._Supervisor(launch, bound)._tell_what_is_served())
        ((event, text, facts),) = said
        assert event == "ready"
        assert facts["url"] in text
        return text, facts

    return tell


def test_the_models_are_named(told):
    async def listing():
        return ("a:main", "b:main")

    text, facts = told(listing)
    assert text.endswith("a:main, b:main")
    assert facts["models"] == ("a:main", "b:main")


@pytest.mark.parametrize("error", [InternalError("one model is odd"), Unavailable("gone")])
def test_a_list_that_fails_does_not_keep_the_server_from_starting(told, error):
    async def listing():
        raise error

    text, facts = told(listing)
    assert "could not be listed" in text
    assert facts["models"] == ()


def test_a_list_that_takes_long_is_not_waited_for(told, monkeypatch):
    monkeypatch.setattr(launcher, "LIST_SECONDS", 0.2)
    began = time.monotonic()
    text, _ = told(lambda: asyncio.sleep(30))
    assert "could not be listed" in text
    assert time.monotonic() - began < 10
