"""``hyprstream server``: the whole process tree, with a real registry and engine, and no models."""

import asyncio
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from hyprstream_core.rpc.client import Client
from hyprstream_core.rpc.endpoints import endpoint
from hyprstream_core.testing.checkpoints import TINY_QWEN3, random_tensors, write_checkpoint
from hyprstream_core.testing.fakes import ByteTokenizer
from hyprstream_qwen.qwen3 import Qwen3

COMMAND = [sys.executable, "-c", "from hyprstream_core.cli.main import main; main()", "server"]
START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(folder: Path) -> dict[str, str]:
    """A store and a runtime directory of the test's own."""
    return {**os.environ, "HYPRSTREAM_MODELS_DIR": str(folder / "models"), "HYPRSTREAM_RUNTIME_DIR": str(folder / "r")}


class Server:
    """A running ``hyprstream server``, with its log collected."""

    def __init__(self, folder: Path, *flags: str, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.log_file = folder / "log"
        command = [*COMMAND, "--port", str(self.port), *flags]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment(folder) | env, stdin=subprocess.DEVNULL, stderr=log
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: "answers at" in self.log, START_SECONDS)

    def wait_for(self, condition, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log
            assert self.process.poll() is None, self.log
            time.sleep(0.02)

    def get(self, path: str, host: str = "localhost") -> tuple[int, dict]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def tree(self) -> dict[int, str]:
        """Process ids of all descendants with their command lines."""
        found, pending = {}, [self.process.pid]
        while pending:
            pid = pending.pop()
            for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
                found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
                pending.append(child)
        return found

    def pid_of(self, words: str) -> int:
        return min(pid for pid, line in self.tree().items() if words in line)


@contextmanager
def running(folder: Path, *flags: str, env: Mapping[str, str] = MappingProxyType({})):
    server = Server(folder, *flags, env=env)
    try:
        server.wait_until_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_gone(pids, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_answers_and_leaves_nothing_behind(tmp_path, signum):
    with running(tmp_path, "--workers", "2") as server:
        ready = json.loads(server.log.splitlines()[0])
        assert (ready["event"], ready["level"], ready["url"]) == ("ready", "info", f"http://127.0.0.1:{server.port}/v1")
        assert f"answers at {ready['url']}: no models yet" in ready["message"]
        assert (ready["models"], ready["request_id"]) == ([], None)
        assert server.get("/readyz")[0] == 200
        assert server.get("/v1/models") == (200, {"object": "list", "data": []})
        code, document = server.get("/v1/models/nobody")
        assert (code, document["error"]["code"]) == (404, "model_not_found")
        tree = server.tree()
        assert len([line for line in tree.values() if "hyprstream_api.gunicorn_process" in line]) == 3
        server.process.send_signal(signum)
        assert server.process.wait(15) == 0, server.log
        assert all_gone(tree)
        assert "Traceback" not in server.log


def test_an_engine_that_is_killed_is_started_again(tmp_path):
    with running(tmp_path) as server:
        engine = server.pid_of("child engine")
        os.kill(engine, signal.SIGKILL)
        server.wait_for(lambda: server.get("/readyz")[0] == 503, 10)
        refused = server.get("/readyz")[1]["error"]
        assert refused["code"] in ("engine_unavailable", "deadline_exceeded")
        assert "/" not in refused["message"]
        assert server.get("/livez")[0] == 200
        server.wait_for(lambda: server.get("/readyz")[0] == 200, START_SECONDS)
        assert server.pid_of("child engine") != engine
        assert '"service": "engine"' in server.log
        tree = server.tree()
        server.process.terminate()
        assert server.process.wait(15) == 0
        assert all_gone(tree)


@pytest.fixture(scope="module")
def talkative(tmp_path_factory):
    """A store's parent folder, with a model in the store that can talk for a long time."""
    folder = tmp_path_factory.mktemp("talkative")
    source = ByteTokenizer.write(folder / "talker")
    config = {**TINY_QWEN3, "max_position_embeddings": 2**16}
    write_checkpoint(source, config, random_tensors(Qwen3, config))
    identity = ["-c", "user.name=t", "-c", "user.email=t@x"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-q", "-m", "weights"]):
        subprocess.run(["git", *command], cwd=source, check=True)
    clone = [*COMMAND[:-1], "clone", source.as_uri()]
    subprocess.run(clone, env=environment(folder), check=True, capture_output=True, timeout=60)
    return folder


@contextmanager
def answering(server: Server):
    """A stream of the server's that does not end soon."""
    body = json.dumps({"model": "talker", "prompt": "x", "stream": True, "max_tokens": 50_000, "ignore_eos": True})
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        received = b""
        while b"data: {" not in received:
            received += (part := connection.recv(65536))
            assert part, received
        yield connection


FINISHING = "finishing 1 answer (up to 30 s); press ctrl-C again to stop now"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_it_waits_for_and_a_second_signal_ends_the_wait(talkative, signum):
    with running(talkative) as server, answering(server):
        tree = server.tree()
        server.process.send_signal(signum)
        server.wait_for(lambda: FINISHING in server.log, 10)
        (line,) = [json.loads(line) for line in server.log.splitlines() if FINISHING in line]
        assert (line["event"], line["answers"], line["seconds"]) == ("stopping", 1, 30)
        time.sleep(1)
        assert server.process.poll() is None
        server.process.send_signal(signum)
        assert server.process.wait(10) == 0, server.log
        assert all_gone(tree)
        assert server.log.count("finishing") == 1
        assert "Traceback" not in server.log


def test_on_a_terminal_and_with_a_log_of_text_sentences_are_printed_as_they_are(talkative):
    with running(talkative, env={"HYPRSTREAM_LOG_FORMAT": "text"}) as server:
        first = server.log.splitlines()[0]
        assert re.fullmatch(rf"hyprstream [\d.]+ answers at http://127\.0\.0\.1:{server.port}/v1: talker:main", first)
        with answering(server) as connection:
            server.process.send_signal(signal.SIGTERM)
            server.wait_for(lambda: FINISHING in server.log.splitlines(), 10)
            connection.close()  # nobody waits for it any more
            assert server.process.wait(15) == 0, server.log


def test_without_gunicorn_it_ends_with_an_error(tmp_path):
    with running(tmp_path) as server:
        tree = server.tree()
        os.kill(server.pid_of("hyprstream_api.gunicorn_process"), signal.SIGKILL)
        assert server.process.wait(15) == 1
        assert re.search("error: gunicorn ended by itself", server.log)
        assert all_gone(tree)


def test_a_killed_server_takes_its_processes_along(tmp_path):
    with running(tmp_path) as server:
        tree = server.tree()
        assert len(tree) >= 4
        server.process.kill()
        server.process.wait()
        assert all_gone(tree, 20)


def run(folder: Path, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    settings = environment(folder) | env
    return subprocess.run([*COMMAND, *flags], env=settings, capture_output=True, text=True, timeout=60, check=False)


def test_a_taken_port_is_named_with_what_to_do(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        result = run(tmp_path, "--port", str(other.getsockname()[1]))
    assert result.returncode == 1
    assert "is in use by another program" in result.stderr
    assert "--port" in result.stderr
    assert "Traceback" not in result.stderr


GREETER = """
    import os
    from dataclasses import dataclass
    from pathlib import Path

    from hyprstream_core import hookimpl
    from hyprstream_core.interfaces.service import Service
    from hyprstream_core.rpc.contracts import Contract, Method

    api_version = "1.0"
    SCHEMA = Path(__file__).with_name("third_greeter.capnp")

    @hookimpl
    def hyprstream_services():
        yield Service("greeter", load="third_greeter:Greeter")
        yield Service("grumbler", load="third_greeter:Grumbler")
        yield Service("ghost", load="third_ghost:Ghost")

    @dataclass(frozen=True)
    class Name:
        text: str

    @dataclass(frozen=True)
    class Greeting:
        text: str
        pid: int

    GREET = Method("greeter", "greet", Name, Greeting, SCHEMA)

    class Greeter:
        contract = Contract("greeter", (GREET,))

        def __init__(self, settings):
            self.settings = settings

        @classmethod
        def create(cls, config):
            return cls(config["settings"])

        async def start(self): pass
        async def stop(self): pass

        async def greet(self, request):
            return Greeting(f"hello {request.text} at {self.settings['models_dir']}", os.getpid())

    class Grumbler(Greeter):
        async def start(self):
            raise RuntimeError("not today")
"""
GREETER_SCHEMA = """
    @0xd1c2b3a495867701;
    struct Name { text @0 :Text; }
    struct Greeting { text @0 :Text; pid @1 :Int64; }
"""


@pytest.fixture
def greeter(tmp_path, monkeypatch):
    """An installed distribution with a service that works, one that does not start and one that is not there."""
    site = tmp_path / "site"
    info = site / "third_greeter-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: third-greeter\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text("[hyprstream.plugins]\ngreeter = third_greeter\n")
    info.joinpath("RECORD").write_text("")
    site.joinpath("third_greeter.py").write_text(textwrap.dedent(GREETER))
    site.joinpath("third_greeter.capnp").write_text(GREETER_SCHEMA)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("HYPRSTREAM_PLUGINS", f"{os.environ['HYPRSTREAM_PLUGINS']},greeter")
    yield importlib.import_module("third_greeter")
    del sys.modules["third_greeter"]


def test_hook_services_of_plugins_are_started_and_started_again_and_stop_nothing_else(tmp_path, greeter):
    async def greet():
        async with Client(endpoint("greeter", "ipc", tmp_path / "r")) as client:
            return await client.call(greeter.GREET, greeter.Name("you"))

    with running(tmp_path) as server:
        server.wait_for(lambda: '"service": "service:greeter", "event": "service is running"' in server.log, 30)
        first = asyncio.run(greet())
        assert first.text == f"hello you at {tmp_path / 'models'}"
        assert first.pid == server.pid_of("child service:greeter")
        os.kill(first.pid, signal.SIGKILL)
        server.wait_for(
            lambda: server.log.count('"service": "service:greeter", "event": "service is running"') == 2, 30
        )
        assert asyncio.run(greet()).pid != first.pid
        for service, reason in (("grumbler", "RuntimeError: not today"), ("ghost", "third_ghost")):
            failure = f'"service": "service:{service}", "error": "[^"]*{reason}'
            server.wait_for(lambda failure=failure: len(re.findall(failure, server.log)) >= 2, 30)
        assert server.get("/readyz")[0] == 200
        tree = server.tree()
        server.process.terminate()
        assert server.process.wait(15) == 0, server.log
        assert all_gone(tree)


def test_requests_are_answered_by_the_configured_names(tmp_path):
    with running(tmp_path, env={"HYPRSTREAM_SERVER_ALLOWED_HOSTS": "a.example,b.example"}) as server:
        assert [server.get("/livez", host)[0] for host in ("b.example", "localhost", "c.example")] == [200, 200, 421]


def test_a_second_server_in_one_runtime_directory_is_refused(tmp_path):
    with running(tmp_path) as server:
        result = run(tmp_path, "--port", str(free_port()))
        assert result.returncode == 1
        assert "already serves" in result.stderr
        assert server.get("/readyz")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_a_public_address_is_refused_while_there_is_no_authentication(tmp_path, host):
    result = run(tmp_path, "--host", host)
    assert result.returncode == 1
    assert "only a loopback address is allowed" in result.stderr


@pytest.mark.parametrize(
    ("flags", "env", "word", "status"),
    [
        (["--port", "0"], {}, "server.port from flag --port", 2),
        (["--dtype", "int3"], {}, "engine.dtype from flag --dtype", 2),
        ([], {"HYPRSTREAM_SERVER_WORKERS": "many"}, "server.workers from env HYPRSTREAM_SERVER_WORKERS", 1),
        (["--host", "no such host"], {}, "server.host", 1),
        (["--host", "a..b"], {}, "error: server.host: got 'a..b', which is no address: it cannot be a host name", 1),
        ([], {"HYPRSTREAM_SERVER_ALLOWED_HOSTS": "*"}, "server.allowed_hosts: got '*'", 1),
        (["--device", "abacus"], {}, "abacus", 1),
    ],
)
def test_a_bad_setting_is_named_with_its_source(tmp_path, flags, env, word, status):
    result = run(tmp_path, *(flags if "--port" in flags else ["--port", str(free_port()), *flags]), **env)
    assert result.returncode == status
    assert word in result.stderr
    assert "Traceback" not in result.stderr
