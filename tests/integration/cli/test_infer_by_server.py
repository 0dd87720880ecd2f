"""``infer`` asks a running server of the same store, and nothing else."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.fixture
def served(cloned):
    """The command line with a server of its store running."""
    port = free_port()
    command = [sys.executable, "-m", "hyprstream_core.cli", "server"]
    env = cloned.environment(HYPRSTREAM_SERVER_PORT=str(port))
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not is_ready(port):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield cloned
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


ASK = ["infer", "tiny:v1", "--raw", "-p", "a prompt of more than one block of tokens", "--max-tokens", "16"]


def test_a_running_server_answers_the_same_and_says_so(served):
    by_server = served.json(*ASK)
    here = served.json(*ASK, "--device", "auto")
    assert (by_server["served_by"], here["served_by"]) == ("server", "process")
    assert by_server["text"] == here["text"]
    assert (by_server["model"], here["model"]) == ("tiny:v1", "tiny:v1")
    assert (by_server["cached_tokens"], here["cached_tokens"]) == (0, 0)
    assert served.json(*ASK)["cached_tokens"] >= 16


def test_errors_of_the_server_are_errors_here(served):
    assert served.error(*ASK[:-1], "100000")["type"] == "ContextLengthExceeded"


def test_a_server_of_another_store_is_not_asked(served, tmp_path, repository):
    other = {"HYPRSTREAM_MODELS_DIR": str(tmp_path / "other")}
    assert served("clone", repository.as_uri(), "--name", "tiny", **other).returncode == 0
    assert served.json(*ASK, **other)["served_by"] == "process"


def test_a_store_is_the_same_by_whatever_path_it_is_named(served, tmp_path):
    models = Path(served.env["HYPRSTREAM_MODELS_DIR"])
    (tmp_path / "link").symlink_to(models)
    for path in (os.path.relpath(models), tmp_path / "link"):
        assert served.json(*ASK, HYPRSTREAM_MODELS_DIR=str(path))["served_by"] == "server", path


def test_what_is_wrong_with_a_model_of_another_store_is_no_error_here(served, tmp_path, repository):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    for command in (["init", "-q", "-b", "v1"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", "-c", "user.name=T", "-c", "user.email=t@e", *command], cwd=broken, check=True)
    other = {"HYPRSTREAM_MODELS_DIR": str(tmp_path / "other")}
    assert served("clone", broken.as_uri()).returncode == 0
    assert served("clone", repository.as_uri(), "--name", "broken", **other).returncode == 0
    ask = ["infer", "broken:v1", *ASK[2:]]
    assert served.json(*ask, **other)["served_by"] == "process"
    assert "config.json" in served.error(*ask)["message"]


def test_sockets_that_a_dead_server_left_do_not_matter(cloned):
    folder = Path(cloned.env["HYPRSTREAM_RUNTIME_DIR"])
    folder.mkdir(0o700)
    for name in ("registry", "inference"):
        left = socket.socket(socket.AF_UNIX)
        left.bind(f"{folder}/{name}.sock")
        left.close()
    assert cloned.json(*ASK)["served_by"] == "process"
