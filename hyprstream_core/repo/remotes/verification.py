"""What came from a remote, checked as a whole: trees that may be written, and a history without holes."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping

from hyprstream_core.config import Limits
from hyprstream_core.errors import UnsafeTree
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo.git.gitdir import GitDir, parents_of
from hyprstream_core.repo.git.tree import FOLDER, SUBMODULE, TreeCheck, entries_of


def check_tips(git: GitDir, limits: Limits, heads: Mapping[str, str], tags: Mapping[str, str]) -> list[str]:
    """Check the trees of everything that becomes visible; the commits that must have a whole history.

    Raises:
        UnsafeTree: a tree breaks a rule, or a branch is no commit.
        BadObject: an object is missing or damaged.
    """
    check, tips = TreeCheck(git, limits), []
    for kind, refs in (("branch", heads), ("tag", tags)):
        for name, oid in refs.items():
            found, peeled = git.peel(oid)
            if found == "commit" and (kind == "tag" or peeled == oid):
                tips.append(peeled)
            elif kind == "branch":
                what = found if peeled == oid else "tag"
                raise UnsafeTree(f"the remote's branch {name!r} is a {what}, expected a commit")
            if found in ("commit", "tree"):
                check.check(git.tree_of(peeled) if found == "commit" else peeled)
    return tips


def require_history(
    git: GitDir, tips: Iterable[str], progress: Progress, *, whole: Container[str] = (), shallow: Collection[str] = ()
) -> frozenset[str]:
    """Every commit, tree and blob that the tips reach is there, up to the commits in ``whole``, of which that is
    known, and to those in ``shallow``, whose parents are not expected.

    Returns:
        The commits of ``shallow`` that the history does end at.

    Raises:
        BadObject: an object is missing, or is damaged.
    """
    commits, trees = [oid for oid in dict.fromkeys(tips) if oid not in whole], list[str]()
    seen = set(commits)
    ends = set()
    number = 0
    while commits or trees:
        number += 1
        progress("check", number, None)
        if commits:
            commit = commits.pop()
            data = git.read(commit, "commit")[1]
            trees += _new(seen, [git.tree_of(commit)])
            parents = parents_of(data, commit)
            if commit not in shallow:
                commits += [oid for oid in _new(seen, parents) if oid not in whole]
            elif parents:
                ends.add(commit)
            continue
        for mode, oid in entries_of(git.read(trees.pop(), "tree")[1]):
            if mode == FOLDER:
                trees += _new(seen, [oid])
            elif mode != SUBMODULE and oid not in git:
                git.read(oid)
    return frozenset(ends)


def _new(seen: set[str], oids: Iterable[str]) -> list[str]:
    fresh = [oid for oid in oids if oid not in seen]
    seen.update(fresh)
    return fresh
