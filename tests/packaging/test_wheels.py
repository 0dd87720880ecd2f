"""Every distribution builds a wheel that holds what it needs and nothing else."""

import email
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hyprstream_core import __version__

ROOT = Path(__file__).parents[2]
PROJECTS = {
    "hyprstream": (ROOT, "hyprstream_core", "AGPL-3.0-only"),
    "hyprstream-api": (ROOT / "api", "hyprstream_api", "AGPL-3.0-only"),
    "hyprstream-demo": (ROOT / "plugins/demo", "hyprstream_demo", "MIT"),
    "hyprstream-qwen": (ROOT / "plugins/qwen", "hyprstream_qwen", "MIT"),
}
VERSION = "0.1.0"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """Distribution → its wheel, each built once from the source tree."""
    folder = tmp_path_factory.mktemp("wheels")
    for project, _, _ in PROJECTS.values():
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(project)]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    return {name: folder / f"{name.replace('-', '_')}-{VERSION}-py3-none-any.whl" for name in PROJECTS}


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(path))


@pytest.mark.parametrize("name", PROJECTS)
def test_case_109_a_wheel_holds_exactly_the_tracked_files_of_its_package(wheels, name):
    project, package, _ = PROJECTS[name]
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", package],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert tracked
    held = [n for n in names(wheels[name]) if ".dist-info/" not in n]
    assert sorted(held) == sorted(t for t in tracked if (project / t).exists())


@pytest.mark.parametrize("name", PROJECTS)
def test_case_109_a_wheel_holds_no_tests_and_nothing_that_runs_on_install(wheels, name):
    held = names(wheels[name])
    assert not [n for n in held if n.endswith(".pth") or "/tests/" in n or "/training/" in n or "conftest" in n]
    assert {n.split("/")[0] for n in held} == {PROJECTS[name][1], f"{name.replace('-', '_')}-{VERSION}.dist-info"}


def test_the_core_wheel_holds_schemas_and_the_type_marker(wheels):
    held = names(wheels["hyprstream"])
    assert "hyprstream_core/py.typed" in held
    assert {n for n in held if n.endswith(".capnp")} == {
        p.relative_to(ROOT).as_posix() for p in (ROOT / "hyprstream_core").rglob("*.capnp")
    }


@pytest.mark.parametrize("name", PROJECTS)
def test_metadata_names_licence_version_and_python(wheels, name):
    found = metadata(wheels[name])
    assert (found["Name"], found["Version"]) == (name, VERSION)
    assert found["License-Expression"] == PROJECTS[name][2]
    assert found["Requires-Python"] == "<3.14,>=3.11"
    assert found.get_payload().strip()


@pytest.mark.parametrize("name", PROJECTS)
def test_licence_files_travel_with_the_wheel(wheels, name):
    licences = {n.rsplit("/", 1)[-1] for n in names(wheels[name]) if "/licenses/" in n}
    is_agpl = PROJECTS[name][2].startswith("AGPL")
    assert licences == ({"LICENSE", "LICENSE-EXCEPTION"} if is_agpl else {"LICENSE"})


@pytest.mark.parametrize("name", [n for n in PROJECTS if n != "hyprstream"])
def test_the_other_distributions_ask_for_the_core_of_their_own_version(wheels, name):
    requires = metadata(wheels[name]).get_all("Requires-Dist")
    assert f"hyprstream=={VERSION}" in requires


@pytest.mark.parametrize("name", [n for n in PROJECTS if n != "hyprstream"])
def test_the_entry_point_names_the_package(wheels, name):
    with zipfile.ZipFile(wheels[name]) as archive:
        (path,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        text = archive.read(path).decode()
    assert text.split() == ["[hyprstream.plugins]", name.removeprefix("hyprstream-"), "=", PROJECTS[name][1]]


def test_the_program_works_from_the_wheels_alone(wheels, tmp_path):
    """Unpacked in front of everything else, so that nothing of the source tree is used."""
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path)
    code = (
        "import hyprstream_core, hyprstream_api, hyprstream_demo, hyprstream_qwen, os, sys;"
        "places = [m.__file__ for m in (hyprstream_core, hyprstream_api, hyprstream_demo, hyprstream_qwen)];"
        f"assert all(p.startswith({str(tmp_path)!r}) for p in places), places;"
        "from hyprstream_core.cli.main import run; sys.exit(run(['plugins', '--json'], os.environ))"
    )
    env = {"PYTHONPATH": str(tmp_path), "HYPRSTREAM_STRICT_PLUGINS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    states = {p["name"]: p["state"] for p in json.loads(run.stdout)}
    assert states == dict.fromkeys(("builtin", "api", "demo", "qwen"), "ok")


def test_one_version_everywhere():
    assert __version__ == VERSION
    for project, _, _ in PROJECTS.values():
        assert f'version = "{VERSION}"' in (project / "pyproject.toml").read_text()


def test_the_agpl_is_the_unchanged_text_of_the_free_software_foundation():
    wanted = "0d96a4ff68ad6d4b6f1f30f713b18d5184912ba8dd389f86aa7710db079abcb0"
    for path in (ROOT / "LICENSE", ROOT / "api/LICENSE"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted
    assert (ROOT / "LICENSE-EXCEPTION").read_bytes() == (ROOT / "api/LICENSE-EXCEPTION").read_bytes()
