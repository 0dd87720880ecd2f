"""What the supervisor says when its server answers."""

import asyncio
import time

import pytest

from hyprstream_api import launcher, listener
from hyprstream_core.config import Settings
from hyprstream_core.errors import InternalError, Unavailable


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
