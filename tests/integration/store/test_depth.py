"""Histories that end early: by clone --depth, deepened and completed by fetch, and as stock git sees them."""

import subprocess

import pytest

from hyprstream_core.config import CloneSettings
from hyprstream_core.errors import RemoteError
from hyprstream_core.repo.git.shallow import FULL_DEPTH


def git(path, *args):
    done = subprocess.run(["git", *args], cwd=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {args}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def count(model, ref):
    return int(git(model.git_dir, "rev-list", "--count", ref))


def is_shallow(model):
    return git(model.git_dir, "rev-parse", "--is-shallow-repository") == "true"


@pytest.fixture
def long(make_repo):
    """Five commits on main, a branch from the second, a merge, and a tag on the third."""
    repo = make_repo("long")
    for n in range(5):
        repo.write("n", str(n))
        repo.write(f"folder/{n}", str(n))
        repo.commit(f"commit {n}")
    repo.run("tag", "-a", "v3", "-m", "three", "main~2")
    repo.run("checkout", "--quiet", "-b", "side", "main~3")
    repo.write("side", "x")
    repo.commit("side")
    repo.run("checkout", "--quiet", "main")
    repo.run("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    return repo


@pytest.fixture(params=["file", "http"])
def url(request, long, git_server):
    return str(long.path) if request.param == "file" else f"{git_server.url}/long/.git"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_all_tips_and_tags_come_and_each_history_ends_where_gits_does(store, long, url, depth, referee, tmp_path):
    model = store.clone(url, name="m", depth=depth)
    referee(store)
    assert is_shallow(model)
    theirs = tmp_path / "theirs.git"
    git(tmp_path, "clone", "-q", "--bare", f"--depth={depth}", "--no-single-branch", f"file://{long.path}", str(theirs))
    roots = set(long.run("rev-list", "--max-parents=0", "--all").split())  # git may name them too, which cuts nothing
    cuts = set((theirs / "shallow").read_text().split()) - roots
    assert (model.git_dir / "shallow").read_text().split() == sorted(cuts)
    assert store.resolve("m:v3").commit == long.head("v3")
    for name in ("main", "origin/main", "origin/side", "v3"):
        assert count(model, name) == int(git(theirs, "rev-list", "--count", name.removeprefix("origin/")))
    assert (model.path / "worktrees/main/n").read_text() == "4"
    assert store.add_worktree("m", "side").oid == long.head("side")
    referee(store)


def test_a_depth_beyond_the_history_is_the_whole_history(store, url, referee):
    model = store.clone(url, name="m", depth=50)
    assert not is_shallow(model)
    assert not (model.git_dir / "shallow").exists()
    referee(store)


def test_the_setting_is_the_depth_unless_another_is_asked_for(new_store, long):
    store = new_store(clone=CloneSettings(depth=1))
    assert count(store.clone(str(long.path), name="one"), "main") == 1
    assert count(store.clone(str(long.path), name="two", depth=2), "main^1") == 1
    assert not is_shallow(store.clone(str(long.path), name="full", depth=0))


def test_a_short_history_is_lengthened_and_completed(store, long, url, referee):
    model = store.clone(url, name="m", depth=1)
    assert store.fetch("m") == []
    assert count(model, "main") == 1
    store.fetch("m", depth=3)
    assert count(model, "main") > 3
    assert is_shallow(model)
    referee(store)
    store.fetch("m", depth=FULL_DEPTH)
    assert not is_shallow(model)
    assert count(model, "main") == int(long.run("rev-list", "--count", "main"))
    referee(store)
    assert store.fetch("m", depth=FULL_DEPTH) == []
    assert store.resolve(f"m:{long.head('main~4')}").commit == long.head("main~4")


def test_a_long_history_is_cut_when_asked(store, long, url, referee):
    model = store.clone(url, name="m")
    store.fetch("m", depth=1)
    assert is_shallow(model)
    assert count(model, "main") == 1
    referee(store)


def test_a_short_history_is_pulled_forward_and_grows(store, long, url, referee):
    model = store.clone(url, name="m", depth=1)
    for n in range(3):
        long.write("n", f"later {n}")
        long.commit()
    pulled = store.pull("m")
    assert pulled.new == long.head()
    assert (model.path / "worktrees/main/n").read_text() == "later 2"
    assert count(model, "main") == 4
    long.run("branch", "ancient", "main~7")
    store.fetch("m")
    assert git(model.git_dir, "rev-parse", "origin/ancient") == long.head("ancient")
    referee(store)


def test_a_cut_that_hides_how_branches_are_related_is_no_permission(store, long, url, referee):
    store.clone(url, name="m", depth=1)
    for n in range(3):
        long.write("n", f"later {n}")
        long.commit()
    [change] = [c for c in store.fetch("m", depth=1) if c.ref.endswith("/main")]
    assert change.forced
    with pytest.raises(RemoteError) as caught:
        store.pull("m")
    assert caught.value.error_code == "remote.rewound"
    store.fetch("m", depth=FULL_DEPTH)
    assert store.pull("m").new == long.head()
    referee(store)


def test_a_remote_that_is_itself_cut_is_taken_as_it_is(store, long, git_server, tmp_path, referee):
    git(tmp_path, "clone", "-q", "--bare", "--depth=2", "--no-single-branch", f"file://{long.path}", "cut.git")
    for name, url in (("file", str(tmp_path / "cut.git")), ("http", f"{git_server.url}/cut.git")):
        model = store.clone(url, name=name)
        assert is_shallow(model)
        assert count(model, "main") == int(git(tmp_path / "cut.git", "rev-list", "--count", "main"))
        assert store.fetch(name) == []
    referee(store)


def test_a_remote_that_cannot_cut_is_named_and_leaves_nothing(store, long, git_server, monkeypatch):
    from dulwich import client

    original = client.find_capability
    monkeypatch.setattr(
        client, "find_capability", lambda caps, key, value: None if value == b"shallow" else original(caps, key, value)
    )
    with pytest.raises(RemoteError) as caught:
        store.clone(f"{git_server.url}/long/.git", name="m", depth=1)
    assert caught.value.error_code == "remote.no_shallow"
    assert store.registered() == []


def test_after_a_shallow_clone_and_fetches_branches_log_and_status_count_as_stock_git_does(store, long, url, referee):
    """Histories that grow, branch off before the cut, and are rewound, with a commit made here on top."""
    model = store.clone(url, name="m", depth=2)
    folder = store.worktree_info("m", "main").path
    git(folder, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-q", "--allow-empty", "-m", "mine")
    for step in ("grow", "branch", "rewind", "deepen"):
        if step == "grow":
            long.write("n", "new")
            long.commit()
        elif step == "branch":
            long.run("checkout", "--quiet", "-b", "early", "main~5")
            long.write("early", "x")
            long.commit("early")
            long.run("checkout", "--quiet", "main")
        elif step == "rewind":
            long.run("reset", "--quiet", "--hard", "main~2")
        store.fetch("m", depth=4 if step == "deepen" else 0)
        if step == "branch":
            store.create_branch("m", "early", "origin/early")
        referee(store)
        for branch in store.branches("m"):
            pair = f"{branch.name}...{branch.upstream.ref}"
            theirs = git(model.git_dir, "rev-list", "--left-right", "--count", pair).split()
            assert [branch.upstream.ahead, branch.upstream.behind] == [int(n) for n in theirs], (step, branch.name)
        for ref in ("main", "origin/main", "v3"):
            listed = git(model.git_dir, "log", "--format=%H", ref).split()
            assert [entry.commit.oid for entry in store.log(f"m:{ref}")] == listed
        (shown,) = store.status("m")
        (main,) = (b for b in store.branches("m") if b.name == "main")
        assert shown.upstream == main.upstream
