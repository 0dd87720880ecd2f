"""Branches and tags: made, deleted, renamed with their worktrees; stock git agrees, and a kill loses nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from hyprstream_core.errors import Conflict, InvalidRequest, ModelNotFound, RefError
from hyprstream_core.repo.identity import Identity

ME = Identity("Me Myself", "me@example.org")


@pytest.fixture
def model(store, model_repo):
    """Cloned; main checked out; feature/x at the remote; v1 and v1-light on the first commit."""
    return store.clone(str(model_repo.path), name="m")


def git(path, *arguments):
    identity = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
    return subprocess.check_output(["git", *identity, *arguments], cwd=path, text=True).strip()


def names(store, which="local"):
    return [branch.name for branch in store.branches("m", which)]


def test_a_list_says_commit_worktree_upstream_and_subject(store, model):
    (main,) = store.branches("m")
    assert (main.name, main.ref, main.subject) == ("main", "refs/heads/main", "first")
    assert main.worktree == model.worktrees()[0].path
    assert (main.upstream.ref, main.upstream.ahead, main.upstream.behind) == ("refs/remotes/origin/main", 0, 0)
    assert names(store, "remote") == ["origin/feature/x", "origin/main"]
    assert names(store, "all") == ["main", "origin/feature/x", "origin/main"]


def test_a_branch_that_starts_at_the_remotes_tracks_it_and_others_track_nothing(store, model):
    store.create_branch("m", "mine", "origin/feature/x")
    store.create_branch("m", "old", "v1")
    store.create_branch("m", "here")
    tracked = {b.name: b.upstream and b.upstream.ref for b in store.branches("m")}
    assert tracked == {
        "mine": "refs/remotes/origin/feature/x", "old": None, "here": None, "main": "refs/remotes/origin/main"
    }  # fmt: skip
    assert git(model.git_dir, "rev-parse", "mine@{upstream}") == store.resolve("m:origin/feature/x").commit
    for name in ("mine", "main", "tags"):
        if name != "tags":
            with pytest.raises(Conflict):
                store.create_branch("m", name)
    with pytest.raises(Conflict):
        store.create_branch("m", "old/er")


@pytest.mark.parametrize(
    "name", ["HEAD", "-x", "a..b", "refs/heads/x", "heads/x", "a" * 300, "ab" * 20, "x\x1b[2J", "a b"]
)
def test_a_name_that_would_be_taken_for_something_else_is_refused(store, model, name):
    for make in (store.create_branch, store.create_tag):
        with pytest.raises(RefError) as caught:
            make("m", name)
        assert caught.value.message.isprintable()
    with pytest.raises(RefError):
        store.add_worktree("m", name, start="main")


def test_a_branch_is_deleted_only_when_nothing_is_lost(store, model, referee):
    store.create_branch("m", "merged", "v1")
    assert store.delete_branches("m", ["merged"]) == {"merged": store.resolve("m:v1").commit}
    store.add_worktree("m", "work", start="main")
    path = store.worktree_info("m", "work").path
    git(path, "commit", "-q", "--allow-empty", "-m", "mine alone")
    with pytest.raises(Conflict) as caught:
        store.delete_branches("m", ["work"], force=True)
    assert caught.value.error_code == "ref.checked_out"
    store.remove_worktree("m", "work")
    store.create_branch("m", "other")
    with pytest.raises(Conflict) as caught:
        store.delete_branches("m", ["other", "work"])
    assert caught.value.error_code == "ref.unmerged"
    assert "1 commit that 'main' lacks" in caught.value.message
    assert names(store) == ["main", "other", "work"], "all or none"
    store.delete_branches("m", ["work"], force=True)
    with pytest.raises(ModelNotFound, match="did you mean: other"):
        store.delete_branches("m", ["othr"])
    assert names(store) == ["main", "other"]
    referee(store)


def test_a_deleted_branch_takes_its_upstream_with_it(store, model):
    store.create_branch("m", "feature/x", "origin/feature/x")
    store.delete_branches("m", ["feature/x"])
    assert "feature" not in (model.git_dir / "config").read_text()
    assert store.resolve("m:feature/x").kind == "remote"


def test_head_is_never_at_a_branch_that_is_gone(new_store, model_repo, referee):
    store = new_store()
    model = store.clone(str(model_repo.path), name="m", branch="feature/x")
    store.add_worktree("m", "main")
    store.remove_worktree("m", "feature/x")
    store.delete_branches("m", ["feature/x"])
    assert (model.git_dir / "HEAD").read_text() == "ref: refs/heads/main\n"
    referee(store)


@pytest.mark.parametrize(("old", "new"), [("main", "trunk"), ("main", "main/nested"), ("a/b", "a"), ("a/b/c", "a/d")])
def test_a_renamed_branch_keeps_worktree_changes_upstream_and_log(store, model, referee, old, new):
    if old != "main":
        store.add_worktree("m", old, start="origin/main")
    path = store.worktree_info("m", old).path
    git(path, "commit", "-q", "--allow-empty", "-m", "mine")
    (path / "notes.txt").write_text("not committed")
    commit = store.resolve(f"m:{old}").commit
    store.rename_branch("m", old, new)
    with pytest.raises(ModelNotFound):
        store.resolve(f"m:refs/heads/{old}")
    tree = next(t for t in model.worktrees() if t.branch == new)
    assert tree.path == model.path / "worktrees" / new
    assert (tree.path / "notes.txt").read_text() == "not committed"
    assert store.resolve(f"m:{new}").commit == commit == git(tree.path, "rev-parse", "HEAD")
    assert git(tree.path, "status", "-sb").splitlines() == [f"## {new}...origin/main [ahead 1]", "?? notes.txt"]
    assert "mine" in git(tree.path, "reflog", new)
    (tree.path / "notes.txt").unlink()
    referee(store)
    git(tree.path, "commit", "-q", "--allow-empty", "-m", "goes on")
    store.rename_branch("m", new, old)
    referee(store)


def test_a_renamed_default_branch_is_still_what_the_bare_name_means(store, model):
    commit = git(model.worktrees()[0].path, "rev-parse", "HEAD")
    git(model.worktrees()[0].path, "commit", "-q", "--allow-empty", "-m", "mine")
    store.rename_branch("m", "main", "trunk")
    assert store.resolve("m").ref == "refs/heads/trunk"
    assert store.resolve("m").commit != commit
    assert store.default_branch("m") == "trunk"
    assert (model.git_dir / "HEAD").read_text() == "ref: refs/heads/trunk\n"


def test_a_name_that_is_taken_or_in_the_way_is_not_renamed_to(store, model, tmp_path):
    store.create_branch("m", "other")
    for name in ("other", "other/x"):
        with pytest.raises(Conflict):
            store.rename_branch("m", "main", name)
    (model.path / "worktrees/junk").mkdir()
    (model.path / "worktrees/junk/file").touch()
    for name in ("junk", "junk/file/x"):
        with pytest.raises(Conflict, match="files of another origin"):
            store.rename_branch("m", "main", name)
    with pytest.raises(ModelNotFound, match="no local branch"):
        store.rename_branch("m", "feature/x", "y")
    assert names(store) == ["main", "other"]


CHILD = """
import os, signal, sys
from pathlib import Path
from hyprstream_core.config import Settings
from hyprstream_core.plugins import Plugins, installed
from hyprstream_core.services.store import open_store
models, old, new, stop = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
store = open_store(Settings(models_dir=Path(models)), Plugins([c for c in installed() if c.name == "builtin"]))
count = 0
def hook(event, args):
    global count
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "open") and models in str(args[0]):
        count += 1
        if count == stop:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
store.rename_branch("m", old, new)
print(count)
"""


@pytest.mark.parametrize(("old", "new"), [("main", "other"), ("main", "main/x"), ("a/b", "a")])
def test_a_rename_killed_at_any_moment_is_finished_or_was_never_begun(store, model, referee, tmp_path, old, new):
    command = [sys.executable, "-c", CHILD, str(tmp_path / "models"), old, new]
    if old != "main":
        store.add_worktree("m", old, start="origin/main")
    total = int(subprocess.check_output([*command, "0"]))
    store.rename_branch("m", new, old)
    for number in range(1, 7):
        tree = next(t for t in store.worktrees("m") if t.branch in (old, new))
        if tree.branch == new:
            store.rename_branch("m", new, old)
        path = store.worktree_info("m", old).path
        (path / "notes.txt").write_text(str(number))
        subprocess.run([*command, str(total * number // 7)], stdout=subprocess.DEVNULL, check=False)
        (tree,) = (t for t in store.worktrees("m") if t.branch in (old, new))
        assert tree.branch in names(store)
        assert len({old, new} & set(names(store))) == 1
        assert (tree.path / "notes.txt").read_text() == str(number)
        assert git(tree.path, "status", "-sb").splitlines()[0] == f"## {tree.branch}...origin/main"
        (tree.path / "notes.txt").unlink()
        store._sweep()
        referee(store)


def test_light_and_annotated_tags_are_what_stock_git_makes(store, model, referee):
    store.create_tag("m", "light", "v1")
    store.create_tag("m", "told", "feature/x", message="  A title \n\n\n\nand more  \n\n", tagger=ME)
    assert git(model.git_dir, "cat-file", "-t", "light") == "commit"
    shown = git(
        model.git_dir,
        "for-each-ref",
        "refs/tags/told",
        "--format=%(taggername)%(taggeremail)|%(contents)|%(*objectname)",
    )
    assert shown == f"Me Myself<me@example.org>|  A title\n\nand more\n|{store.resolve('m:origin/feature/x').commit}"
    listed = {t.name: (t.kind, t.subject, t.commit) for t in store.tags("m")}
    assert listed["told"] == ("annotated", "  A title", store.resolve("m:told").commit)
    assert listed["v1"][:2] == ("annotated", "the first")
    assert listed["light"][:2] == ("light", "first")
    referee(store)
    with pytest.raises(InvalidRequest, match="empty"):
        store.create_tag("m", "void", message=" \n ")


def test_a_tag_that_exists_moves_only_by_force(store, model):
    before = store.resolve("m:v1").commit
    with pytest.raises(Conflict) as caught:
        store.create_tag("m", "v1", "feature/x")
    assert caught.value.error_code == "ref.exists"
    assert "--force" in caught.value.remedy
    assert store.resolve("m:v1").commit == before
    store.create_tag("m", "v1", "feature/x", force=True)
    assert store.resolve("m:v1").commit == store.resolve("m:feature/x").commit != before
    store.delete_tags("m", ["v1", "v1-light"])
    assert [t.name for t in store.tags("m")] == []
    with pytest.raises(ModelNotFound, match="no tag 'v1'"):
        store.delete_tags("m", ["v1"])


def test_a_worktree_of_the_remotes_branch_tracks_it_and_a_new_one_starts_where_it_is_told(store, model, referee):
    store.add_worktree("m", "feature/x")
    store.add_worktree("m", "tuned", start="v1")
    store.add_worktree("m", "scratch", start="")
    assert git(store.worktree_info("m", "feature/x").path, "status", "-sb") == "## feature/x...origin/feature/x"
    assert git(store.worktree_info("m", "tuned").path, "status", "-sb") == "## tuned"
    assert store.resolve("m:tuned").commit == store.resolve("m:v1").commit
    assert store.resolve("m:scratch").commit == store.resolve("m").commit
    with pytest.raises(Conflict, match="already exists"):
        store.add_worktree("m", "tuned", start="main")
    with pytest.raises(ModelNotFound, match="did you mean: tuned"):
        store.add_worktree("m", "tuend")
    with pytest.raises(Conflict):
        store.add_worktree("m", "tuned/deeper", start="main")
    assert [t.branch for t in store.worktrees("m")] == ["feature/x", "main", "scratch", "tuned"]
    referee(store)


def test_the_plan_of_a_removal_names_what_nobody_else_has_and_counts_what_it_frees(new_store, model_repo):
    from hyprstream_core.config import CloneSettings

    store = new_store(clone=CloneSettings(worktree_driver="hardlink"))
    model = store.clone(str(model_repo.path), name="m")
    store.clone(str(model_repo.path), name="twin")
    store.snapshot(store.resolve("m:v1"))
    store.add_worktree("m", "feature/x")
    path = store.worktree_info("m", "main").path
    git(path, "commit", "-q", "--allow-empty", "-m", "mine")
    (path / "new.txt").write_text("x" * 1000)
    root = model.path.parent
    plan = store.removal("m")
    assert (plan.worktrees, plan.unpushed, plan.views) == (["feature/x", "main"], {"main": 1}, 1)
    assert plan.changes == {"main": ["new.txt"]}
    one = store.removal("m", "feature/x")
    assert (one.branch, one.unpushed, one.changes) == ("feature/x", {}, {})
    before = stored(root)
    store.remove_worktree("m", "feature/x")
    assert before - stored(root) == one.freed_bytes
    assert one.kept_bytes > 20_000
    plan, before = store.removal("m"), stored(root)
    registry = stored(root / ".registry")
    store.remove("m", force=True)
    freed = before - stored(root) + stored(root / ".registry") - registry
    assert abs(freed - plan.freed_bytes) < 100, "but for the names of lock files"
    assert plan.kept_bytes == 13_000
    last = store.removal("twin")
    assert last.kept_bytes == 0


def stored(root: Path) -> int:
    """Bytes of the files below a folder, each once whatever it is called."""
    stats = {(s.st_dev, s.st_ino): s.st_size for p in root.rglob("*") if p.is_file() for s in (p.stat(),)}
    return sum(stats.values())


def test_a_list_of_many_worktrees_reads_each_index_once(new_store, make_repo, monkeypatch):
    from hyprstream_core.config import CloneSettings
    from hyprstream_core.repo.files import worktrees

    repo = make_repo("m")
    for n in range(3):
        repo.large(f"{n}.safetensors", f"weights {n}".encode() * 100)
    repo.commit()
    read, real = [], worktrees.index_of
    monkeypatch.setattr(worktrees, "index_of", lambda *args: read.append(args[1].id) or real(*args))
    for driver in ("hardlink", "copy"):
        store = new_store(driver, clone=CloneSettings(worktree_driver=driver))
        store.clone(str(repo.path))
        for n in range(19):
            store.add_worktree("m", f"b{n}", start="main")
        read.clear()
        found = [line.info for line in store.measured()]
        assert len(found) == len(read) == 20
        saved = [info.saved_bytes for info in sorted(found, key=lambda i: i.created_at)]
        assert saved == ([0] + [2700] * 19 if driver == "hardlink" else [0] * 20)
        assert found[7] == store.worktree_info("m", found[7].branch)
