"""Writing so that a crash leaves the old or the new, never something between.

Order everywhere: content is synced, renamed into place, the folder synced; only then is it acknowledged.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyprstream_core.errors import DiskFull, StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers that mean: no space left."""


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(path: Path) -> None:
    """:func:`sync` everything in a folder, then the folder itself."""
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Create ``path``, which must not exist, with synced content."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def replace(path: Path, data: bytes, scratch: Path) -> None:
    """Give ``path`` new content in one step; ``scratch`` is a folder of ours on the same file system."""
    temporary = scratch / f"new-{os.urandom(8).hex()}"
    write_new(temporary, data)
    temporary.replace(path)
    sync(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, making the parent folders, and sync both ends."""
    make_folders(target.parent)
    source.rename(target)
    sync(target.parent)
    sync(source.parent)


def make_folders(path: Path) -> None:
    """``mkdir -p`` whose new folders are synced."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def make_private(path: Path) -> None:
    """Make the folder ``path`` for this user alone. One that exists stays as it is: it may be shared on purpose."""
    if not path.is_dir():
        make_folders(path.parent)
        with suppress(FileExistsError):  # by somebody else now, or a file: whoever writes below says so
            path.mkdir(mode=0o700)
        sync(path.parent)


def prune(folder: Path, top: Path) -> None:
    """Remove ``folder`` and those above it, as far as they are empty and below ``top``."""
    while folder != top and folder.is_relative_to(top):
        try:
            folder.rmdir()
        except OSError:
            return  # not empty, or not there
        folder = folder.parent


def remove_tree(path: Path) -> None:
    """Delete ``path`` and everything below; a missing one is fine. Follows no links."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            Path(folder, name).unlink(missing_ok=True)
        for name in folders:
            inner = Path(folder, name)
            inner.unlink(missing_ok=True) if inner.is_symlink() else inner.rmdir()
    path.rmdir()


@contextmanager
def disk_errors_named(path: Path) -> Iterator[None]:
    """Turn "no space left" and "not allowed" into errors that name the place and what to do.

    Raises:
        DiskFull: no space left.
        StoreError: not allowed, read-only, or no folder (code ``disk.denied``).
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise StoreError(
                f"cannot write in {path}: {error.strerror}",
                code="disk.denied",
                remedy="give this user the folder, or set models_dir (HYPRSTREAM_MODELS_DIR) to another one",
            ) from error
        if error.errno not in FULL:
            raise
        raise DiskFull(
            f"no space left in {path}", remedy="free some space (hyprstream remove NAME) and run it again"
        ) from error


def require_space(path: Path, needed: int) -> None:
    """Refuse before starting what cannot be finished.

    Raises:
        DiskFull: fewer than ``needed`` bytes are free in ``path``.
    """
    free = shutil.disk_usage(path).free
    if needed > free:
        raise DiskFull(
            f"{needed:,} bytes are needed in {path}, {free:,} are free",
            remedy="free some space (hyprstream remove NAME) and run it again",
            needed=needed,
            free=free,
        )
