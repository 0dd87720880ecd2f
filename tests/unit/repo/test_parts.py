"""The plugins' parts of a store: a bad one is not used, and keeps nobody from using another."""

import json

import pytest

from hyprstream_core.builtin.worktree_drivers import Copy
from hyprstream_core.errors import ConfigError
from hyprstream_core.interfaces.storage import WorktreeDriver
from hyprstream_core.repo.parts import Parts


class Raises(Copy):
    def probe(self, directory):
        raise OSError("no such file system")


class Mumbles(Copy):
    def probe(self, directory):
        return "very well"


def missing():
    raise ModuleNotFoundError("no module named 'fast_copy'")


CLASSES = {"x:Copy": Copy, "x:Raises": Raises, "x:Mumbles": Mumbles, "x:Dict": dict, "x:Missing": missing}


def parts(*names):
    drivers = [WorktreeDriver(n.lower(), load=f"x:{n}") for n in names]
    return Parts(transports=(), filters=(), drivers=drivers, load=CLASSES.__getitem__)


def test_a_driver_that_fails_is_logged_and_another_one_chosen(tmp_path, capsys):
    found = parts("Raises", "Missing", "Copy", "Dict", "Mumbles")
    name, driver = found.driver("auto", tmp_path)
    assert (name, type(driver)) == ("copy", Copy)
    assert found.driver("auto", tmp_path)[1] is driver
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["driver"] for line in lines} == {"raises", "missing", "dict", "mumbles"}
    assert any("no module named 'fast_copy'" in line["exception"] for line in lines)


@pytest.mark.parametrize("name", ["raises", "missing", "dict", "mumbles"])
def test_a_driver_that_fails_is_not_available_by_its_name(tmp_path, name, capsys):
    with pytest.raises(ConfigError, match=rf"worktree driver '{name}' is not available") as caught:
        parts("Raises", "Missing", "Copy", "Dict", "Mumbles").driver(name, tmp_path)
    assert caught.value.param == "clone.worktree_driver"
    assert json.loads(capsys.readouterr().err)["driver"] == name
