"""Commits and their descent: in git's default order, which comes from which, how far two have come apart.

A commit is read when it is reached, so that the newest few of a long history are there at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from hyprstream_core.repo.git.commits import CommitText, committer_time, read_commit
from hyprstream_core.repo.git.gitdir import GitDir, parents_of
from hyprstream_core.repo.git.shallow import read_shallow

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
    """The commits of an open repository: what they say, and which descend from which. Each is looked up once.

    It ends at the commits in ``shallow``, whose parents are not there (None: those that the repository says).
    """

    def __init__(self, git: GitDir, shallow: Collection[str] | None = None) -> None:
        self._git = git
        self._shallow = read_shallow(git.path) if shallow is None else frozenset(shallow)
        self._known: dict[str, tuple[int, tuple[str, ...]]] = {}

    def read(self, oid: str) -> CommitText:
        """A commit, less the parents that are not there.

        Raises:
            BadObject: it is missing or damaged.
        """
        data = self._git.read(oid, "commit")[1]
        return replace(read_commit(oid, data), parents=self._note(oid, data)[1])

    def time(self, oid: str) -> int:
        """When a commit was made, in Unix seconds; 0 when it does not say so properly."""
        return self._node(oid)[0]

    def parents(self, oid: str) -> tuple[str, ...]:
        """Ids of the parents that are there.

        Raises:
            BadObject: the commit is missing or damaged.
        """
        return self._node(oid)[1]

    def _node(self, oid: str) -> tuple[int, tuple[str, ...]]:
        """Time and parents of a commit."""
        return self._known.get(oid) or self._note(oid, self._git.read(oid, "commit")[1])

    def _note(self, oid: str, data: bytes) -> tuple[int, tuple[str, ...]]:
        parents = () if oid in self._shallow else parents_of(data, oid)
        self._known[oid] = committer_time(data), parents
        return self._known[oid]

    def reach(self, tips: Iterable[str]) -> Iterator[str]:
        """Every commit that ``tips`` reach, tips included; the latest that are known of come first.

        Raises:
            BadObject: a commit is missing or damaged.
        """
        seen = set(tips)
        queue = [(-self.time(oid), oid) for oid in seen]
        heapq.heapify(queue)
        while queue:
            oid = heapq.heappop(queue)[1]
            yield oid
            for parent in self.parents(oid):
                if parent not in seen:
                    seen.add(parent)
                    heapq.heappush(queue, (-self.time(parent), parent))

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether ``new`` is ``old`` or descends from it; exact, whatever the clocks of the committers said.

        Raises:
            BadObject: a commit is missing or damaged.
        """
        return old == new or any(oid == old for oid in self.reach([new]))

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
        """How many commits ``left`` has that none of ``right`` has, and the other way round. Reads only what it takes
        to know; too many are counted where a clock was wrong by more than a day, never too few.

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
                heapq.heappush(queue, (-self.time(oid), oid))
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
            for parent in self.parents(oid):
                mark(parent, sides[oid])
        left_only, right_only = (sum(side == only for side in sides.values()) for only in (_LEFT, _RIGHT))
        return left_only, right_only


def decorations(git: GitDir, refs: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Commit → the full names of the branches and tags at it."""
    found: dict[str, list[str]] = {}
    for name, oid in sorted(refs.items()):
        if name.startswith(("refs/heads/", "refs/remotes/", "refs/tags/")):
            found.setdefault(git.peel(oid)[1] if name.startswith("refs/tags/") else oid, []).append(name)
    return {oid: tuple(names) for oid, names in found.items()}
