"""A scripted answer for the writers; and the real server, front and RPC in front of a scripted engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import openai
import pytest

from hyprstream_api.gunicorn_process import Setup
from hyprstream_api.listener import bind
from hyprstream_core.builtin.rpc import Ipc
from hyprstream_core.config import Limits, LogSettings, PluginSettings
from hyprstream_core.errors import Overloaded, Unavailable
from hyprstream_core.front import Answer, Choice, Delta, Usage
from hyprstream_core.interfaces.inference import Description, EngineStatus, GenerateRequest, TokenChunk
from hyprstream_core.rpc.contracts import INFERENCE, REGISTRY
from hyprstream_core.rpc.endpoints import endpoint
from hyprstream_core.rpc.server import Server
from hyprstream_core.testing.fakes import ByteTokenizer, ScriptedInference, StaticRegistry, description

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STARTUP_SECONDS = 30


class ScriptedAnswer(Answer):
    """Gives ``steps`` in order: a delta, a pause in seconds, or an error to raise."""

    def __init__(self, steps: Sequence[Delta | float | BaseException], choices: Sequence[Choice] = ()) -> None:
        self.description = Description(model="m", commit=COMMIT, directory="", template="", dtype="float32")
        self.model, self.commit, self.created, self.request_id = "m", COMMIT, 1700000000, "r1"
        self.prompt_ids, self.prompt_tokens = ((1, 2, 3),), 3
        self.steps = list(steps)
        self.choices = list(choices)
        self.completion_tokens = 0
        self.closed = 0

    async def __anext__(self) -> Delta:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, Delta):
                self.completion_tokens += len(step.token_ids)
                return step
            await asyncio.sleep(step)
        raise StopAsyncIteration

    async def collect(self) -> list[Choice]:
        async for _ in self:
            pass
        return self.choices

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.completion_tokens, 2, 1)

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def scripted() -> type[ScriptedAnswer]:
    return ScriptedAnswer


class Engine(ScriptedInference):
    """Says "Hello.", or does what a word in the prompt asks for. Notes whom it has stopped serving."""

    contract = INFERENCE
    ready = True

    async def generate(self, request: GenerateRequest):
        prompt = bytes(i for i in request.prompt_ids if i < 256).decode()
        if "<endless>" not in prompt and "<silent>" not in prompt and "<breaks>" not in prompt:
            if "<full>" in prompt:
                raise Overloaded("the queue is full", retry_after=1)
            async for chunk in super().generate(request):
                yield chunk
            return
        self.requests.append(request)
        try:
            for left in reversed(range(request.params.max_tokens or 1000)):
                await asyncio.sleep(3600 if "<silent>" in prompt else 0.02)
                yield TokenChunk(tuple(b"x"), None if left else "length")
                if "<breaks>" in prompt:
                    raise Unavailable("the engine went away")
        finally:
            self.closed.append(request.request_id)

    async def status(self) -> EngineStatus:
        status = await super().status()
        return EngineStatus(**{**vars(status), "ready": self.ready, "loaded": (COMMIT,)})


class Models(StaticRegistry):
    contract = REGISTRY


@dataclass
class Served:
    """A running server. ``port`` answers HTTP; ``engine`` and ``registry`` are behind it, in this process."""

    port: int
    engine: Engine
    registry: Models
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, path: str = "/oai/v1", **options) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}{path}", api_key="none", max_retries=0, timeout=20, **options)

    def get(self, path: str) -> tuple[int, dict]:
        head, body = self.exchange(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return int(head.split()[1]), json.loads(body)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def exchange(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of the response to raw bytes; the body without its chunks' sizes."""
        with self.connect() as connection:
            connection.sendall(request)
            head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
        return head, unchunk(body) if b"transfer-encoding: chunked" in head.lower() else body

    def post(self, path: str, body: bytes | dict, headers: str = "") -> tuple[bytes, bytes]:
        return self.exchange(self.request(path, body, headers))

    @staticmethod
    def request(path: str, body: bytes | dict, headers: str = "") -> bytes:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "" if "content-type" in headers.lower() else "Content-Type: application/json\r\n"
        length = (
            f"Content-Length: {len(data)}\r\n" if "length" not in headers.lower() and "chunked" not in headers else ""
        )
        return (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}{length}{headers}\r\n".encode()
            + data
        )


def unchunk(body: bytes) -> bytes:
    data = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        data, body = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return data


def wait_for(condition: Callable[[], object], seconds: float = 5.0) -> float:
    """Wait until ``condition`` holds; the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture(name="wait_for", scope="session")
def wait_for_fixture() -> Callable[..., float]:
    return wait_for


@contextmanager
def services(engine: Engine, registry: Models, runtime_dir: Path) -> Iterator[None]:
    """Host both behind real RPC servers, on an event loop of their own."""
    ready, stop = threading.Event(), None
    loop = asyncio.new_event_loop()

    async def host() -> None:
        nonlocal stop
        stop = asyncio.Event()
        links = {"ipc": Ipc()}
        servers = [
            Server([service], [endpoint(name, "ipc", runtime_dir)], links)
            for name, service in (("registry", registry), ("inference", engine))
        ]
        for server in servers:
            await server.start()
        ready.set()
        await stop.wait()
        for server in servers:
            await server.stop()

    thread = threading.Thread(target=lambda: loop.run_until_complete(host()))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextmanager
def serve(folder: Path, **overrides) -> Iterator[Served]:
    """The gunicorn process with its workers, as the launcher starts it."""
    directory = ByteTokenizer.write(folder / "model")
    names = ("org/demo:main", "org/demo:feature/x+y", "plain:v1@2")
    registry = Models([description(name, directory) for name in names])
    engine = Engine(["Hello."])
    runtime_dir = folder / "run"
    with services(engine, registry, runtime_dir), bind("127.0.0.1", 0) as listener:
        values = {
            "fd": listener.fileno(),
            "parent": os.getpid(),
            "workers": 1,
            "registry": endpoint("registry", "ipc", runtime_dir),
            "inference": endpoint("inference", "ipc", runtime_dir),
            "limits": Limits(),
            "log": LogSettings(level="warning"),
            "plugins": PluginSettings(),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "hyprstream_api.gunicorn_process"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(listener.fileno(),),
        )
        port = listener.getsockname()[1]
        listener.close()
        process.stdin.write(msgspec.json.encode(Setup(**values | overrides)))
        process.stdin.close()
        served = Served(port, engine, registry, process)
        try:
            wait_for(lambda: answers(served), STARTUP_SECONDS)
            yield served
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(10)
            process.stderr.close()


def answers(served: Served) -> bool:
    assert served.process.poll() is None, served.process.stderr.read().decode()
    try:
        return served.get("/livez")[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., object]:
    """A server for one test alone: ``with own_server(limits=…) as served``."""
    return lambda **overrides: serve(tmp_path_factory.mktemp("own"), **overrides)
