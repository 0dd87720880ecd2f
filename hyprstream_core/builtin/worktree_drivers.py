"""Worktree drivers: how a large file of the store gets into a worktree.

    reflink    own file, shared blocks until written (btrfs, XFS)
    hardlink   the same file, read-only: tools replace it instead of writing into it
    copy       own file, own blocks; works everywhere

A write in one worktree must never show in another. Root may write to read-only files, so for root "auto"
takes copy rather than hardlink, which it can still be told to use.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from hyprstream_core.interfaces.storage import Materialiser

_FICLONE = 0x40049409
_FIEMAP = 0xC020660B
_FIEMAP_SYNC, _EXTENT_LAST, _EXTENT_SHARED = 1, 1, 0x2000
_HEADER, _EXTENT = struct.Struct("=QQLLLL"), struct.Struct("=QQQQQLLLL")
_EXTENTS = 128
_MAX_QUERIES = 100_000


class Reflink(Materialiser):
    """Shares blocks copy-on-write."""

    shares = True

    def probe(self, directory: Path) -> int:
        """Whether ``directory``'s file system can clone a file."""
        return 30 if _try(directory, self.materialise) else 0

    def materialise(self, blob: Path, target: Path) -> None:
        """See :meth:`Materialiser.materialise`."""
        with blob.open("rb") as source, target.open("xb") as file:
            try:
                fcntl.ioctl(file.fileno(), _FICLONE, source.fileno())
            except OSError:
                target.unlink()
                raise

    def saved_bytes(self, path: Path) -> int:
        """Bytes in extents that the file system marks as shared."""
        return shared_bytes(path)


class Hardlink(Materialiser):
    """The store's own read-only file under a second name."""

    shares = True

    def probe(self, directory: Path) -> int:
        """Best after reflink, but behind copy for those whom permissions do not stop from writing."""
        if not _try(directory, self.materialise):
            return 0
        return 20 if _read_only_is_respected(directory) else 5

    def materialise(self, blob: Path, target: Path) -> None:
        """See :meth:`Materialiser.materialise`."""
        try:
            os.link(blob, target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            shutil.copyfile(blob, target)

    def saved_bytes(self, path: Path) -> int:
        """The whole file, when it has other names."""
        stat = path.lstat()
        return stat.st_size if stat.st_nlink > 1 else 0


class Copy(Materialiser):
    """A file of its own."""

    def probe(self, directory: Path) -> int:  # noqa: ARG002 - it works in every directory
        """Always works."""
        return 10

    def materialise(self, blob: Path, target: Path) -> None:
        """See :meth:`Materialiser.materialise`."""
        with blob.open("rb") as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def saved_bytes(self, path: Path) -> int:  # noqa: ARG002 - true of every file
        """Nothing is shared."""
        return 0


def _try(directory: Path, materialise: Callable[[Path, Path], None]) -> bool:
    """Whether ``materialise`` works between two files in ``directory``."""
    blob, target = (directory / f".probe-{os.urandom(6).hex()}" for _ in range(2))
    try:
        blob.write_bytes(b"x" * 4096)
        materialise(blob, target)
        return target.read_bytes() == b"x" * 4096
    except OSError:
        return False
    finally:
        for path in (blob, target):
            path.unlink(missing_ok=True)


def _read_only_is_respected(directory: Path) -> bool:
    path = directory / f".probe-{os.urandom(6).hex()}"
    try:
        path.touch(0o444)
        path.open("r+b").close()
    except PermissionError:
        return True
    finally:
        path.unlink(missing_ok=True)
    return False


def shared_bytes(path: Path) -> int:
    """Bytes of ``path`` in shared extents (ioctl FS_IOC_FIEMAP); 0 where the file system cannot say."""
    shared = start = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for _ in range(_MAX_QUERIES):
            buffer = array.array("B", bytes(_HEADER.size + _EXTENT.size * _EXTENTS))
            _HEADER.pack_into(buffer, 0, start, max(size - start, 1), _FIEMAP_SYNC, 0, _EXTENTS, 0)
            try:
                fcntl.ioctl(file.fileno(), _FIEMAP, buffer)
            except OSError:
                return 0
            count = _HEADER.unpack_from(buffer)[3]
            for number in range(count):
                logical, _, length, _, _, flags, *_ = _EXTENT.unpack_from(buffer, _HEADER.size + number * _EXTENT.size)
                if flags & _EXTENT_SHARED:
                    shared += min(length, size - logical)
                start = logical + length
                if flags & _EXTENT_LAST:
                    return shared
            if count == 0 or start >= size:
                return shared
    return shared
