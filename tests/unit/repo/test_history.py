"""Descent between commits, and what is offered to a remote."""

import random

import pytest

from hyprstream_core.repo.git.gitdir import open_git
from hyprstream_core.repo.git.haves import Haves
from hyprstream_core.repo.git.history import History
from hyprstream_core.repo.git.shallow import write_shallow


@pytest.fixture
def repo(make_repo):
    """A random history with merges, one branch per commit; times may run backwards."""
    repo = make_repo("history")
    tree = repo.tree(("100644", b"a", repo.blob()))
    commits = []
    for number in range(40):
        parents = random.sample(commits, min(len(commits), random.choice([0, 1, 1, 1, 2])))
        lines = [f"tree {tree}", *(f"parent {p}" for p in parents)]
        time = 1_000_000 + number * 60 + random.choice([0, 0, -80_000])
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
            counts = repo.run("rev-list", "--left-right", "--count", f"{one}...{other}").split()
            assert history.apart(one, [other]) == tuple(map(int, counts))
            assert history.is_ancestor(one, other) == (one in repo.run("rev-list", other).split())
            assert set(history.reach([one, other])) == set(repo.run("rev-list", one, other).split())


def test_a_cut_history_ends_where_it_is_cut(repo, tmp_path):
    tip = repo.commits[-1]
    with open_git(repo.git_dir) as git:
        assert list(History(git, [tip]).reach([tip])) == [tip]
        write_shallow(repo.git_dir, repo.commits[15:20], tmp_path)
        history = History(git)
        for one in random.sample(repo.commits, 10):
            listed = repo.run("rev-list", one).split()
            assert set(history.reach([one])) == {c.oid for c in history.walk(one)} == set(listed)
            ahead, behind = repo.run("rev-list", "--left-right", "--count", f"{one}...{tip}").split()
            assert history.apart(one, [tip]) == (int(ahead), int(behind))


def test_descent_is_exact_however_wrong_the_clocks_were(make_repo):
    repo = make_repo("clocks")
    tree, line = repo.tree(("100644", b"a", repo.blob())), []
    for number in range(30):
        time = random.randrange(2**31)
        lines = [f"tree {tree}", *(f"parent {p}" for p in line[-1:])]
        lines += [f"author a <a@b> {time} +0000", f"committer a <a@b> {time} +0000", "", f"{number}"]
        line.append(repo.raw("commit", "\n".join(lines).encode()))
    with open_git(repo.git_dir) as git:
        history = History(git)
        assert all(history.is_ancestor(line[n], line[29]) for n in range(30))
        assert not any(history.is_ancestor(line[29], line[n]) for n in range(29))


def test_parents_are_only_what_git_takes_for_them(repo):
    """A line in another place is none: who follows it would read what was never checked."""
    first, *_ = repo.commits
    text = [f"tree {repo.run('rev-parse', f'{first}^{{tree}}')}", f"parent {first}", "author a <a@b> 1 +0000"]
    text += ["committer a <a@b> 1 +0000", f"parent {'1' * 40}", "", "x"]
    odd = repo.raw("commit", "\n".join(text).encode())
    with open_git(repo.git_dir) as git:
        assert History(git).read(odd).parents == History(git).parents(odd) == (first,)
    assert repo.run("rev-list", "--parents", "-1", odd).split() == [odd, first]


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
