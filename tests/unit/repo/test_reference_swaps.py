"""Several references as one step, with stock git as the referee."""

import random
import subprocess
import sys
import threading

import pytest

from hyprstream_core.errors import BadObject, Conflict
from hyprstream_core.repo.git.gitdir import packed_refs, read_refs
from hyprstream_core.repo.git.reference_store import References
from hyprstream_core.repo.git.shallow import read_shallow, write_shallow


@pytest.fixture
def repo(make_repo):
    repo = make_repo("refs")
    for n in range(3):
        repo.write("n", str(n))
        repo.commit()
        repo.run("tag", "-a", f"v{n}", "-m", "x")
    return repo


@pytest.fixture
def refs(repo, tmp_path):
    return References(repo.git_dir, tmp_path, 0.3)


def shown(repo):
    """Every reference, and what annotated tags point at, as stock git reads them."""
    lines = repo.run("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)").splitlines()
    return {line.split()[0]: tuple(line.split()[1:]) for line in lines}


def test_random_changes_are_what_git_reads(repo, refs):
    oids = [repo.run("rev-parse", name) for name in ("main", "main~1", "main~2", "v0", "v1")]
    commits = oids[:3]
    names = [f"refs/{kind}/{name}" for kind in ("heads", "remotes/origin", "tags") for name in ("a", "b/c", "b/d", "e")]
    known = read_refs(repo.git_dir)
    for _ in range(60):
        swaps = {}
        for name in random.sample(names, random.choice([1, 1, 2, 5])):
            new = random.choice([None, *(oids if "tags" in name else commits)])
            if new or name in known:
                swaps[name] = (known.get(name), new)
        refs.swap(swaps)
        known |= {name: new for name, (_, new) in swaps.items()}
        known = {name: oid for name, oid in known.items() if oid}
        assert {name: found[0] for name, found in shown(repo).items()} == known == read_refs(repo.git_dir)
        if random.random() < 0.2:
            repo.run("pack-refs", "--all")
    assert all(oid in repo.run("show-ref", "-d") for oid in packed_refs(repo.git_dir)[1].values())
    repo.run("fsck", "--strict")


def test_all_or_none(repo, refs):
    head, older = repo.head(), repo.head("main~1")
    before = shown(repo)
    with pytest.raises(Conflict) as caught:
        refs.swap({"refs/heads/new": (None, head), "refs/heads/main": (older, older)})
    assert caught.value.error_code == "ref.moved"
    with pytest.raises(Conflict) as caught:
        refs.swap({"refs/heads/new": (None, head), "refs/heads/main/x": (None, head)})
    assert caught.value.error_code == "ref.exists"
    assert shown(repo) == before


def test_a_name_and_a_longer_one_may_change_places(repo, refs):
    head = repo.head()
    refs.swap({"refs/heads/a/b/c": (None, head)})
    refs.swap({"refs/heads/a/b/c": (head, None), "refs/heads/a": (None, head)})
    refs.swap({"refs/heads/a": (head, None)})
    (repo.git_dir / "refs/heads/a/b").mkdir(parents=True, exist_ok=True)
    refs.swap({"refs/heads/a": (None, head)})
    assert repo.head("a") == head


def test_what_was_half_done_is_finished_and_what_others_changed_is_left(repo, refs):
    head, older, oldest = repo.head(), repo.head("main~1"), repo.head("main~2")
    swaps = {"refs/heads/x": (older, head), "refs/heads/y": (older, head), "refs/heads/z": (older, None)}
    repo.run("update-ref", "refs/heads/x", head)  # done before the crash
    repo.run("update-ref", "refs/heads/y", oldest)  # changed by somebody since
    repo.run("update-ref", "refs/heads/z", older)
    for _ in range(2):
        with refs.holding(swaps):
            refs.apply(swaps)
        assert (repo.head("x"), repo.head("y")) == (head, oldest)
        assert "refs/heads/z" not in shown(repo)


def test_swaps_wait_for_the_locks_of_stock_git_and_hold_them(repo, refs):
    head, older = repo.head(), repo.head("main~1")
    repo.run("branch", "x", older)
    swaps = {"refs/heads/x": (older, head), "refs/heads/y/z": (None, head)}
    for lock in ("refs/heads/x.lock", "refs/heads/y/z.lock", "packed-refs.lock"):
        path = repo.git_dir / lock
        path.parent.mkdir(exist_ok=True)
        path.touch()
        with pytest.raises(Conflict) as caught:
            refs.swap(swaps)
        assert caught.value.error_code == "repo.locked"
        path.unlink()
    with refs.holding(swaps):
        for command in (["update-ref", "refs/heads/x", head], ["branch", "y/z"], ["pack-refs", "--all"]):
            done = subprocess.run(["git", *command], cwd=repo.path, capture_output=True, text=True)
            assert done.returncode, command
            assert ".lock" in done.stderr
    assert (repo.head("x"), "refs/heads/y/z" in shown(repo)) == (older, False)
    assert not (repo.git_dir / "refs/heads/y").exists()
    assert not list(repo.git_dir.rglob("*.lock"))


def test_what_excludes_a_name_made_meanwhile_is_left_alone(repo, refs):
    """A journal of several references is finished although somebody has made ``a/b`` where ``a`` was to be."""
    head = repo.head()
    repo.run("branch", "a/b", head)
    repo.run("branch", "c", head)
    swaps = {"refs/heads/a": (None, head), "refs/heads/c/d": (None, head), "refs/heads/e": (None, head)}
    for each in (swaps, {"refs/heads/a": (None, head)}, {"refs/heads/c/d": (None, head)}):
        with refs.holding(each):
            refs.apply(each)
        assert {n for n in shown(repo) if "heads" in n} == {f"refs/heads/{n}" for n in ("main", "a/b", "c", "e")}


def test_a_forgotten_branch_takes_its_log_with_it(repo, refs):
    head = repo.head()
    repo.run("config", "core.logAllRefUpdates", "always")
    for name in ("refs/remotes/origin/a/b", "refs/remotes/origin/c"):
        repo.run("update-ref", name, head)
    refs.swap({"refs/remotes/origin/a/b": (head, None), "refs/remotes/origin/a": (None, head)})
    assert not (repo.git_dir / "logs/refs/remotes/origin/a").exists()
    repo.run("update-ref", "refs/remotes/origin/a", repo.head("main~1"))
    assert (repo.git_dir / "logs/refs/remotes/origin/a").is_file()


def test_stock_git_that_packs_and_commits_meanwhile_loses_nothing(repo, refs, tmp_path):
    """Two of ours swap five branches at once; git packs, and moves others, all the time."""
    one, two = repo.head(), repo.head("main~1")
    ours = [f"refs/heads/{n}" for n in ("a", "b/c", "d", "e/f/g", "h")]
    for name in [*ours, "refs/heads/theirs"]:
        repo.run("update-ref", name, one)
    stop, failures, count = threading.Event(), [], [0]

    def stock():
        current = one
        while not stop.is_set():
            subprocess.run(["git", "pack-refs", "--all"], cwd=repo.path, capture_output=True)
            new = two if current == one else one
            command = ["git", "update-ref", "refs/heads/theirs", new, current]
            done = subprocess.run(command, cwd=repo.path, capture_output=True, text=True)
            if done.returncode == 0:
                current = new
                count[0] += 1
            elif ".lock" not in done.stderr:
                failures.append(done.stderr)

    thread = threading.Thread(target=stock)
    thread.start()
    refs = References(repo.git_dir, tmp_path, 10)
    try:
        old, new = one, two
        for _ in range(60):
            refs.swap(dict.fromkeys(ours, (old, new)))
            refs.swap({"refs/heads/new/one": (None, new), ours[0]: (new, None)})
            refs.swap({"refs/heads/new/one": (new, None), ours[0]: (None, new)})
            assert {name: refs.read()[name] for name in ours} == dict.fromkeys(ours, new)
            old, new = new, old
    finally:
        stop.set()
        thread.join()
    assert not failures
    assert count[0]
    assert {shown(repo)[name][0] for name in ours} == {old}
    repo.run("fsck", "--strict")


def test_the_file_shallow_is_gits(repo, tmp_path):
    assert read_shallow(repo.git_dir) == frozenset()
    write_shallow(repo.git_dir, [repo.head("main~1")], tmp_path)
    assert repo.run("rev-parse", "--is-shallow-repository") == "true"
    assert repo.run("rev-list", "--count", "main") == "2"
    assert read_shallow(repo.git_dir) == {repo.head("main~1")}
    for _ in range(2):
        write_shallow(repo.git_dir, [], tmp_path)
    assert subprocess.run(["git", "fsck"], cwd=repo.path, check=True, capture_output=True).returncode == 0
    assert repo.run("rev-parse", "--is-shallow-repository") == "false"
    (repo.git_dir / "shallow").write_text("junk\n")
    with pytest.raises(BadObject, match="shallow"):
        read_shallow(repo.git_dir)


KILLED = """
import os, signal, sys
from pathlib import Path
from hyprstream_core.config import Settings
from hyprstream_core.plugins import Plugins, installed
from hyprstream_core.services.store import open_store
store = open_store(Settings(models_dir=Path(sys.argv[1])), Plugins([c for c in installed() if c.name == "builtin"]))
space = store._space
with space.stage() as stage, space.changing(store.model("m"), stage) as refs:
    with refs.holding({"refs/heads/main": (None, None), "refs/heads/x/y": (None, None)}):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_locks_of_a_command_that_was_killed_before_it_decided_are_broken_by_the_next(store, repo, tmp_path):
    model = store.clone(str(repo.path), name="m")
    store.clone(str(repo.path), name="other")
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "models")], check=False)
    assert len(list(model.git_dir.rglob("*.lock"))) == 3
    assert subprocess.run(["git", "branch", "-f", "main"], cwd=model.git_dir, capture_output=True).returncode
    store.fetch("other")
    assert not list(model.git_dir.rglob("*.lock"))
    assert list((tmp_path / "models/.staging").iterdir()) == []
