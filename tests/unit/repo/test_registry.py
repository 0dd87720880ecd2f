import json
import subprocess

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, Conflict, ModelNotFound
from hyprstream_core.repo.layout import Layout
from hyprstream_core.repo.registry import Record, Registry

ONE = Record("11111111-1111-4111-8111-111111111111", "https://h/one", "main", 1.5)


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def registry(tmp_path):
    return Registry(Layout(tmp_path / "models"), Limits(), 1.0)


def add(name, record=ONE):
    return lambda records: records.__setitem__(name, record)


def test_an_unused_store_has_no_models_and_reading_makes_nothing(registry, tmp_path):
    assert registry.models() == {}
    with pytest.raises(ModelNotFound, match="no model 'x'"):
        registry.get("x")
    assert not (tmp_path / "models").exists()


def test_records_come_back_as_they_were_in_order_of_names(registry, scratch, tmp_path):
    registry.change(scratch, "b", add("b"))
    registry.change(scratch, "org/a", add("org/a"))
    registry.change(scratch, "a", add("a"))
    assert list(registry.models()) == ["a", "b", "org/a"]
    model = registry.get("org/a")
    assert (model.uuid, model.url, model.default_branch, model.created_at) == (ONE.uuid, ONE.url, "main", 1.5)
    assert model.git_dir == tmp_path / "models/org/a/a.git"


def test_a_change_that_fails_changes_nothing(registry, scratch):
    registry.change(scratch, "a", add("a"))

    def fail(records):
        records.clear()
        raise Conflict("no")

    with pytest.raises(Conflict):
        registry.change(scratch, "x", fail)
    assert list(registry.models()) == ["a"]


def test_a_copy_that_somebody_damages_does_not_matter_and_is_mended(registry, scratch, tmp_path):
    registry.change(scratch, "a", add("a"))
    copy = tmp_path / "models/.registry/registry.json"
    copy.write_text("junk")
    assert list(registry.models()) == ["a"]
    registry.change(scratch, "b", add("b"))
    assert list(json.loads(copy.read_text())["models"]) == ["a", "b"]


def test_other_files_of_the_registry_are_kept(registry, scratch, tmp_path):
    registry.change(scratch, "a", add("a"))
    folder = tmp_path / "models/.registry"
    (folder / "policies").mkdir()
    (folder / "policies/local.csv").write_text("p, a, b")
    who = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    subprocess.run(["git", *who, "commit", "-qm", "policy"], cwd=folder, check=True)
    registry.change(scratch, "b", add("b"))
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == [".gitignore", "policies/local.csv", "registry.json"]
    clean = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, check=True)
    assert clean.stdout == b""


def test_secrets_are_ignored_by_git(registry, scratch, tmp_path):
    registry.change(scratch, "a", add("a"))
    (tmp_path / "models/.registry/server.key").write_text("secret")
    clean = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path / "models/.registry", capture_output=True, check=True
    )
    assert clean.stdout == b""


def test_damage_is_an_error_not_an_empty_list(registry, scratch, tmp_path):
    registry.change(scratch, "a", add("a"))
    branch = tmp_path / "models/.registry/.git/refs/heads/main"
    for text in ("junk", "0" * 40):
        branch.write_text(text)
        with pytest.raises(BadObject):
            registry.models()


def test_a_registry_whose_branch_git_has_packed_is_read_and_changed(registry, scratch, tmp_path):
    registry.change(scratch, "a", add("a"))
    folder = tmp_path / "models/.registry"
    subprocess.run(["git", "gc", "--quiet", "--prune=now"], cwd=folder, check=True)
    assert not (folder / ".git/refs/heads/main").exists()
    assert list(registry.models()) == ["a"]
    registry.change(scratch, "b", add("b"))
    assert list(registry.models()) == ["a", "b"]
    log = subprocess.run(["git", "log", "--format=%s"], cwd=folder, capture_output=True, text=True, check=True)
    assert log.stdout.split() == ["b", "a"]


def test_a_registry_that_has_lost_its_branch_is_damaged_and_not_new(registry, scratch, tmp_path):
    registry.change(scratch, "a", add("a"))
    (tmp_path / "models/.registry/.git/refs/heads/main").unlink()
    for use in (registry.models, lambda: registry.change(scratch, "b", add("b"))):
        with pytest.raises(BadObject, match="is gone"):
            use()


def test_a_damaged_index_beside_the_registry_fails_nothing_and_is_mended(registry, scratch, tmp_path):
    registry.change(scratch, "a", add("a"))
    (tmp_path / "models/.registry/.git/index").write_bytes(b"junk")
    registry.change(scratch, "b", add("b"))
    assert list(registry.models()) == ["a", "b"]
    clean = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path / "models/.registry", capture_output=True, check=True
    )
    assert clean.stdout == b""
