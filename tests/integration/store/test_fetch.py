"""Fetching into a model that is there: what changes, what is reported, what never happens."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import Conflict, ModelNotFound, RefError, UnsafeTree

ORIGIN = "refs/remotes/origin/"


def git(path, *args):
    done = subprocess.run(["git", *args], cwd=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {args}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def grow(repo, branch="main", path="config.json", text=None):
    """A new commit on ``branch`` of the remote."""
    repo.run("checkout", "--quiet", branch)
    repo.write(path, text or f"{{}} {os.urandom(4).hex()}")
    return repo.commit()


def objects(git_dir):
    return set(git(git_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split())


@pytest.fixture
def model(store, model_repo):
    return store.clone(str(model_repo.path), name="m")


def summary(changes):
    return {c.ref: (c.kind, c.forced) for c in changes}


@pytest.fixture(params=["file", "http"])
def cloned(request, store, model_repo, git_server):
    """A model cloned by either way."""
    if request.param == "file":
        return store.clone(str(model_repo.path), name="m")
    for content in (model_repo.git_dir / "lfs/objects").rglob("*"):
        if content.is_file():
            git_server.large[content.name] = content.read_bytes()
    return store.clone(f"{git_server.url}/tiny-model/.git", name="m")


def test_new_updated_and_nested_branches_and_tags_arrive_and_nothing_else_moves(store, model_repo, cloned, referee):
    before = {w.id: (w.oid, (w.path / "config.json").read_bytes()) for w in store.models()}
    old = model_repo.head("main")
    new = grow(model_repo)
    model_repo.run("branch", "a/b/c", "feature/x")
    model_repo.run("tag", "-a", "v2", "-m", "second release")
    changes = store.fetch("m")
    assert summary(changes) == {
        f"{ORIGIN}a/b/c": ("new", False),
        f"{ORIGIN}main": ("updated", False),
        "refs/tags/v2": ("new", False),
    }
    assert next((c.old, c.new) for c in changes if c.ref == f"{ORIGIN}main") == (old, new)
    assert git(cloned.git_dir, "rev-parse", f"{ORIGIN}main", "v2^{commit}", f"{ORIGIN}a/b/c") == "\n".join(
        [new, new, model_repo.head("feature/x")]
    )
    assert {w.id: (w.oid, (w.path / "config.json").read_bytes()) for w in store.models()} == before
    assert store.fetch("m") == []
    referee(store)


def test_only_what_is_missing_is_sent(store, model_repo, git_server):
    model_repo.write("big", os.urandom(300_000))
    model_repo.commit()
    for content in (model_repo.git_dir / "lfs/objects").rglob("*"):
        if content.is_file():
            git_server.large[content.name] = content.read_bytes()
    model = store.clone(f"{git_server.url}/tiny-model/.git", name="m")
    data = bytearray((model_repo.path / "big").read_bytes())
    data[1000] ^= 1
    grow(model_repo, path="big", text=bytes(data))
    before = objects(model.git_dir)
    sizes = []
    store.fetch("m", progress=lambda phase, done, total: sizes.append(done) if phase == "git" else None)
    assert max(sizes) < 20_000  # a thin pack: a delta against a blob that only we have
    assert len(objects(model.git_dir) - before) == 3
    packs = [p.stem for p in (model.git_dir / "objects/pack").glob("*.pack")]
    assert len(packs) == 2
    for pack in packs:
        git(model.git_dir, "verify-pack", f"objects/pack/{pack}.idx")
    assert not (model.git_dir / "objects/info/alternates").exists()


def test_a_deleted_branch_is_reported_each_time_and_forgotten_when_asked(store, model_repo, model, referee):
    model_repo.run("branch", "-D", "feature/x")
    for _ in range(2):
        assert summary(store.fetch("m")) == {f"{ORIGIN}feature/x": ("deleted", False)}
        assert "feature/x" in model.branches()
    assert summary(store.fetch("m", prune=True)) == {f"{ORIGIN}feature/x": ("pruned", False)}
    assert "feature/x" not in model.branches()
    referee(store)


def test_a_branch_that_becomes_a_folder_of_branches_needs_prune(store, model_repo, model, referee):
    model_repo.run("branch", "topic", "main")
    store.fetch("m")
    model_repo.run("branch", "-D", "topic")
    model_repo.run("branch", "topic/one", "main")
    with pytest.raises(Conflict) as caught:
        store.fetch("m")
    assert caught.value.error_code == "ref.exists"
    assert "--prune" in caught.value.remedy
    store.fetch("m", prune=True)
    model_repo.run("branch", "-D", "topic/one")
    model_repo.run("branch", "topic", "main")
    store.fetch("m", prune=True)
    assert sorted(model.branches()) == ["feature/x", "main", "topic"]
    referee(store)


def test_references_that_stock_git_wrote_as_files_are_replaced_too(store, model_repo, model, referee):
    grow(model_repo)
    git(model.git_dir, "fetch", "--quiet", "origin")
    assert (model.git_dir / f"{ORIGIN}main").is_file()
    new = grow(model_repo)
    model_repo.run("branch", "other")
    store.fetch("m")
    assert git(model.git_dir, "rev-parse", f"{ORIGIN}main") == new
    git(model.git_dir, "pack-refs", "--all")
    newer = grow(model_repo)
    store.fetch("m")
    assert git(model.git_dir, "rev-parse", f"{ORIGIN}main") == newer
    model_repo.run("branch", "-D", "other")
    git(model.git_dir, "update-ref", f"{ORIGIN}other", newer)
    store.fetch("m", prune=True)
    assert f"{ORIGIN}other" not in git(model.git_dir, "for-each-ref")
    referee(store)


def test_a_rewritten_branch_is_followed_and_reported_as_forced(store, model_repo, model):
    old = model_repo.head("main")
    model_repo.run("commit", "--quiet", "--amend", "-m", "other words")
    [change] = store.fetch("m")
    assert (change.kind, change.forced, change.old, change.new) == ("updated", True, old, model_repo.head("main"))
    assert store.resolve("m:main").commit == old  # the local branch is what is served


def test_a_moved_tag_stays_unless_forced(store, model_repo, model):
    old = store.resolve("m:v1").commit
    new = grow(model_repo)
    model_repo.run("tag", "-f", "-a", "v1", "-m", "again")
    kept = next(c for c in store.fetch("m") if c.ref == "refs/tags/v1")
    assert (kept.kind, kept.forced) == ("kept", False)
    assert store.resolve("m:v1").commit == old
    taken = next(c for c in store.fetch("m", force=True) if c.ref == "refs/tags/v1")
    assert (taken.kind, taken.forced) == ("updated", True)
    assert store.resolve("m:v1").commit == new


def test_another_default_branch_is_reported_and_changes_nothing(store, model_repo, model):
    model_repo.run("checkout", "--quiet", "feature/x")
    [change] = store.fetch("m")
    assert (change.ref, change.kind, change.old, change.new) == ("HEAD", "default", "main", "feature/x")
    assert store.model("m").default_branch == "main"
    assert not (model.git_dir / f"{ORIGIN}HEAD").exists()
    model_repo.run("checkout", "--quiet", "--detach", "feature/x")
    assert store.fetch("m") == []  # it does not say which branch that is


def test_a_hostile_tree_in_an_update_is_refused_and_leaves_no_object(store, model_repo, model, referee):
    before, refs = objects(model.git_dir), git(model.git_dir, "for-each-ref")
    tree = model_repo.tree(("100644", b"../x", model_repo.blob()))
    model_repo.run("update-ref", "refs/heads/evil", model_repo.run("commit-tree", tree, "-p", "main", "-m", "x"))
    with pytest.raises(UnsafeTree):
        store.fetch("m")
    assert (objects(model.git_dir), git(model.git_dir, "for-each-ref")) == (before, refs)
    referee(store)


def test_what_is_too_much_is_refused(new_store, model_repo):
    new_store().clone(str(model_repo.path), name="m")
    grow(model_repo, path="big", text=os.urandom(100_000))
    with pytest.raises(UnsafeTree) as caught:
        new_store(limits=Limits(repo_pack_bytes=50_000)).fetch("m")
    assert caught.value.error_code == "repo.too_large"


def test_unknown_models_and_remotes_are_named(store, model):
    with pytest.raises(ModelNotFound):
        store.fetch("other")
    with pytest.raises(RefError, match="'upstream'"):
        store.fetch("m", "upstream")


def test_ten_fetches_at_once_are_harmless(store, model_repo, model, referee, tmp_path):
    new = grow(model_repo)
    model_repo.run("tag", "v3")
    code = """
import sys
import threading
from pathlib import Path
from hyprstream_core.config import Settings
from hyprstream_core.plugins import Plugins, installed
from hyprstream_core.services.store import open_store
store = open_store(Settings(models_dir=Path(sys.argv[1])), Plugins([c for c in installed() if c.name == "builtin"]))
store.fetch("m")
"""
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "models")], stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    errors = [racer.communicate()[1] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 10, errors
    assert git(model.git_dir, "rev-parse", f"{ORIGIN}main", "v3") == f"{new}\n{new}"
    referee(store)


def test_a_fetch_that_is_overtaken_asks_again(store, model_repo, model, monkeypatch):
    from hyprstream_core.repo.remotes import receive

    original, calls = receive.fetch, []

    def overtaken(*args, **kwargs):
        found = original(*args, **kwargs)
        if not calls:
            calls.append(grow(model_repo))
            git(model.git_dir, "fetch", "--quiet", "origin")
        return found

    grow(model_repo)
    monkeypatch.setattr(receive, "fetch", overtaken)
    store.fetch("m")
    assert git(model.git_dir, "rev-parse", f"{ORIGIN}main") == calls[0]


def test_three_hundred_references_arrive_together(store, model_repo, model, referee):
    head = model_repo.head()
    model_repo.run("pack-refs", "--all")
    lines = "".join(f"create refs/heads/team/{n} {head}\ncreate refs/tags/t{n} {head}\n" for n in range(150))
    model_repo.run("update-ref", "--stdin", stdin=lines.encode())
    assert len(store.fetch("m")) == 300
    theirs = {n: o for o, n in (line.split() for line in model_repo.run("show-ref").splitlines())}
    ours = git(model.git_dir, "for-each-ref", "--format=%(objectname) %(refname)", ORIGIN, "refs/tags").splitlines()
    assert {n.replace(ORIGIN, "refs/heads/"): o for o, n in map(str.split, ours)} == theirs
    referee(store)


def test_a_remote_that_lost_all_branches_is_an_error_and_nothing_is_forgotten(store, model_repo, model):
    model_repo.run("checkout", "--quiet", "--detach")
    for branch in ("main", "feature/x"):
        model_repo.run("branch", "-D", branch)
    with pytest.raises(Exception, match="no branch"):
        store.fetch("m", prune=True)
    assert sorted(model.branches()) == ["feature/x", "main"]


def test_changes_are_plain_records(store, model_repo, model):
    import dataclasses

    grow(model_repo)
    [record] = [dataclasses.asdict(change) for change in store.fetch("m")]
    assert list(json.loads(json.dumps(record))) == ["ref", "kind", "old", "new", "forced"]
    assert Path(record["ref"]).name == "main"


def test_stock_git_that_fetches_and_packs_at_the_same_time_loses_nothing(store, model_repo, model, referee):
    """Whoever comes second finds what the first has written; in the end all is as on the remote."""
    stop = threading.Event()

    def stock():
        while not stop.is_set():
            for command in (["fetch", "--quiet", "--no-auto-gc", "origin"], ["pack-refs", "--all"]):
                subprocess.run(["git", *command], cwd=model.git_dir, capture_output=True, check=False)

    thread = threading.Thread(target=stock)
    thread.start()
    try:
        for number in range(12):
            grow(model_repo)
            model_repo.run("branch", f"topic/{number}")
            model_repo.run("tag", "-am", "x", f"t{number}")
            store.fetch("m")
    finally:
        stop.set()
        thread.join()
    store.fetch("m")
    theirs = model_repo.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
    wanted = {line.replace("refs/heads/", ORIGIN) for line in theirs.splitlines()}
    ours = git(model.git_dir, "for-each-ref", "--format=%(objectname) %(refname)", ORIGIN, "refs/tags")
    assert set(ours.splitlines()) == wanted
    assert not list(model.git_dir.rglob("*.lock"))
    referee(store)
