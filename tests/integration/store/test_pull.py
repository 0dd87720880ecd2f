"""Pulling: a worktree moves from one commit to the next in place, or stays exactly as it was."""

import os
import subprocess

import pytest

from hyprstream_core.errors import Conflict, ModelNotFound, RefError, RemoteError


def git(path, *args):
    done = subprocess.run(["git", *args], cwd=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {args}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def files_of(folder):
    """Every file below ``folder`` with its content and whether it may be run; empty folders with None."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and name != ".git":
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        elif path.is_dir() and not any(path.iterdir()):
            found[name] = None
    return found


@pytest.fixture
def model(store, model_repo):
    return store.clone(str(model_repo.path), name="m")


@pytest.fixture
def fresh(store, model_repo):
    """fresh() → what a new clone of the remote's main has in its worktree."""

    def check():
        model = store.clone(str(model_repo.path), name="fresh")
        files = files_of(model.path / "worktrees/main")
        store.remove("fresh")
        return files

    return check


def test_files_of_every_kind_follow_and_stock_git_agrees(store, model_repo, model, fresh, referee):
    folder = model.path / "worktrees/main"
    untouched = (folder / "copy.safetensors").stat()
    model_repo.write("config.json", '{"hidden_size": 16}')
    model_repo.large("model.safetensors", b"new weights" * 5000)
    model_repo.large("deep/er/new.safetensors", b"more" * 3000)
    model_repo.run("rm", "--quiet", "-r", "nested")
    (model_repo.path / "run.sh").chmod(0o644)
    model_repo.write("tool", "#!/bin/sh\n")
    (model_repo.path / "tool").chmod(0o755)
    new = model_repo.commit()
    pulled = store.pull("m")
    assert (pulled.old, pulled.new, pulled.branch, pulled.path) == (model_repo.head("HEAD~1"), new, "main", folder)
    assert pulled.files == 6
    assert files_of(folder) == fresh()
    now = (folder / "copy.safetensors").stat()
    assert (now.st_ino, now.st_mtime_ns, now.st_ctime_ns) == (
        untouched.st_ino, untouched.st_mtime_ns, untouched.st_ctime_ns,
    )  # fmt: skip
    assert not (folder / "nested").exists()
    [worktree] = store.models()
    assert worktree.oid == new
    assert git(folder, "diff-files") == ""  # the index knows the state of every file without reading it
    referee(store)


def test_a_pull_with_nothing_new_changes_nothing(store, model_repo, model, referee):
    index = model.git_dir / "worktrees"
    before = {p: p.stat().st_mtime_ns for p in index.rglob("*")}
    pulled = store.pull("m")
    assert (pulled.old, pulled.new, pulled.files, pulled.changes) == (model_repo.head(), model_repo.head(), 0, ())
    assert {p: p.stat().st_mtime_ns for p in index.rglob("*")} == before
    referee(store)


CHANGES = {
    "a file becomes a folder": ({"a": "x"}, {"a/b/c": "y"}),
    "a folder becomes a file": ({"a/b/c": "x", "a/d": "x"}, {"a": "y"}),
    "two change places": ({"a": "x", "b/c": "y"}, {"a/c": "y", "b": "x"}),
    "only the case of a name changes": ({"Readme": "x", "Dir/f": "x"}, {"README": "x", "dir/f": "x"}),
    "everything goes but one": ({"a/b/c/d": "x", "a/e": "x"}, {"z": "x"}),
    "a file becomes empty": ({"a": "x"}, {"a": ""}),
    "names that look like folders": ({"a.b": "x", "a/b": "x"}, {"a-b": "x", "a/c": "x", "a0": "x"}),
    "deep": ({"/".join("abcdefghij"): "x"}, {"/".join("abcde"): "x"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_and_folders_that_change_places(store, make_repo, referee, name):
    repo = make_repo("m")
    before, after = CHANGES[name]
    for path, text in before.items():
        repo.write(path, text)
    repo.commit()
    folder = store.clone(str(repo.path)).path / "worktrees/main"
    repo.run("rm", "--quiet", "-r", ".")
    for path, text in after.items():
        repo.write(path, text)
    repo.commit()
    store.pull("m")
    assert {n: v and v[0].decode() for n, v in files_of(folder).items()} == after
    referee(store)


def test_submodules_come_move_and_go_as_empty_folders(store, make_repo, referee):
    repo = make_repo("m")
    blob = repo.blob()
    commits = []
    for entries in (
        [("100644", b"a", blob), ("100644", b"s", blob)],
        [("100644", b"a", blob), ("160000", b"s", "1" * 40)],
        [("100644", b"a", blob), ("160000", b"s", "2" * 40), ("160000", b"t", "1" * 40)],
        [("100644", b"a", blob), ("40000", b"s", repo.tree(("100644", b"f", blob)))],
        [("160000", b"a", "1" * 40)],
        [("100644", b"a", blob)],
    ):
        parents = ["-p", commits[-1]] if commits else []
        commits.append(repo.run("commit-tree", repo.tree(*entries), *parents, "-m", "x"))
    repo.run("update-ref", "refs/heads/main", commits[0])
    folder = store.clone(str(repo.path)).path / "worktrees/main"
    for commit, expected in zip(
        commits[1:], (["a", "s"], ["a", "s", "t"], ["a", "s", "s/f"], ["a"], ["a"]), strict=True
    ):
        repo.run("update-ref", "refs/heads/main", commit)
        store.pull("m")
        assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.name != ".git") == expected
        referee(store)


def test_a_pull_over_many_random_commits_is_what_a_fresh_clone_would_be(store, model_repo, model, fresh, referee):
    import random

    names = [f"{a}{b}" for a in ("", "x/", "x/y/", "z/") for b in ("one", "two", "x")]
    for _ in range(6):
        model_repo.run("rm", "--quiet", "-r", "--ignore-unmatch", ".")
        chosen: list[str] = []
        for name in random.sample(names, 6):
            if not any(name.startswith(f"{o}/") or o.startswith(f"{name}/") for o in chosen):
                chosen.append(name)
                if random.random() < 0.5:
                    model_repo.large(name, os.urandom(random.choice([1, 500])))
                else:
                    model_repo.write(name, random.choice(["same", os.urandom(3).hex()]))
                (model_repo.path / name).chmod(random.choice([0o644, 0o755]))
        model_repo.commit()
        store.pull("m")
        assert files_of(model.path / "worktrees/main") == fresh()
        referee(store)


def test_large_files_keep_their_driver(new_store, model_repo, referee):
    from hyprstream_core.config import CloneSettings

    for driver in ("copy", "hardlink"):
        name = driver
        new_store(clone=CloneSettings(worktree_driver=driver)).clone(str(model_repo.path), name=name)
    model_repo.large("model.safetensors", b"newer weights" * 1000)
    (model_repo.path / "copy.safetensors").chmod(0o755)
    model_repo.commit()
    store = new_store()
    for name, links in (("copy", 1), ("hardlink", 3)):
        pulled = store.pull(name)
        assert (pulled.path / "model.safetensors").read_bytes() == b"newer weights" * 1000
        assert (pulled.path / "model.safetensors").stat().st_nlink >= min(links, 2)
        assert store.worktree_info(name, "main").driver == name
    referee(store)


def test_untracked_files_stay_and_changed_ones_stop_the_pull(store, model_repo, model, referee):
    folder = model.path / "worktrees/main"
    (folder / "mine.txt").write_text("mine")
    (folder / "nested/mine.txt").write_text("mine")
    (folder / "empty").mkdir()
    model_repo.run("rm", "--quiet", "-r", "nested")
    model_repo.commit()
    store.pull("m")
    assert (folder / "mine.txt").read_text() == "mine"
    assert sorted(p.name for p in (folder / "nested").iterdir()) == ["mine.txt"]
    assert (folder / "empty").is_dir()
    (folder / "mine.txt").unlink()
    (folder / "nested/mine.txt").unlink()
    referee(store)


def change(folder):
    (folder / "config.json").write_text("changed")


def delete(folder):
    (folder / "model.safetensors").unlink()


def stage(folder):
    (folder / "config.json").write_text("changed")
    git(folder, "add", "config.json")


def stage_and_undo(folder):
    before = (folder / "config.json").read_bytes()
    stage(folder)
    (folder / "config.json").write_bytes(before)


def stage_new(folder):
    (folder / "staged").write_text("new")
    git(folder, "add", "staged")


def run_bit(folder):
    (folder / "config.json").chmod(0o755)


def link(folder):
    (folder / "config.json").rename(folder / "elsewhere")
    (folder / "config.json").symlink_to("elsewhere")


def pipe(folder):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def linked_folder(folder):
    (folder / "nested").rename(folder / "elsewhere")
    (folder / "nested").symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (change, "config.json"), (delete, "model.safetensors"), (stage, "config.json"), (stage_and_undo, "config.json"),
        (stage_new, "staged"), (run_bit, "config.json"), (link, "config.json"), (pipe, "config.json"),
        (linked_folder, "nested/folder/notes.txt"),
    ],
)  # fmt: skip
def test_a_changed_worktree_is_not_touched(store, model_repo, model, spoil, named):
    folder = model.path / "worktrees/main"
    spoil(folder)
    before, old = files_of(folder), model_repo.head()
    model_repo.write("nested/folder/notes.txt", "new")
    model_repo.commit()
    with pytest.raises(Conflict) as caught:
        store.pull("m")
    assert caught.value.error_code == "repo.dirty"
    assert caught.value.details["changes"] == [named]
    assert files_of(folder) == before
    assert git(model.git_dir, "rev-parse", "main") == old


@pytest.mark.parametrize(
    ("untracked", "arriving"),
    [("new", "new"), ("new/mine", "new"), ("new", "new/theirs"), ("a/b/mine", "a/b"), ("nested/new", "nested/new")],
)
def test_an_untracked_file_in_the_way_is_named_and_kept(store, model_repo, model, untracked, arriving):
    folder = model.path / "worktrees/main"
    (folder / untracked).parent.mkdir(parents=True, exist_ok=True)
    (folder / untracked).write_text("mine")
    before = files_of(folder)
    model_repo.write(arriving, "theirs")
    model_repo.write("config.json", "{}")
    model_repo.commit()
    with pytest.raises(Conflict) as caught:
        store.pull("m")
    assert (caught.value.error_code, caught.value.details["changes"]) == ("repo.untracked", [untracked])
    assert files_of(folder) == before


def test_names_that_are_no_text_do_not_stop_the_refusal(store, model_repo, model):
    folder = model.path / "worktrees/main"
    (folder / "new").mkdir()
    (folder / os.fsdecode(b"new/\xff")).write_text("mine")
    model_repo.write("new", "theirs")
    model_repo.commit()
    with pytest.raises(Conflict) as caught:
        store.pull("m")
    assert caught.value.details["changes"] == ["new/\\xff"]


def test_a_link_that_somebody_put_where_a_folder_is_to_come_is_not_followed(store, model_repo, model, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (model.path / "worktrees/main/new").symlink_to(outside)
    model_repo.write("new/file", "x")
    model_repo.commit()
    with pytest.raises(Conflict) as caught:
        store.pull("m")
    assert caught.value.details["changes"] == ["new"]
    assert list(outside.iterdir()) == []


def test_a_link_planted_in_the_last_moment_leads_nowhere(store, model_repo, model, tmp_path, referee):
    """After all checks, right before the files are put in place."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder/notes.txt").write_text("outside")
    folder = model.path / "worktrees/main"
    model_repo.write("nested/folder/notes.txt", "new")
    model_repo.write("nested/other.txt", "new")
    model_repo.run("rm", "--quiet", "run.sh")
    new = model_repo.commit()

    def plant():
        (folder / "nested").rename(tmp_path / "away")
        (folder / "nested").symlink_to(outside)

    with pytest.raises(Conflict) as caught:
        store.pull("m", publishing=plant)
    assert caught.value.error_code == "repo.obstructed"
    assert caught.value.details["changes"] == ["nested/folder/notes.txt", "nested/other.txt"]
    assert [(p.name, p.is_file() and p.read_text()) for p in sorted(outside.rglob("*"))] == [
        ("folder", False), ("notes.txt", "outside"),
    ]  # fmt: skip
    assert not (folder / "run.sh").exists()
    (folder / "nested").unlink()
    git(folder, "checkout", "--", "nested")
    assert store.models()[0].oid == new
    referee(store)


def test_a_branch_without_worktree_just_moves(store, model_repo, model, referee):
    store.add_worktree("m", "feature/x")
    store.remove_worktree("m", "feature/x")
    model_repo.run("checkout", "--quiet", "feature/x")
    model_repo.write("config.json", "{}")
    new = model_repo.commit()
    pulled = store.pull("m", "feature/x")
    assert (pulled.new, pulled.path, pulled.files) == (new, None, 0)
    assert store.resolve("m:feature/x").commit == new
    referee(store)


def test_another_branch_of_the_remote_can_be_followed(store, model_repo, model, referee):
    pulled = store.pull("m", "main", "origin", "feature/x")
    assert (pulled.source, pulled.new) == ("feature/x", model_repo.head("feature/x"))
    assert (model.path / "worktrees/main/model.safetensors").read_bytes() == b"second weights" * 1000
    referee(store)


def test_a_branch_follows_the_one_that_it_tracks_under_whatever_name(store, model_repo, model, referee):
    store.add_worktree("m", "mine", start="origin/feature/x")
    store.rename_branch("m", "main", "trunk")
    new = {}
    for name in ("main", "feature/x"):
        model_repo.run("checkout", "--quiet", name)
        model_repo.write("config.json", name)
        new[name] = model_repo.commit()
    pulled = store.pull("m", "mine")
    assert (pulled.source, pulled.new) == ("feature/x", new["feature/x"])
    pulled = store.pull("m")
    assert (pulled.branch, pulled.source, pulled.new) == ("trunk", "main", new["main"])
    referee(store)


def test_a_branch_that_tracks_none_of_the_remotes_says_which_to_give(store, model_repo, model):
    store.create_branch("m", "mine")
    store.create_branch("m", "feature/x", "v1")
    git(model.git_dir, "branch", "local", "main")
    git(model.git_dir, "config", "branch.local.remote", ".")
    git(model.git_dir, "config", "branch.local.merge", "refs/heads/main")
    model_repo.path.rename(model_repo.path.with_name("gone"))  # nothing is asked of the remote before that is clear
    for branch, told in (("mine", "m:mine origin main"), ("feature/x", "origin feature/x"), ("local", "origin main")):
        with pytest.raises(RefError) as caught:
            store.pull("m", branch)
        assert caught.value.error_code == "ref.no_upstream"
        assert caught.value.remedy.endswith(told)
    model_repo.path.with_name("gone").rename(model_repo.path)
    assert store.pull("m", "mine", remote_branch="feature/x").new == model_repo.head("feature/x")


def test_branches_that_do_not_exist_are_named(store, model_repo, model):
    for arguments, error in (
        (("nope",), ModelNotFound),
        (("feature/x",), ModelNotFound),
        (("main", "origin", "nope"), ModelNotFound),
        (("main", "upstream"), RefError),
    ):
        with pytest.raises(error):
            store.pull("m", *arguments)
    model_repo.run("checkout", "--quiet", "feature/x")
    store.add_worktree("m", "feature/x")
    model_repo.run("branch", "-D", "main")
    with pytest.raises(ModelNotFound, match="no branch 'main'"):
        store.pull("m", "main")


def commit_here(model, text="mine"):
    folder = model.path / "worktrees/main"
    (folder / "config.json").write_text(text)
    git(folder, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "--quiet", "-am", "mine")
    return git(folder, "rev-parse", "HEAD")


def test_a_branch_that_is_ahead_stays(store, model_repo, model, referee):
    mine = commit_here(model)
    pulled = store.pull("m")
    assert (pulled.old, pulled.new) == (mine, mine)
    referee(store)


def test_branches_that_went_different_ways_are_refused_with_both_counts(store, model_repo, model, referee):
    mine = commit_here(model)
    for n in range(3):
        model_repo.write("other", str(n))
        model_repo.commit()
    for force in (False, True):
        with pytest.raises(Conflict) as caught:
            store.pull("m", force=force)
        assert caught.value.error_code == "repo.diverged"
        assert (caught.value.details["ahead"], caught.value.details["behind"]) == (1, 3)
        assert "1 commit of its own, 3 commits on the remote" in caught.value.message
    assert git(model.git_dir, "rev-parse", "main") == mine
    referee(store)


def test_a_branch_that_somebody_moves_meanwhile_is_left_to_him(store, model_repo, model, referee):
    folder = model.path / "worktrees/main"
    model_repo.write("config.json", "{}")
    model_repo.commit()
    mine = []

    def progress(phase, done, total):
        if phase == "checkout" and not mine:
            mine.append(commit_here(model))

    with pytest.raises(Conflict) as caught:
        store.pull("m", progress=progress)
    assert caught.value.error_code == "ref.moved"
    assert git(folder, "rev-parse", "HEAD") == mine[0]
    referee(store)


def test_a_worktree_in_which_git_is_at_work_or_shows_another_branch_is_left_alone(store, model_repo, model):
    model_repo.write("config.json", "{}")
    model_repo.commit()
    folder = model.path / "worktrees/main"
    [lock] = [p.with_suffix(".lock") for p in (model.git_dir / "worktrees").glob("*/index")]
    lock.touch()
    with pytest.raises(Conflict) as caught:
        store.pull("m")
    assert caught.value.error_code == "repo.busy"
    lock.unlink()
    git(folder, "checkout", "--quiet", "--detach")
    with pytest.raises(Conflict) as caught:
        store.pull("m")
    assert caught.value.error_code == "repo.busy"
    git(folder, "checkout", "--quiet", "main")
    assert store.pull("m").files == 1


def test_what_is_served_stays_while_the_branch_moves(store, model_repo, model):
    view = store.snapshot(store.resolve("m"))
    model_repo.write("config.json", "{}")
    model_repo.commit()
    with (view / "config.json").open() as file:
        store.pull("m")
        assert file.read() == '{"hidden_size": 8}'
    assert (view / "config.json").read_text() == '{"hidden_size": 8}'
    assert (store.snapshot(store.resolve("m")) / "config.json").read_text() == "{}"


def test_an_error_at_the_last_moment_undoes_everything(store, model_repo, model, referee):
    before = files_of(model.path / "worktrees/main")
    model_repo.write("config.json", "{}")
    model_repo.commit()

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull("m", publishing=interrupt)
    assert files_of(model.path / "worktrees/main") == before
    referee(store)
    store.pull("m")
    referee(store)


def test_a_remote_without_the_large_file_leaves_the_worktree_as_it_was(store, model_repo, model, referee):
    before = files_of(model.path / "worktrees/main")
    oid = model_repo.large("model.safetensors", b"lost")
    model_repo.commit()
    model_repo.content(oid).unlink()
    with pytest.raises(RemoteError) as caught:
        store.pull("m")
    assert caught.value.error_code == "lfs.missing"
    assert files_of(model.path / "worktrees/main") == before
    referee(store)
