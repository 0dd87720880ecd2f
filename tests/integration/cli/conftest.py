"""A tiny random Qwen3 in a repository made with stock git, and the command line as a process of its own."""

import contextlib
import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog

from hyprstream_core.cli import main
from hyprstream_core.testing.checkpoints import TINY_QWEN3, random_tensors, write_checkpoint
from hyprstream_core.testing.fakes import TEMPLATE, ByteTokenizer

RUN = [sys.executable, "-m", "hyprstream_core.cli"]


def git(folder, *arguments):
    """Stock git with a fixed identity; returns what it prints."""
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "init.defaultBranch=trunk"]
    run = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """``trunk`` with two commits, tag ``v1`` on the first, branch ``experiment`` with other weights."""
    from hyprstream_qwen.qwen3 import Qwen3

    folder = tmp_path_factory.mktemp("upstream") / "Tiny-Qwen3"
    folder.mkdir()
    git(folder, "init", "-q")
    config = {**TINY_QWEN3, "max_position_embeddings": 512}
    write_checkpoint(folder, config, random_tensors(Qwen3, config, seed=1))
    ByteTokenizer.write(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [258, 256], "temperature": 0.0}))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    git(folder, "tag", "-am", "release", "v1")
    git(folder, "checkout", "-qb", "experiment")
    write_checkpoint(folder, config, random_tensors(Qwen3, config, seed=2))
    git(folder, "commit", "-qam", "other weights")
    git(folder, "checkout", "-q", "trunk")
    (folder / "README.md").write_text("A tiny model.\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "second")
    return folder


class CommandLine:
    """Runs the command line with one store and one runtime directory."""

    def __init__(self, folder):
        self.env = {
            "HYPRSTREAM_MODELS_DIR": str(folder / "models"),
            "HYPRSTREAM_RUNTIME_DIR": str(folder / "run"),
            "HYPRSTREAM_ENGINE_THREADS": "1",
        }

    def environment(self, **env):
        """The process environment with our settings."""
        return {**os.environ, **self.env, **env}

    def __call__(self, *arguments, stdin="", **env):
        return subprocess.run(
            [*RUN, *map(str, arguments)],
            env=self.environment(**env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def json(self, *arguments, **options):
        """What the verb prints with ``--json``; it must succeed."""
        run = self(*arguments, "--json", **options)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def error(self, *arguments, status=1, **options):
        """The error that the verb prints with ``--json``; it must exit with ``status``."""
        run = self(*arguments, "--json", **options)
        assert run.returncode == status, (run.stdout, run.stderr)
        assert run.stdout == ""
        return json.loads(run.stderr)["error"]

    def on_terminal(self, *arguments, answer="", timeout=60.0, **env):
        """Run with a terminal on all three streams; returns exit code and what it showed."""
        terminal, other = pty.openpty()
        process = subprocess.Popen(
            [*RUN, *map(str, arguments)],
            env=self.environment(TERM="xterm", **env),
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        shown, deadline, answered = b"", time.monotonic() + timeout, False
        try:
            while time.monotonic() < deadline and (chunk := _read(terminal)) is not None:
                shown += chunk
                if answer and not answered and b"[y/N]" in shown:
                    os.write(terminal, answer.encode())
                    answered = True
            return process.wait(10), shown.decode()
        finally:
            process.kill()
            process.wait()
            os.close(terminal)


class CommandLineHere(CommandLine):
    """The same in this process, which has torch loaded already: a second instead of five."""

    def __call__(self, *arguments, stdin="", **env):
        out, err = io.StringIO(), io.StringIO()
        given, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin.encode()))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main.run([*map(str, arguments)], self.environment(**env))
        finally:
            sys.stdin = given
            structlog.reset_defaults()
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def _read(terminal):
    """What the terminal shows next (b"" for now nothing), or None when the program has closed it."""
    if not select.select([terminal], [], [], 0.1)[0]:
        return b""
    try:
        return os.read(terminal, 4096) or None
    except OSError:
        return None


@pytest.fixture
def hyprstream(tmp_path):
    """The command line with an empty store."""
    return CommandLine(tmp_path)


@pytest.fixture
def cloned(hyprstream, repository):
    """The command line with the tiny model in its store."""
    run = hyprstream("clone", Path(repository).as_uri(), "--name", "tiny")
    assert run.returncode == 0, run.stderr
    return hyprstream


@pytest.fixture
def here(cloned, tmp_path):
    """As ``cloned``, but in this process."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def tiny_here(tmp_path, repository):
    """As ``here``, the clone too."""
    command_line = CommandLineHere(tmp_path)
    run = command_line("clone", Path(repository).as_uri(), "--name", "tiny")
    assert run.returncode == 0, run.stderr
    return command_line
