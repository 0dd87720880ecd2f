"""Worktrees: made, measured, isolated from each other, removed; and what stock git thinks of them."""

import os
import subprocess

import pytest

from hyprstream_core.config import CloneSettings
from hyprstream_core.errors import ConfigError, Conflict, ModelNotFound


@pytest.fixture
def cloned(new_store, model_repo):
    """cloned(driver) → a store with one model, "m"."""

    def make(driver):
        store = new_store(clone=CloneSettings(worktree_driver=driver))
        store.clone(str(model_repo.path), name="m")
        return store

    return make


@pytest.mark.parametrize("driver", ["copy", "hardlink"])
def test_a_worktree_is_measured_and_its_first_user_saves_nothing(cloned, model_repo, driver):
    store = cloned(driver)
    model_repo.run("branch", "twin", "main")
    store.clone(str(model_repo.path), name="second")
    first, second = (store.worktree_info(name, "main") for name in ("m", "second"))
    plain = sum(
        (model_repo.path / p).stat().st_size
        for p in ("config.json", "nested/folder/notes.txt", "run.sh", ".gitattributes")
    )
    for info in (first, second):
        assert info.apparent_bytes == 2 * 13000 + plain
        assert info.apparent_bytes == info.own_bytes + info.saved_bytes
        assert info.driver == driver
    assert first.saved_bytes == 0
    assert second.saved_bytes == (26000 if driver == "hardlink" else 0)


def test_what_was_changed_is_no_longer_saved(cloned, model_repo):
    store = cloned("hardlink")
    store.clone(str(model_repo.path), name="second")
    path = store.worktree_info("second", "main").path / "model.safetensors"
    path.unlink()
    path.write_bytes(b"x" * 13000)
    assert store.worktree_info("second", "main").saved_bytes == 13000  # the other copy of it


@pytest.mark.parametrize("driver", ["copy", "hardlink"])
def test_a_write_in_one_worktree_never_shows_elsewhere(cloned, driver):
    """As an ordinary user would write: into the file where that is allowed, else a new file in its place."""
    store = cloned(driver)
    twin = store.clone(f"file://{store.model('m').git_dir}", name="twin") if driver == "copy" else None
    main = store.worktree_info("m", "main").path / "model.safetensors"
    view = store.snapshot(store.resolve("m")) / "model.safetensors"
    if main.stat().st_mode & 0o222:
        main.write_bytes(b"changed")
    else:
        fresh = main.with_name("fresh")
        fresh.write_bytes(b"changed")
        fresh.replace(main)
    assert view.read_bytes() == b"first weights" * 1000
    assert (store.snapshot(store.resolve("m:v1")) / "copy.safetensors").read_bytes() == b"first weights" * 1000
    if twin:
        assert (twin.worktrees()[0].path / "model.safetensors").read_bytes() == b"first weights" * 1000


def test_auto_never_shares_a_file_that_this_user_could_write_through(cloned):
    store = cloned("auto")
    info = store.worktree_info("m", "main")
    shared = (info.path / "model.safetensors").stat().st_nlink > 1
    assert not (shared and os.access(info.path / "model.safetensors", os.W_OK))


def test_a_driver_that_is_unknown_or_does_not_work_here_is_an_error(cloned, new_store, tmp_path):
    with pytest.raises(ConfigError, match="nope"):
        cloned("nope")
    assert new_store().registered() == []


def test_a_clone_of_our_own_store_finds_the_large_files(cloned):
    store = cloned("copy")
    model = store.clone(f"file://{store.model('m').git_dir}", name="again")
    assert (model.worktrees()[0].path / "model.safetensors").stat().st_size == 13000


def test_a_clone_of_another_store_finds_the_large_files_where_they_are_shared(cloned, new_store):
    model = cloned("copy").model("m")
    again = new_store("elsewhere").clone(f"file://{model.git_dir}", name="again")
    assert (again.worktrees()[0].path / "model.safetensors").stat().st_size == 13000


def test_branches_of_one_last_part_do_not_collide(cloned, model_repo, referee):
    model_repo.run("branch", "bugfix/x", "main")
    store = cloned("copy")
    store.add_worktree("m", "feature/x")
    store.add_worktree("m", "bugfix/x")
    assert [w.id for w in store.models()] == ["m:bugfix/x", "m:feature/x", "m:main"]
    assert store.resolve("m:feature/x").kind == "branch"
    referee(store)


def test_a_branch_is_checked_out_once(cloned):
    store = cloned("copy")
    with pytest.raises(Conflict, match="already checked out"):
        store.add_worktree("m", "main")
    with pytest.raises(ModelNotFound, match="no branch"):
        store.add_worktree("m", "nope")


def test_a_worktree_with_changes_is_removed_only_by_force(cloned):
    store = cloned("copy")
    store.add_worktree("m", "feature/x")
    path = store.worktree_info("m", "main").path

    def refused(*changed):
        with pytest.raises(Conflict) as caught:
            store.remove_worktree("m", "main")
        assert caught.value.error_code == "repo.dirty"
        assert caught.value.details["changes"] == list(changed)
        with pytest.raises(Conflict):
            store.remove("m")

    (path / "new.txt").write_text("untracked")
    refused("new.txt")
    (path / "new.txt").unlink()
    (path / "config.json").write_text('{"hidden_size": 9}')
    refused("config.json")
    (path / "config.json").write_text('{"hidden_size": 8}')
    (path / "model.safetensors").chmod(0o644)
    (path / "model.safetensors").write_bytes(b"First weights" * 1000)
    refused("model.safetensors")
    (path / "model.safetensors").write_bytes(b"first weights" * 1000)
    (path / "nested/folder/notes.txt").unlink()
    refused("nested/folder/notes.txt")
    subprocess.run(["git", "rm", "--cached", "-q", "nested/folder/notes.txt"], cwd=path, check=True)
    refused("nested/folder/notes.txt")
    store.remove_worktree("m", "main", force=True)
    assert [w.branch for w in store.models()] == ["feature/x"]
    assert not path.exists()


def test_files_whose_times_alone_differ_are_no_changes(cloned):
    store = cloned("copy")
    store.add_worktree("m", "feature/x")
    path = store.worktree_info("m", "main").path
    for file in ("config.json", "model.safetensors"):
        os.utime(path / file, (1, 1))
    store.remove_worktree("m", "main")


def test_a_removed_worktree_leaves_branch_and_model_and_can_be_made_again(cloned, referee):
    store = cloned("copy")
    store.add_worktree("m", "feature/x")
    path = store.worktree_info("m", "feature/x").path
    store.remove_worktree("m", "feature/x")
    assert not path.parent.exists()
    assert store.resolve("m:feature/x").kind == "branch"
    with pytest.raises(ModelNotFound, match="not checked out"):
        store.worktree_info("m", "feature/x")
    referee(store)
    store.add_worktree("m", "feature/x")
    referee(store)


@pytest.mark.parametrize("force", [True, False])
def test_the_last_worktree_goes_only_with_its_model(cloned, force):
    store = cloned("copy")
    with pytest.raises(Conflict) as caught:
        store.remove_worktree("m", "main", force=force)
    assert (caught.value.error_code, caught.value.remedy) == (
        "repo.last_worktree",
        "hyprstream remove m removes the model",
    )
    assert (store.worktree_info("m", "main").path / "config.json").is_file()


def test_why_there_is_no_such_worktree_is_said(cloned):
    store = cloned("copy")
    for branch, why in (("feature/x", "not checked out"), ("v1", "v1 is a tag; only branches"), ("nope", "no such")):
        with pytest.raises(ModelNotFound, match=why):
            store.worktree_info("m", branch)


def test_stock_git_can_commit_in_a_worktree_and_the_commit_is_served(cloned, referee):
    store = cloned("copy")
    path = store.worktree_info("m", "main").path
    (path / "config.json").write_text('{"hidden_size": 16}')
    identity = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
    subprocess.run(["git", *identity, "commit", "-qam", "by hand"], cwd=path, check=True)
    resolved = store.resolve("m")
    assert resolved.commit == store.models()[0].oid
    assert (store.snapshot(resolved) / "config.json").read_text() == '{"hidden_size": 16}'
    referee(store)


def test_a_moved_branch_gets_its_own_view(cloned, model_repo):
    store = cloned("copy")
    before = store.snapshot(store.resolve("m"))
    git_dir = store.model("m").git_dir
    subprocess.run(["git", "update-ref", "refs/heads/main", model_repo.head("feature/x")], cwd=git_dir, check=True)
    after = store.snapshot(store.resolve("m"))
    assert before != after
    assert (before / "model.safetensors").read_bytes() == b"first weights" * 1000
    assert (after / "model.safetensors").read_bytes() == b"second weights" * 1000


def test_a_removal_that_cannot_finish_is_finished_by_the_next_command(new_store, model_repo, make_repo, tmp_path):
    other = make_repo("other")
    other.write("a", "x")
    other.commit()
    store = new_store()
    store.clone(str(model_repo.path), name="m")
    impatient = type(store)(tmp_path / "models", store._space.parts, lock_timeout=0.1)
    with store._space.model_lock("m"), pytest.raises(Conflict):
        impatient.remove("m")
    assert store.registered() == []
    assert (tmp_path / "models/m").is_dir()
    store.clone(str(other.path))
    assert not (tmp_path / "models/m").exists()
    assert not any((tmp_path / "models/.staging").iterdir())


def test_one_damaged_worktree_keeps_no_other_from_being_listed(store, model_repo):
    for name in ("a", "b", "c"):
        store.clone(str(model_repo.path), name=name)
    (admin,) = (store.model("a").git_dir / "worktrees").iterdir()
    (admin / "index").write_bytes(b"junk")
    found = {line.model.name: line for line in store.measured()}
    assert "index" in found["a"].problem
    for name in ("b", "c"):
        assert found[name].problem is None
        assert found[name].info.apparent_bytes > 0
