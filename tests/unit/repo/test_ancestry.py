"""Descent between commits, and what is offered to a remote."""

import random

import pytest

from hyprstream_core.repo.ancestry import Haves, History
from hyprstream_core.repo.gitdir import open_git


@pytest.fixture
def repo(make_repo):
    """A random history with merges, one branch per commit; times may run backwards."""
    repo = make_repo("history")
    tree = repo.tree(("100644", b"a", repo.blob()))
    commits = []
    for number in range(40):
        parents = random.sample(commits, min(len(commits), random.choice([0, 1, 1, 1, 2])))
        lines = [f"tree {tree}", *(f"parent {p}" for p in parents)]
        time = 1_000_000 + number * 60 + random.choice([0, 0, -100_000])
        lines += [f"author a <a@b> {time} +0000", f"committer a <a@b> {time} +0000", "", f"{number}"]
        commits.append(repo.raw("commit", "\n".join(lines).encode()))
        repo.run("update-ref", f"refs/heads/c{number}", commits[-1])
    repo.commits = commits
    return repo


def test_descent_and_counts_are_gits(repo):
    with open_git(repo.git_dir) as git:
        history = History(git)
        for _ in range(40):
            one, other = random.sample(repo.commits, 2)
            assert history.only_in(one, other) == int(repo.run("rev-list", "--count", one, f"^{other}"))
            assert history.is_ancestor(one, other) == (one in repo.run("rev-list", other).split())
            assert set(history.reach([one, other])) == set(repo.run("rev-list", one, other).split())


def test_a_cut_history_ends_where_it_is_cut(repo):
    tip = repo.commits[-1]
    with open_git(repo.git_dir) as git:
        assert list(History(git, [tip]).reach([tip])) == [tip]


def test_everything_is_offered_once_newest_first_until_it_is_known(repo):
    with open_git(repo.git_dir) as git:
        haves = Haves(History(git), repo.commits, ())
        offered = []
        while (oid := next(haves)) is not None:
            offered.append(oid.decode())
        assert sorted(offered) == sorted(repo.commits)
        times = [int(repo.run("show", "-s", "--format=%ct", oid)) for oid in offered]
        assert times == sorted(times, reverse=True)


def test_what_is_behind_a_known_commit_is_not_offered(repo):
    with open_git(repo.git_dir) as git:
        for known in random.sample(repo.commits, 5):
            haves = Haves(History(git), [repo.commits[-1], known], ())
            haves.ack(known.encode())
            offered = []
            while (oid := next(haves)) is not None:
                offered.append(oid.decode())
            reached = set(repo.run("rev-list", repo.commits[-1]).split())
            assert known not in offered
            assert set(offered) <= reached
            assert set(offered) >= reached - set(repo.run("rev-list", known).split())


def test_a_tip_that_is_missing_is_not_offered(repo):
    with open_git(repo.git_dir) as git:
        assert next(Haves(History(git), ["1" * 40, repo.run("rev-parse", "c0:a")], ())) is None
