"""Large objects by sha256, read-only, in git-lfs's own layout; and loose git objects.

SECURITY: nothing is visible under an object's name before its length and digest were checked here, in core;
a filter only delivers bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hyprstream_core.errors import BadObject
from hyprstream_core.interfaces.storage import ContentSink, Pointer
from hyprstream_core.repo.durable import disk_errors_named, make_folders, sync, write_new
from hyprstream_core.repo.layout import Layout

if TYPE_CHECKING:
    from dulwich.objects import ShaFile

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})
_AGE = 10
"""Seconds by which objects are made to look older, so that git never takes a file for racily changed."""


def has_content(layout: Layout, pointer: Pointer) -> bool:
    """Whether the object is in the store, where nobody can write to it.

    Raises:
        BadObject: it is, and has another size than ``pointer`` says, or other content than its name.
    """
    path = layout.content(pointer.oid)
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    if stat.st_size != pointer.size:
        raise bad_content(pointer, f"the pointer says {pointer.size:,} bytes, the object has {stat.st_size:,}")
    if stat.st_mode & 0o222:
        _adopt(path, pointer)
    return True


def _adopt(path: Path, pointer: Pointer) -> None:
    """Make an object ours that stock git-lfs has put into the store: it leaves them writable."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != pointer.oid:
        raise BadObject(
            f"large file {pointer.oid} in the store was changed: its content hashes to {found}",
            code="lfs.bad_object",
            remedy=f"delete {path} and run it again",
            oid=pointer.oid,
        )
    path.chmod(0o444)


def bad_content(pointer: Pointer, why: str) -> BadObject:
    """The error for content that is not what its pointer promises."""
    return BadObject(
        f"large file {pointer.oid}: {why}",
        code="lfs.bad_object",
        remedy="the remote is broken or lies; nothing of it was kept",
        oid=pointer.oid,
    )


class FileSink(ContentSink):
    """Writes one object into ``scratch`` and, when it is right, links it into the store."""

    def __init__(self, layout: Layout, pointer: Pointer, scratch: Path, progress: Callable[[int], None]) -> None:
        self._pointer = pointer
        self._target = layout.content(pointer.oid)
        self._temporary = scratch / f"{pointer.oid}-{os.urandom(4).hex()}"
        self._progress = progress
        self._digest = hashlib.sha256()
        self._done = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> FileSink:
        self._file = self._temporary.open("xb")
        return self

    def write(self, chunk: bytes) -> None:
        """Append ``chunk``; see :meth:`ContentSink.write`."""
        if self._file is None:
            raise ValueError("write outside of the with block")
        self._done += len(chunk)
        if self._done > self._pointer.size:
            raise bad_content(self._pointer, f"the remote sends more than the announced {self._pointer.size:,} bytes")
        with disk_errors_named(self._temporary.parent):
            self._file.write(chunk)
        self._digest.update(chunk)
        self._progress(len(chunk))

    def __exit__(self, *exc: object) -> None:
        if self._file is None:
            return
        try:
            with self._file as file, disk_errors_named(self._temporary.parent):
                if exc[0] is None:
                    self._verify()
                    file.flush()
                    os.fchmod(file.fileno(), 0o444)
                    past = time.time() - _AGE
                    os.utime(file.fileno(), (past, past))
                    os.fsync(file.fileno())
            if exc[0] is None:
                publish(self._temporary, self._target)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _verify(self) -> None:
        if self._done != self._pointer.size:
            raise bad_content(self._pointer, f"got {self._done:,} bytes, expected {self._pointer.size:,}")
        if self._digest.hexdigest() != self._pointer.oid:
            raise bad_content(self._pointer, f"its content hashes to {self._digest.hexdigest()}")


def publish(temporary: Path, target: Path) -> None:
    """Give a finished file its name; when another process was faster, its file stays."""
    make_folders(target.parent)
    try:
        os.link(temporary, target, follow_symlinks=False)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        temporary.rename(target)
    sync(target.parent)


def write_loose(objects: Path, item: ShaFile, scratch: Path) -> str:
    """Add a git object to a repository's ``objects`` folder, synced; its id. Leaves no lock file when killed."""
    oid = item.id.decode("ascii")
    temporary = scratch / f"object-{os.urandom(8).hex()}"
    write_new(temporary, item.as_legacy_object(), 0o444)
    publish(temporary, objects / oid[:2] / oid[2:])
    temporary.unlink(missing_ok=True)
    return oid
