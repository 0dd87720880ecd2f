"""Large files on the command line: what is announced, what a terminal shows, and how much memory they take."""

import fcntl
import hashlib
import json
import os
import pty
import random
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

RUN = [sys.executable, "-m", "hyprstream_core.cli"]
SIZE = 2_000_000


@pytest.fixture
def served(git_server, make_repo):
    """A server with three large files; (server, clone URL)."""
    repo = make_repo("big")
    for number in range(3):
        blob = random.randbytes(SIZE)
        git_server.large[repo.large(f"shard-{number}.safetensors", blob)] = blob
    repo.commit()
    return git_server, f"{git_server.url}/big/.git"


def test_the_size_is_announced_in_one_line_and_json_stays_alone(hyprstream, served):
    _, url = served
    run = hyprstream("clone", url, "--name", "m")
    assert run.returncode == 0, run.stderr
    assert run.stderr.splitlines()[0] == "fetching 3 large files, 6.0MB"
    assert "continuing" not in run.stderr
    assert hyprstream("clone", url, "--name", "n", "--json").stderr == ""
    assert "fetching" not in hyprstream("clone", url, "--name", "o").stderr, "they are all here"


def test_an_interrupt_says_what_is_kept_and_the_same_command_continues(hyprstream, served):
    server, url = served
    server.rate = 300_000
    command = [*RUN, "clone", url, "--name", "m"]
    process = subprocess.Popen(command, env=hyprstream.environment(), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: sum(server.sent.values()) > 600_000)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert re.search(r"^interrupted: [\d.]+kB of large files are kept; the same command continues there$", errors, re.M)
    server.rate, before = 0, sum(server.sent.values())
    run = hyprstream("clone", url, "--name", "m")
    assert run.returncode == 0, run.stderr
    assert re.search(r"^continuing after [\d.]+kB that are already here$", run.stderr, re.M)
    assert sum(server.sent.values()) < before + 3 * SIZE


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Terminal:
    """A program on a pseudo-terminal of a given width, and all that it wrote there."""

    def __init__(self, command, env, columns):
        self._fd, other = pty.openpty()
        self.resize(columns)
        self.process = subprocess.Popen(
            command, env=env, stdin=other, stdout=other, stderr=other, start_new_session=True
        )
        os.close(other)
        self.shown = b""

    def resize(self, columns):
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self, seconds):
        """What is written within this time."""
        start, deadline = len(self.shown), time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and select.select([self._fd], [], [], left)[0]:
            try:
                self.shown += os.read(self._fd, 65536)
            except OSError:
                break
        return self.shown[start:].decode()

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


@pytest.fixture
def terminal(hyprstream):
    """terminal(columns, arguments…) → a Terminal."""
    opened = []

    def start(columns, *arguments):
        env = hyprstream.environment(TERM="xterm")
        env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
        opened.append(Terminal([*RUN, *arguments], env, columns))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def widest(text):
    return max(len(line) for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text)))


def test_bars_fit_the_terminal_also_when_it_changes_and_ctrl_c_gives_the_cursor_back(terminal, served):
    server, url = served
    server.rate = 200_000
    shown = terminal(80, "clone", url, "--name", "m")
    wait_for(lambda: sum(server.sent.values()) > 300_000)
    text = shown.read(1.5)
    assert "fetching 3 large files, 6.0MB" in shown.shown.decode()
    line = [line for line in text.splitlines() if "content" in line][-1]
    assert re.search(r"content.*[\d.]+[kM]B of 6\.0MB.*[\d.]+[kM]B/s.*\d:\d\d:\d\d", line)
    assert widest(shown.shown.decode()) <= 80
    shown.resize(50)
    shown.read(0.5)
    assert widest(shown.read(1)) <= 50
    assert shown.shown.rindex(b"\x1b[?25l") > shown.shown.rfind(b"\x1b[?25h"), "hidden while the bars move"
    shown.process.send_signal(signal.SIGINT)
    end = shown.read(5)
    assert shown.process.wait(10) == 130
    assert "\x1b[?25h" in end
    assert "of large files are kept" in end


def put_model(repo, name, num_bytes):
    """A repository with one safetensors file of about this size, written and hashed in pieces."""
    repo = repo(name)
    header = json.dumps({"w": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]}}).encode()
    head, block = len(header).to_bytes(8, "little") + header, random.randbytes(1 << 20)
    digest, part = hashlib.sha256(head), repo.git_dir / "part"
    with part.open("wb") as file:
        file.write(head)
        for start in range(0, num_bytes, len(block)):
            piece = (start.to_bytes(8, "big") + block[8:])[: num_bytes - start]
            file.write(piece)
            digest.update(piece)
    oid = digest.hexdigest()
    repo.content(oid).parent.mkdir(parents=True)
    part.rename(repo.content(oid))
    size = repo.content(oid).stat().st_size
    repo.write("model.safetensors", f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
    repo.commit()
    return oid, repo.content(oid)


VERBS = """
import os, re, sys
from pathlib import Path
from hyprstream_core.cli.main import run
url, name = sys.argv[1:]
for verb in (["clone", url, "--name", name], ["list"], ["inspect", name]):
    assert run(verb, os.environ) == 0
    print("peak", verb[0], re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peaks(hyprstream, url, name):
    """By verb, the bytes of memory that were taken at most until its end.

    The process says it itself: what the kernel tells a parent includes the parent's own memory before the exec.
    """
    run = subprocess.run(
        [sys.executable, "-c", VERBS, url, name], env=hyprstream.environment(), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return {verb: int(kilobytes) * 1024 for verb, kilobytes in re.findall(r"^peak (\w+) (\d+)$", run.stdout, re.M)}


def growth(hyprstream, git_server, make_repo, num_bytes):
    """How much more memory each verb takes for a huge model than for a tiny one."""
    models = {"tiny": put_model(make_repo, "tiny", 1000), "huge": put_model(make_repo, "huge", num_bytes)}
    git_server.large |= dict(models.values())
    for kind, base in {"http": git_server.url, "file": git_server.root.as_uri()}.items():
        tiny, huge = (peaks(hyprstream, f"{base}/{name}/.git", name) for name in models)
        for verb in ("clone", "list", "inspect"):
            yield f"{verb} by {kind}", huge[verb] - tiny[verb]
        for name in models:
            assert hyprstream("remove", name, "--force").returncode == 0


def test_a_large_file_takes_no_memory(hyprstream, git_server, make_repo):
    for what, more in growth(hyprstream, git_server, make_repo, 150_000_000):
        assert more < 40e6, what


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_gigabytes_take_less_than_100_megabytes_of_memory(hyprstream, git_server, make_repo):
    for what, more in growth(hyprstream, git_server, make_repo, 2_000_000_000):
        assert more < 100e6, what
