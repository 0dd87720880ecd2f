"""What a fetch says that it has already, so that the remote sends only what is missing."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.git.history import History

if TYPE_CHECKING:
    from dulwich.objects import ObjectID


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
