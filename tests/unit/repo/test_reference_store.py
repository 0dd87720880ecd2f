"""References are made, moved and deleted as stock git would, beside stock git, and by several processes at once."""

import subprocess
import sys
import threading
import time

import pytest

from hyprstream_core.errors import Conflict
from hyprstream_core.repo.git.git_locks import MARK
from hyprstream_core.repo.git.gitdir import read_ref, read_refs
from hyprstream_core.repo.git.reference_store import References

X, MAIN = "refs/heads/x", "refs/heads/main"


@pytest.fixture
def repo(make_repo):
    made = make_repo("source")
    made.first, made.second = made.commit(), made.commit()
    return made


@pytest.fixture
def refs(repo, tmp_path):
    (tmp_path / "scratch").mkdir()
    return References(repo.git_dir, tmp_path / "scratch", 0.3)


def listed(repo):
    return dict(
        line.split()[::-1] for line in repo.run("for-each-ref", "--format=%(objectname) %(refname)").split("\n")
    )


def test_what_is_written_is_what_stock_git_reads(repo, refs):
    refs.create(X, repo.first)
    refs.create("refs/heads/a/b/c", repo.second)
    refs.update(X, repo.second, repo.first)
    assert listed(repo) == read_refs(repo.git_dir) == {
        MAIN: repo.second, X: repo.second, "refs/heads/a/b/c": repo.second
    }  # fmt: skip
    refs.delete("refs/heads/a/b/c", repo.second)
    assert not (repo.git_dir / "refs/heads/a").exists()
    assert (repo.git_dir / "refs/heads").is_dir()
    assert listed(repo) == read_refs(repo.git_dir) == {MAIN: repo.second, X: repo.second}
    assert not list(repo.git_dir.rglob("*.lock"))
    assert not list(refs.scratch.iterdir())


def test_a_packed_reference_is_seen_changed_and_deleted_for_good(repo, refs):
    repo.run("tag", "-am", "x", "v1", repo.first)
    repo.run("branch", "x", repo.first)
    repo.run("pack-refs", "--all")
    with pytest.raises(Conflict):
        refs.create(X, repo.second)
    refs.update(X, repo.second, repo.first)
    assert read_ref(repo.git_dir, X) == repo.second
    refs.delete(X, repo.second)
    assert X not in read_refs(repo.git_dir)
    assert X not in listed(repo)
    packed = (repo.git_dir / "packed-refs").read_text()
    assert packed.startswith("# pack-refs with:")
    assert f"^{repo.first}" in packed, "what the tag peels to is still there"
    assert repo.head("v1") == repo.first


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("there", "wanted"), [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("a", "a/b/c")])
def test_a_name_and_a_folder_of_that_name_exclude_each_other(repo, refs, there, wanted, packed):
    repo.run("branch", there, repo.first)
    if packed:
        repo.run("pack-refs", "--all")
    with pytest.raises(Conflict) as caught:
        refs.create(f"refs/heads/{wanted}", repo.first)
    assert (caught.value.error_code, caught.value.details["ref"]) == ("ref.exists", f"refs/heads/{there}")
    refs.delete(f"refs/heads/{there}", repo.first)
    refs.create(f"refs/heads/{wanted}", repo.first)
    assert repo.head(wanted) == repo.first


def test_a_folder_that_git_left_empty_is_no_obstacle(repo, refs):
    (repo.git_dir / "refs/heads/x/y/z").mkdir(parents=True)
    refs.create(X, repo.first)
    assert repo.head("x") == repo.first


def test_a_reference_that_moved_meanwhile_is_not_overwritten(repo, refs):
    for change in (lambda: refs.update(MAIN, repo.first, repo.first), lambda: refs.delete(MAIN, repo.first)):
        with pytest.raises(Conflict) as caught:
            change()
        assert caught.value.error_code == "ref.moved"
    assert repo.head() == repo.second
    with pytest.raises(Conflict):
        refs.delete("refs/heads/nothing", repo.first)


def test_a_lock_of_stock_git_is_waited_for_and_then_named(repo, refs):
    lock = repo.git_dir / "refs/heads/x.lock"
    lock.touch()
    with pytest.raises(Conflict) as caught:
        refs.create(X, repo.first)
    assert caught.value.error_code == "repo.locked"
    assert str(lock) in caught.value.message
    timer = threading.Timer(0.1, lock.unlink)
    timer.start()
    refs.create(X, repo.first)
    timer.join()
    assert repo.head("x") == repo.first


def test_stock_git_waits_for_ours(repo, refs):
    with refs.locked(repo.git_dir / X):
        done = subprocess.run(["git", "branch", "x"], cwd=repo.path, capture_output=True, text=True)
    assert "x.lock" in done.stderr


def test_a_lock_that_a_dead_process_of_ours_left_is_broken(repo, refs, tmp_path):
    for name in ("refs/heads/x.lock", "packed-refs.lock", "config.lock"):
        (repo.git_dir / name).write_bytes(MARK)
    git_lock = repo.git_dir / "refs/heads/y.lock"
    git_lock.touch()
    References(repo.git_dir, tmp_path / "scratch", 0.3).create(X, repo.first)
    assert list(repo.git_dir.rglob("*.lock")) == [git_lock]


def test_a_reference_that_stock_git_packs_again_and_again_is_never_missed(repo):
    repo.run("branch", "x", repo.first)
    stop = threading.Event()

    def pack():
        n = 0
        while not stop.is_set():
            n += 1
            repo.run("update-ref", X, (repo.first, repo.second)[n % 2])
            repo.run("pack-refs", "--all", "--prune")

    thread = threading.Thread(target=pack)
    thread.start()
    try:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            assert read_refs(repo.git_dir)[X] in (repo.first, repo.second)
    finally:
        stop.set()
        thread.join()


CREATE = """
import sys
from hyprstream_core.config import Settings
from hyprstream_core.plugins import Plugins, installed
from hyprstream_core.services.store import open_store
from pathlib import Path
store = open_store(Settings(models_dir=Path(sys.argv[1])), Plugins([c for c in installed() if c.name == "builtin"]))
for n in range(50):
    store.create_branch("m", f"{sys.argv[2]}/{n}")
    print(n, flush=True)
"""


def test_two_processes_make_fifty_branches_each_and_none_is_lost(store, repo, tmp_path, referee):
    model = store.clone(str(repo.path), name="m")
    command = [sys.executable, "-c", CREATE, str(tmp_path / "models")]
    racers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("a", "b")]
    while any(racer.poll() is None for racer in racers):
        subprocess.run(["git", "pack-refs", "--all"], cwd=model.git_dir, capture_output=True)
        time.sleep(0.05)
    assert [racer.communicate()[0].split()[-1] for racer in racers] == ["49", "49"]
    wanted = {f"{name}/{n}" for name in ("a", "b") for n in range(50)}
    assert wanted <= {branch.name for branch in store.branches("m")}
    assert wanted <= set(repo_branches(model.git_dir))
    referee(store)


def repo_branches(git_dir):
    listed = subprocess.check_output(["git", "branch", "--format=%(refname:short)"], cwd=git_dir, text=True)
    return listed.split()
