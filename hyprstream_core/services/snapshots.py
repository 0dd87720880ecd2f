"""Check-outs, shared: however many want the files of a commit, they are made once, by one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from hyprstream_core.repo.layout import view
from hyprstream_core.repo.records import Resolved
from hyprstream_core.services.threads import in_daemon_thread

AT_A_TIME = 4
"""Commits that are checked out at the same time; others wait for their turn, holding no thread."""
KNOWN = 4096
"""Folders remembered as made by this process, which need no second look."""

InPool = Callable[[Callable[[Resolved], Path], Resolved], Awaitable[Path]]


class Snapshots:
    """``make`` blocks: it checks a commit out, fetching large files over the network when they are missing.

    A commit that has been checked out before costs a look at the disk, in ``in_pool``'s threads. A caller that goes
    away leaves the check-out running, for the next one.
    """

    def __init__(self, make: Callable[[Resolved], Path], in_pool: InPool) -> None:
        self._make, self._in_pool = make, in_pool
        self._making: dict[Path, asyncio.Task[Path]] = {}
        self._known: set[Path] = set()
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def get(self, resolved: Resolved) -> Path:
        """The folder with the read-only files of ``resolved.commit``.

        Raises:
            HyprstreamError: what :meth:`hyprstream_core.repo.store.Store.snapshot` raises.
        """
        target = view(resolved.model.path, resolved.commit)
        if target not in self._making:
            if target.is_dir():
                return target if target in self._known else await self._in_pool(self._make, resolved)
            self._making[target] = task = asyncio.create_task(self._check_out(resolved))
            task.add_done_callback(lambda done: self._made(target, done))
        return await asyncio.shield(self._making[target])

    async def _check_out(self, resolved: Resolved) -> Path:
        async with self._turns:
            return await in_daemon_thread(f"check out {resolved.commit[:12]}", self._make, resolved)

    def _made(self, target: Path, task: asyncio.Task[Path]) -> None:
        self._making.pop(target, None)
        if task.cancelled() or task.exception() is not None:  # asked for, so that nobody is told of what nobody awaits
            return
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known.add(target)

    def close(self) -> None:
        """Begin no more; what has begun ends with the process."""
        for task in self._making.values():
            task.cancel()
