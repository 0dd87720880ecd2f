"""Walking commits: in git's default order, and how far two have come apart.

A commit is read when it is reached, so that the newest few of a long history are there at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hyprstream_core.repo.commits import CommitText, committer_time, read_commit
from hyprstream_core.repo.gitdir import GitDir, is_oid

_SHALLOW_BYTES = 2**22
_LEFT, _RIGHT = 1, 2
_BOTH = _LEFT | _RIGHT
_SKEW = 86400
"""Seconds that a committer's clock may be wrong by without confusing how far two commits are apart."""


@dataclass(frozen=True)
class LogEntry:
    """A commit of a history, with the full names of the references at it."""

    commit: CommitText
    refs: tuple[str, ...]


class History:
    """The commits of an open repository; each is read once."""

    def __init__(self, git: GitDir) -> None:
        self._git = git
        self._shallow = shallow_commits(git.path)
        self._known: dict[str, tuple[int, tuple[str, ...]]] = {}

    def read(self, oid: str) -> CommitText:
        """A commit, less the parents that a shallow clone leaves out.

        Raises:
            BadObject: it is missing or damaged.
        """
        commit = read_commit(oid, self._git.read(oid, "commit")[1])
        if oid not in self._shallow:
            return commit
        return CommitText(oid, (), commit.author, commit.committer, commit.subject)

    def walk(self, start: str) -> Iterator[CommitText]:
        """``start`` and all its ancestors, the latest first, as ``git log`` orders them: by the committer's clock
        among those that a child has led to, and those of one time in the order in which they were reached.

        Raises:
            BadObject: a commit is missing or damaged.
        """
        queue: list[tuple[int, int, CommitText]] = []
        seen: set[str] = set()

        def reach(oid: str) -> None:
            if oid not in seen:
                seen.add(oid)
                commit = self.read(oid)
                heapq.heappush(queue, (-commit.committer.time, len(seen), commit))

        reach(start)
        while queue:
            commit = heapq.heappop(queue)[2]
            yield commit
            for parent in commit.parents:
                reach(parent)

    def apart(self, left: str, right: Iterable[str]) -> tuple[int, int]:
        """How many commits ``left`` has that none of ``right`` has, and the other way round.

        Raises:
            BadObject: a commit is missing or damaged.
        """
        tips = set(right)
        if tips == {left}:
            return 0, 0
        sides: dict[str, int] = {}
        queue: list[tuple[int, str]] = []
        undecided: set[str] = set()  # queued, and so far reached from one side alone

        def mark(oid: str, side: int) -> None:
            both = sides.get(oid, 0) | side
            if both != sides.get(oid):
                sides[oid] = both
                heapq.heappush(queue, (-self._node(oid)[0], oid))
                (undecided.add if both != _BOTH else undecided.discard)(oid)

        mark(left, _LEFT)
        for tip in tips:
            mark(tip, _RIGHT)
        earliest = -queue[0][0]
        while queue and (undecided or -queue[0][0] >= earliest - _SKEW):
            time, oid = heapq.heappop(queue)
            undecided.discard(oid)
            if sides[oid] != _BOTH:
                earliest = min(earliest, -time)
            for parent in self._node(oid)[1]:
                mark(parent, sides[oid])
        left_only, right_only = (sum(side == only for side in sides.values()) for only in (_LEFT, _RIGHT))
        return left_only, right_only

    def contains(self, commit: str, tip: str) -> bool:
        """Whether ``commit`` is ``tip`` or one of its ancestors."""
        return self.apart(commit, [tip])[0] == 0

    def _node(self, oid: str) -> tuple[int, tuple[str, ...]]:
        """Time and parents of a commit."""
        if oid not in self._known:
            data = self._git.read(oid, "commit")[1]
            parents = () if oid in self._shallow else tuple(self._git.parents_of(data, oid))
            self._known[oid] = committer_time(data), parents
        return self._known[oid]


def decorations(git: GitDir, refs: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Commit → the full names of the branches and tags at it."""
    found: dict[str, list[str]] = {}
    for name, oid in sorted(refs.items()):
        if name.startswith(("refs/heads/", "refs/remotes/", "refs/tags/")):
            found.setdefault(git.peel(oid)[1] if name.startswith("refs/tags/") else oid, []).append(name)
    return {oid: tuple(names) for oid, names in found.items()}


def shallow_commits(git_dir: Path) -> frozenset[str]:
    """The commits whose parents a shallow clone has left out (git's file ``shallow``)."""
    try:
        with (git_dir / "shallow").open("rb") as file:
            lines = file.read(_SHALLOW_BYTES).decode("ascii", "replace").split("\n")
    except FileNotFoundError:
        return frozenset()
    return frozenset(line for line in lines if is_oid(line))
