"""Locks between processes: ``flock`` on a file that names its holder, so that a dead holder locks nothing."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyprstream_core.errors import Conflict

_POLL = 0.02


@contextmanager
def hold(path: Path, what: str, timeout: float, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock ``path`` inside the block; wait up to ``timeout`` seconds for it.

    Raises:
        Conflict: somebody else holds it; names the process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        _acquire(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, what, timeout)
        if not shared:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)  # releases the lock; the file stays, for removing it would race


def _acquire(fd: int, mode: int, what: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return fcntl.flock(fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise Conflict(
                    f"{what} is being changed by process {holder}; waited {timeout:g} s",
                    remedy="try again when it has finished",
                    holder=holder,
                ) from None
        time.sleep(_POLL)
