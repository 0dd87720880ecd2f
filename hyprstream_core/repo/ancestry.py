"""Which commits descend from which, as far as the repository knows."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.commits import committer_time
from hyprstream_core.repo.gitdir import GitDir

if TYPE_CHECKING:
    from dulwich.objects import ObjectID


class History:
    """The commits of one repository; each is read once. It ends at the commits in ``shallow``."""

    def __init__(self, git: GitDir, shallow: Collection[str] = ()) -> None:
        self._git = git
        self._shallow = frozenset(shallow)
        self._known: dict[str, tuple[int, list[str]]] = {}

    def time(self, commit: str) -> int:
        """When ``commit`` was made, in Unix seconds; 0 when it does not say so properly."""
        return self._commit(commit)[0]

    def parents(self, commit: str) -> list[str]:
        """Ids of the parents that are to be had.

        Raises:
            BadObject: the commit is missing or damaged.
        """
        return self._commit(commit)[1]

    def _commit(self, commit: str) -> tuple[int, list[str]]:
        if commit not in self._known:
            data = self._git.read(commit, "commit")[1]
            parents = [] if commit in self._shallow else self._git.parents_of(data, commit)
            self._known[commit] = (committer_time(data), parents)
        return self._known[commit]

    def reach(self, tips: Iterable[str], stop: Collection[str] = ()) -> Iterator[str]:
        """Every commit that ``tips`` reach, tips included, without ``stop`` and what is only behind it."""
        pending = list(dict.fromkeys(tips))
        seen = {*pending, *stop}
        pending = [oid for oid in pending if oid not in stop]
        while pending:
            commit = pending.pop()
            yield commit
            for parent in self.parents(commit):
                if parent not in seen:
                    seen.add(parent)
                    pending.append(parent)

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether ``new`` is ``old`` or descends from it."""
        return old == new or any(commit == old for commit in self.reach([new]))

    def only_in(self, one: str, *others: str) -> int:
        """How many commits ``one`` reaches that none of the ``others`` does."""
        behind = set(self.reach(others))
        return sum(1 for _ in self.reach([one], stop=behind))


class Haves:
    """What we have, newest first, in the way in which dulwich's negotiation asks for it (its ``GraphWalker``).

    ``shallow`` are the commits without parents here; clients of local repositories change it to what it is to be.
    """

    def __init__(self, history: History, tips: Iterable[str], shallow: Iterable[str]) -> None:
        self._history = history
        self.shallow = {oid.encode("ascii") for oid in shallow}
        self.unshallow: set[bytes] = set()
        self._queue: list[tuple[int, str]] = []
        self._seen: set[str] = set()
        self._common: set[str] = set()
        for tip in tips:
            self._push(tip)

    def _push(self, commit: str) -> None:
        if commit in self._seen:
            return
        self._seen.add(commit)
        try:
            heapq.heappush(self._queue, (-self._history.time(commit), commit))
        except BadObject:
            return  # a tag of something else, or damage, which is not to be offered

    def __next__(self) -> ObjectID | None:
        from dulwich.objects import ObjectID

        while any(commit not in self._common for _, commit in self._queue):
            commit = heapq.heappop(self._queue)[1]
            common = commit in self._common
            for parent in self._history.parents(commit):
                if common:
                    self._common.add(parent)
                self._push(parent)
            if not common:
                return ObjectID(commit.encode("ascii"))
        return None

    def ack(self, sha: bytes) -> None:
        """The remote has ``sha``, and so all that it reaches."""
        pending = [sha.decode("ascii", "replace")]
        while pending:
            commit = pending.pop()
            if commit in self._common:
                continue
            self._common.add(commit)
            if commit in self._seen:
                pending += [p for p in self._history.parents(commit) if p in self._seen]

    def nak(self) -> None:
        """The remote has nothing of what was said so far."""
