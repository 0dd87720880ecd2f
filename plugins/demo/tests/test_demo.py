"""``hyprstream demo``, run as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("hyprstream"))


def demo(tmp_path: Path, *arguments: str, before: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HYPRSTREAM_")}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), **env}
    return subprocess.run(
        [PROGRAM, *before, "demo", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def leftovers(tmp_path: Path) -> list[str]:
    return [p.name for p in tmp_path.iterdir() if re.fullmatch(r"hyprstream-[a-z0-9_]{8}", p.name)]


@pytest.mark.timeout(300)
def test_the_tour_succeeds_and_cleans_up(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for command in ("clone demo://chat", "list", "inspect chat:main", "infer chat --prompt", "server --host"):
        assert f"$ hyprstream {command}" in done.stdout
    assert "A branch is a version of a model" in done.stdout
    assert re.search(r"time to first token \d+ ms, then \d+ tok/s over \d+ tokens", done.stdout)
    assert "the model calls add(" in done.stdout
    assert "42" in done.stdout.partition("the model calls add(")[2]
    assert leftovers(tmp_path) == []


@pytest.mark.timeout(300)
def test_flags_in_front_of_the_verb_are_those_of_every_command(tmp_path: Path) -> None:
    file = tmp_path / "my config.toml"
    file.write_text("[plugins]\ndisable = ['qwen']\n")
    done = demo(tmp_path, before=("--config", str(file), "--log-level", "debug", "--set", "engine.threads=1"))
    assert done.returncode == 1
    assert f"$ hyprstream --config '{file}' --log-level debug --set engine.threads=1 clone demo://chat" in done.stdout
    assert "qwen' is blocked: in plugins.disable" in done.stdout + done.stderr


@pytest.mark.parametrize("flag", ["--models-dir=m", "--set=models_dir=m", "--set=runtime_dir=r", "--set=server.port=1"])
def test_a_flag_that_the_tour_would_ignore_is_refused(tmp_path: Path, flag: str) -> None:
    done = demo(tmp_path, before=(flag,))
    assert done.returncode == 2
    assert "the tour has models, sockets and address of its own" in done.stderr
    assert flag.removeprefix("--").replace("set=", "").partition("=")[0] in done.stderr
    assert "$ " not in done.stdout


@pytest.mark.timeout(300)
def test_a_failed_step_is_named_and_ends_the_tour(tmp_path: Path) -> None:
    done = demo(tmp_path, HYPRSTREAM_DISABLE_PLUGINS="qwen")
    assert done.returncode == 1
    assert "error: hyprstream infer failed with exit code 1" in done.stderr
    assert "server" not in done.stdout
    assert leftovers(tmp_path) == []


@pytest.mark.timeout(300)
def test_a_server_that_does_not_start_is_reported_with_its_own_words(tmp_path: Path) -> None:
    done = demo(tmp_path, HYPRSTREAM_DISABLE_PLUGINS="api")
    assert done.returncode == 1
    assert "hyprstream server ended at once with exit code 2" in done.stderr
    assert "hyprstream-api" in done.stderr
    assert leftovers(tmp_path) == []
