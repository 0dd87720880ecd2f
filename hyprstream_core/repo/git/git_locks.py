"""git's own lock files, for changes beside stock git.

Among ourselves the model's lock is enough. Stock git works in the same repository, though, when somebody commits
in a worktree by hand; it takes ``<file>.lock``, and so do we, for the moment of the change. Our lock files hold
:data:`MARK`: one that is found by whoever holds the model's lock is left from a process that died, and broken.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyprstream_core.errors import Conflict
from hyprstream_core.repo.disk.durable import make_folders, write_new

MARK = b"hyprstream\n"
"""What our lock files hold."""
_POLL = 0.02
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


@contextmanager
def locked(path: Path, scratch: Path, timeout: float) -> Iterator[None]:
    """Keep stock git from changing the file ``path`` inside the block; waits ``timeout`` seconds for it at most.
    ``scratch`` is a private folder on the same file system.

    Raises:
        Conflict: another program holds the lock for too long (code ``repo.locked``).
    """
    lock = _lock_of(path)
    deadline = time.monotonic() + timeout
    while not _try_lock(lock, scratch):
        if time.monotonic() >= deadline:
            raise Conflict(
                f"another program holds {lock} and has not finished in {timeout:g} s",
                code="repo.locked",
                remedy="try again; when no git runs in this model any more, delete that file",
            )
        time.sleep(_POLL)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _try_lock(lock: Path, scratch: Path) -> bool:
    marker = scratch / f"lock-{os.urandom(8).hex()}"
    marker.write_bytes(MARK)
    try:
        make_folders(lock.parent)
        os.link(marker, lock, follow_symlinks=False)
    except (FileExistsError, FileNotFoundError, NotADirectoryError):
        return False  # held; or git has this moment removed the folder, which was empty, or put a file there
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with suppress(FileExistsError):
            write_new(lock, MARK)
            return True
        return False
    finally:
        marker.unlink()
    return True


def break_stale_locks(git_dir: Path) -> None:
    """Delete the lock files of ours that dead processes left: nobody but us may have any now."""
    top = [git_dir / name for name in ("packed-refs", "HEAD", "config")]
    for lock in [*map(_lock_of, top), *_below(git_dir / "refs", ".lock")]:
        with suppress(FileNotFoundError):
            if _holds_mark(lock):
                lock.unlink()


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _holds_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK) + 1) == MARK


def _below(folder: Path, suffix: str) -> Iterator[Path]:
    for inner, _, names in os.walk(folder):
        yield from (Path(inner, name) for name in names if name.endswith(suffix))
