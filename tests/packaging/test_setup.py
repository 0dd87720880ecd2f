"""The make targets explain themselves, and the constraints pin what is installed."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT, ROOT / "api", ROOT / "plugins/demo", ROOT / "plugins/qwen"]
OURS = {"hyprstream", "hyprstream-api", "hyprstream-demo", "hyprstream-qwen"}


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in found}


def test_every_target_explains_itself_in_help():
    shown = subprocess.run(
        ["make", "-C", ROOT, "--no-print-directory", "help"], capture_output=True, text=True, check=True
    )
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    explained = dict(re.findall(r"^  make ([a-z-]+) +(\S.+)$", shown.stdout, re.M))
    assert set(explained) == set(targets)
    assert all(len(text) > 10 for text in explained.values())


def test_make_without_a_target_shows_help_and_changes_nothing():
    run = subprocess.run(["make", "-C", ROOT, "-n"], capture_output=True, text=True, check=True)
    assert "awk" in run.stdout
    assert "pip" not in run.stdout


def stamp_of(index):
    """What ``make install`` leaves behind when it has taken torch from ``index``; asked without installing."""
    run = subprocess.run(
        ["make", "-C", ROOT, "-n", "-B", "install", f"TORCH_INDEX={index}"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    if index:
        assert f'--index-url "{index}"' in run.stdout
    (stamp,) = re.findall(r"^touch (.+)$", run.stdout, re.M)
    return stamp


def test_every_index_of_torch_has_an_installation_of_its_own():
    indexes = [
        "",
        "https://download.pytorch.org/whl/cpu",
        "https://download.pytorch.org/whl/cu128",
        "http://mirror.example:8080/whl/cpu",
        "http://mirror.example/whl/cpu",
        "https://user@mirror.example:8443/a%20b/whl?x=1&y=(2);z",
    ]
    stamps = [stamp_of(index) for index in indexes]
    assert len(set(stamps)) == len(stamps)
    assert all(re.fullmatch(r"\.venv/\.installed(-\d+)?", stamp) for stamp in stamps)


@pytest.mark.parametrize("name", [".ci/run", ".ci/setup"])
def test_scripts_are_executable_and_stop_at_the_first_error(name):
    path = ROOT / name
    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


def test_every_requirement_is_pinned_exactly_and_allowed_by_its_pin():
    pins = constraints()
    for project in PROJECTS:
        table = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        extras = [r for group in table.get("optional-dependencies", {}).values() for r in group]
        for text in [*table["dependencies"], *extras]:
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name not in OURS:
                pin = pins[name]
                (exact,) = pin.specifier
                assert exact.operator == "=="
                assert Version(exact.version) in requirement.specifier, text


def test_what_is_installed_is_what_is_pinned():
    pins = constraints()
    wrong = []
    for found in distributions():
        name = canonicalize_name(found.name)
        if name in pins and Version(found.version).public not in pins[name].specifier:
            wrong.append(f"{name} {found.version}")
    assert wrong == []


def test_the_environment_of_the_lfs_server_is_pinned_as_a_whole():
    lines = (ROOT / "tests/servers/giftless.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert "giftless" in [pin.name for pin in pins]
    assert all([specifier.operator for specifier in pin.specifier] == ["=="] for pin in pins)


def test_torch_is_pinned_without_a_build_so_that_an_index_can_be_chosen():
    (exact,) = constraints()["torch"].specifier
    assert "+" not in exact.version


@pytest.fixture
def bare(tmp_path):
    """The environment of a system with nothing but a shell: no python, no git, not root."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "env"):
        (programs / name).symlink_to(shutil.which(name))
    (programs / "id").write_text("#!/bin/bash\necho 1000\n")
    (programs / "id").chmod(0o755)
    return {"PATH": str(programs)}


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (["python", "no-such-venv"], "python3 python3-venv"),
        (["tools", "bash", "git", "x-sshd:openssh-server"], "git openssh-server"),
    ],
)
def test_setup_without_root_names_the_command(bare, tmp_path, arguments, packages):
    run = subprocess.run(
        ["bash", ROOT / ".ci/setup", *arguments], env=bare, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert f"sudo apt-get install -y --no-install-recommends {packages}\n" in run.stderr
    assert not (tmp_path / "no-such-venv").exists()


def test_setup_installs_what_is_missing_when_root_and_says_when_it_cannot(bare, tmp_path):
    programs = tmp_path / "bin"
    (programs / "id").write_text("#!/bin/bash\necho 0\n")
    (programs / "apt-get").write_text(f"#!/bin/bash\necho $* >> {tmp_path}/log\n[[ $1 == update ]]\n")
    (programs / "apt-get").chmod(0o755)
    run = subprocess.run(["bash", ROOT / ".ci/setup", "tools", "git"], env=bare, capture_output=True, text=True)
    assert run.returncode == 1
    assert "could not install git" in run.stderr
    assert (tmp_path / "log").read_text().splitlines() == ["update -q", "install -y --no-install-recommends git"]


def test_setup_refuses_an_interpreter_that_does_not_fit(bare, tmp_path):
    old = tmp_path / "bin/python3"
    old.write_text("#!/bin/bash\nexit 1\n")
    old.chmod(0o755)
    run = subprocess.run(
        ["bash", ROOT / ".ci/setup", "python", "venv"], env=bare, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "python3-venv" in run.stderr


def test_the_installed_program_is_the_one_of_this_tree():
    assert distribution("hyprstream").entry_points["hyprstream"].value == "hyprstream_core.cli.entry:main"
    program = Path(sys.executable).with_name("hyprstream")
    run = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("hyprstream, version ")
