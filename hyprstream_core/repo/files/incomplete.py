"""Large objects that have begun to arrive: one private file each, kept after a cut, an interrupt or a kill.

Whoever fetches an object holds the lock on its file, so that two processes never mix; the lock goes with its
holder. What is in such a file is believed only when the whole of it has the right sha256.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Collection
from io import FileIO
from pathlib import Path

MAX_AGE = 7 * 86400.0
"""Seconds after which nobody is expected to continue."""

UNNEEDED_AGE = 86400.0
"""The same for objects that no model points at: a clone that was interrupted may still be repeated."""

_POLL = 0.1


def open_part(path: Path, waiting: Callable[[int], None]) -> FileIO:
    """Open or begin the file ``path``, unbuffered, locked until it is closed.

    While another process has it, ``waiting(bytes there)`` is called a few times a second.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        file = _open(path)
        try:
            while not _try_lock(file):
                waiting(os.fstat(file.fileno()).st_size)
                time.sleep(_POLL)
            if _is_part(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _open(path: Path) -> FileIO:
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return FileIO(os.open(path, os.O_RDWR | flags, 0o600), "r+")
    except PermissionError:  # finished, see below; or somebody else's, which the next line says
        return FileIO(os.open(path, os.O_RDONLY | flags, 0o600), "r")


def _try_lock(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_part(file: FileIO, path: Path) -> bool:
    """Whether the locked ``file`` is still called ``path`` and may be written; else the caller tries again.

    A process that was killed while it published leaves the object itself here, read-only, perhaps with two names:
    SECURITY: that must not be written to.
    """
    stat = os.fstat(file.fileno())
    try:
        if not os.path.samestat(stat, path.lstat()):
            return False
    except FileNotFoundError:
        return False
    if stat.st_nlink > 1:
        path.unlink()
        return False
    if not stat.st_mode & 0o200:
        os.fchmod(file.fileno(), 0o600)
        return False
    return True


def kept(folder: Path, oid: str) -> int:
    """Bytes of an object that are there."""
    try:
        return (folder / oid).lstat().st_size
    except FileNotFoundError:
        return 0


def drop_abandoned(folder: Path, needed: Collection[str] | None = None) -> int:
    """Delete the files that nobody has written to for a long time and nobody fetches; the bytes freed.

    ``needed`` are the objects that models point at; None when that is not known.
    """
    freed, now = 0, time.time()
    for path in folder.iterdir() if folder.is_dir() else ():
        age = UNNEEDED_AGE if needed is not None and path.name not in needed else MAX_AGE
        try:
            if path.is_file() and now - path.lstat().st_mtime > age:
                freed += _drop(path)
        except FileNotFoundError:
            continue
    return freed


def _drop(path: Path) -> int:
    with FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "r") as file:
        stat = os.fstat(file.fileno())
        if not _try_lock(file) or not os.path.samestat(stat, path.lstat()):
            return 0
        path.unlink()
        return stat.st_size if stat.st_nlink == 1 else 0
