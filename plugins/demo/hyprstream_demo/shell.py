"""Runs the ``hyprstream`` command as a user does, printing each command line first."""

from __future__ import annotations

import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from hyprstream_core.errors import DeadlineExceeded, HyprstreamError, PluginMissing, Unavailable

COMMAND_SECONDS = 120.0
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
LOG_LINES = 20


def program() -> str:
    """The ``hyprstream`` command of this installation.

    Raises:
        PluginMissing: there is none, neither beside this interpreter nor on the PATH.
    """
    beside = Path(sys.executable).with_name("hyprstream")
    found = str(beside) if beside.is_file() else shutil.which("hyprstream")
    if found is None:
        raise PluginMissing("there is no hyprstream command", remedy="pip install hyprstream")
    return found


class Shell:
    """Runs commands with models and sockets in ``home`` and everything else from ``env`` and ``flags``, which stand
    in front of every verb."""

    def __init__(self, home: Path, env: Mapping[str, str], flags: Sequence[str] = ()) -> None:
        self.home, self.models = home, home / "models"
        self._flags = flags
        self._program = program()
        self.env = {
            **env,
            "HYPRSTREAM_MODELS_DIR": str(self.models),
            "HYPRSTREAM_RUNTIME_DIR": str(home / "run"),
            "PYTHONUNBUFFERED": "1",
        }

    def announce(self, line: str) -> None:
        """Print ``line`` as a command."""
        click.secho(f"$ {line}", fg="green")

    def line(self, *arguments: str) -> list[str]:
        """The command line for ``hyprstream`` with ``arguments``, announced."""
        self.announce(shlex.join(["hyprstream", *self._flags, *arguments]))
        return [self._program, *self._flags, *arguments]

    def run(self, *arguments: str) -> None:
        """Run to the end; output goes where ours goes.

        Raises:
            HyprstreamError: it failed.
            DeadlineExceeded: it took longer than two minutes.
        """
        line = self.line(*arguments)
        sys.stdout.flush()
        try:
            code = subprocess.run(line, env=self.env, timeout=COMMAND_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(f"hyprstream {arguments[0]} took longer than {COMMAND_SECONDS:.0f} s") from None
        if code != 0:
            raise HyprstreamError(f"hyprstream {arguments[0]} failed with exit code {code}; its message is above")


class Server:
    """``hyprstream server`` in the background: ready when entered, stopped when left."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._log = shell.home / "server.log"
        self._port = free_port()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Server:
        line = self._shell.line("server", "--host", "127.0.0.1", "--port", str(self._port))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(line, env=self._shell.env, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait_until_ready()
        except BaseException:
            self._end(signal.SIGKILL)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        code = self._end(signal.SIGTERM)
        if kind is None and code != 0:
            raise HyprstreamError(f"hyprstream server ended with exit code {code}, expected 0\n{self._last_lines()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if (code := self._process.poll()) is not None:
                raise Unavailable(f"hyprstream server ended at once with exit code {code}\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"the server was not ready in {READY_SECONDS:.0f} s\n{self._last_lines()}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310 - our own URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _end(self, how: signal.Signals) -> int:
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _last_lines(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
