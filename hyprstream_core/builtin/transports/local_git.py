"""git between two repositories on one machine, without a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dulwich.client import FetchPackResult, LocalGitClient
from dulwich.object_store import GraphWalker

from hyprstream_core.repo.git.shallow import FULL_DEPTH


class LocalClient(LocalGitClient):
    """dulwich's client, which knows neither sources whose own history ends early nor how to fetch the rest of one.

    Which commits have no parents here, before and after, is in ``shallow`` of the walker.
    """

    def fetch_pack(  # type: ignore[override]  # of its options we use these
        self,
        path: str | bytes,
        determine_wants: Any,
        graph_walker: GraphWalker,
        pack_data: Callable[[bytes], int],
        progress: Callable[[bytes], None] | None = None,
        depth: int | None = None,
    ) -> FetchPackResult:
        """See dulwich's ``GitClient.fetch_pack``."""
        shallow: set[bytes] = getattr(graph_walker, "shallow", set())
        if depth is not None and depth >= FULL_DEPTH:
            graph_walker.unshallow = set(shallow)  # type: ignore[attr-defined]  # walkers may have it, says dulwich
            shallow.clear()
            depth = None
        with self._open_repo(path) as source:
            shallow |= source.get_shallow()
        return super().fetch_pack(path, determine_wants, graph_walker, pack_data, progress, depth)
