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
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from hyprstream_core.errors import BadObject
from hyprstream_core.interfaces.storage import ContentSink, Pointer
from hyprstream_core.repo.disk.durable import disk_errors_named, make_folders, sync, write_new
from hyprstream_core.repo.files.incomplete import open_part
from hyprstream_core.repo.layout import Layout

if TYPE_CHECKING:
    from dulwich.objects import ShaFile

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})
_CHUNK = 1 << 20
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


def bad_content(pointer: Pointer, why: str, *, resumed: bool = False) -> BadObject:
    """The error for content that is not what its pointer promises; ``resumed`` when a part is from an earlier run."""
    remedy = "the remote is broken or lies; nothing of it was kept"
    if resumed:
        remedy = "a part of it was from an earlier run and is deleted now: run it again to fetch all of it"
    return BadObject(f"large file {pointer.oid}: {why}", code="lfs.bad_object", remedy=remedy, oid=pointer.oid)


class FileSink(ContentSink):
    """Writes one object, or the rest of it, into its incomplete file; when it is right, links it into the store."""

    def __init__(self, layout: Layout, pointer: Pointer, progress: Callable[[str, int], None]) -> None:
        """``progress(phase, bytes)``: how much of the object is there ("content"), or was read again ("resume")."""
        self._layout = layout
        self._pointer = pointer
        self._part = layout.incomplete / pointer.oid
        self._progress = progress
        self._digest = hashlib.sha256()
        self._done = 0
        self._resumed = self._is_wrong = self._is_there = False
        self._file: FileIO | None = None

    @property
    def offset(self) -> int:
        """See :attr:`ContentSink.offset`."""
        return self._done

    def __enter__(self) -> FileSink:
        with disk_errors_named(self._part.parent):
            self._file = open_part(self._part, lambda size: self._progress("content", min(size, self._pointer.size)))
        try:
            if has_content(self._layout, self._pointer):  # somebody else was faster
                self._part.unlink()
                self._is_there, self._done = True, self._pointer.size
            else:
                self._take_up(self._file)
            self._progress("content", self._done)
        except BaseException:
            self._file.close()
            raise
        return self

    def _take_up(self, file: FileIO) -> None:
        """Read what an earlier run has left; what cannot be the beginning of the object is dropped."""
        size = os.fstat(file.fileno()).st_size
        while self._done < size <= self._pointer.size and (chunk := file.read(_CHUNK)):
            self._digest.update(chunk)
            self._done += len(chunk)
            self._progress("resume", self._done)
        self._resumed = self._done > 0
        if size > self._pointer.size or (self._done == self._pointer.size and not self._is_right()):
            self.restart()

    def restart(self) -> None:
        """See :meth:`ContentSink.restart`."""
        file = self._opened()
        file.seek(0)
        file.truncate()
        self._digest = hashlib.sha256()
        self._done, self._resumed = 0, False
        self._progress("content", 0)

    def write(self, chunk: bytes) -> None:
        """Append ``chunk``; see :meth:`ContentSink.write`."""
        file = self._opened()
        if self._done + len(chunk) > self._pointer.size:
            self._is_wrong = True
            raise bad_content(self._pointer, f"the remote sends more than the announced {self._pointer.size:,} bytes")
        with disk_errors_named(self._part.parent):
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
        self._digest.update(chunk)
        self._done += len(chunk)
        self._progress("content", self._done)

    def _opened(self) -> FileIO:
        if self._file is None or self._file.closed:
            raise ValueError("used outside of the with block")
        return self._file

    def __exit__(self, *exc: object) -> None:
        if self._is_there or self._file is None:
            if self._file is not None:
                self._file.close()
            return
        with self._file as file, disk_errors_named(self._part.parent):
            try:
                if exc[0] is None:
                    self._verify()
                    self._publish(file)
            finally:
                if self._is_wrong or self._done == 0:
                    self._part.unlink(missing_ok=True)

    def _publish(self, file: FileIO) -> None:
        os.fchmod(file.fileno(), 0o444)
        past = time.time() - _AGE
        os.utime(file.fileno(), (past, past))
        os.fsync(file.fileno())
        publish(self._part, self._layout.content(self._pointer.oid))
        self._part.unlink(missing_ok=True)

    def _is_right(self) -> bool:
        return self._digest.hexdigest() == self._pointer.oid

    def _verify(self) -> None:
        self._is_wrong = self._done != self._pointer.size or not self._is_right()
        if self._done != self._pointer.size:
            raise bad_content(self._pointer, f"got {self._done:,} bytes, expected {self._pointer.size:,}")
        if self._is_wrong:
            raise bad_content(self._pointer, f"its content hashes to {self._digest.hexdigest()}", resumed=self._resumed)


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
