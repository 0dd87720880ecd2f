import asyncio
import importlib
import io
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from hyprstream_core.builtin.rpc import Inproc, Ipc
from hyprstream_core.interfaces.inference import GenerateRequest, SamplingParams
from hyprstream_core.rpc.client import Client
from hyprstream_core.rpc.endpoints import endpoint
from hyprstream_core.rpc.server import Server
from hyprstream_core.telemetry import setup_logging


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """``scripted_service`` can be imported here and in child processes."""
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)


@pytest.fixture
def scripted(importable):
    """The class of the scripted service."""
    return importlib.import_module("scripted_service").Scripted


@pytest.fixture
def logged():
    """What is logged, as JSON lines."""
    stream = io.StringIO()
    setup_logging("info", "json", stream)
    yield stream
    structlog.reset_defaults()


@pytest.fixture
def runtime_dir():
    """Short (socket addresses are), private."""
    path = Path(tempfile.mkdtemp(prefix="hs"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["ipc", "inproc"])
def scheme(request):
    return request.param


@pytest.fixture
def hosting(runtime_dir):
    """``async with hosting(service, scheme) as (server, client)``."""

    @asynccontextmanager
    async def host(service, scheme="ipc", options=None, limits=None, client_options=None):
        place = endpoint("inference", scheme, runtime_dir)
        server = Server([service], [place], {"ipc": Ipc(), "inproc": Inproc()}, options=options, limits=limits)
        await server.start()
        try:
            async with Client(place, limits=limits, options=client_options) as client:
                yield server, client
        finally:
            await server.stop()

    return host


@pytest.fixture
def ask():
    """``ask(model, count)``: a request for the scripted service."""

    def make(model="count", count=3, prompt=(1, 2), request_id="r"):
        return GenerateRequest(request_id, model, "0" * 40, tuple(prompt), SamplingParams(count), subject="local:me")

    return make


@pytest.fixture
def until():
    """``await until(lambda: condition)``: wait for it, at most ``seconds``."""

    async def wait(condition, seconds=5.0):
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
            await asyncio.sleep(0.005)

    return wait
