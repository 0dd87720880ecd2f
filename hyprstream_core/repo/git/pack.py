"""A look at a git pack before anything believes it: sizes, counts and bounds, in one pass and little memory.

dulwich resolves deltas and computes ids afterwards; what it would inflate is bounded here first. The format
is described in git's ``gitformat-pack(5)``.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import BinaryIO

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, UnsafeTree

COMMIT, TREE, BLOB, TAG, OFS_DELTA, REF_DELTA = 1, 2, 3, 4, 6, 7
_CHUNK = 1 << 16


class _Reader:
    """Sequential reads of a pack with a position, ending before the trailer."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file, self._end, self._buffer, self._start = file, end, b"", 0

    @property
    def position(self) -> int:
        return self._start

    def available(self) -> bytes:
        """Some bytes, without taking them; none only at the end."""
        if not self._buffer:
            self._buffer = self._file.read(max(0, min(_CHUNK, self._end - self._start)))
        return self._buffer

    def skip(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self._start += count

    def byte(self) -> int:
        if not self.available():
            raise _damaged("it ends too early")
        value = self._buffer[0]
        self.skip(1)
        return value


def scan(file: BinaryIO, length: int, limits: Limits, id_bytes: int = 20) -> int:
    """Check a whole pack of ``length`` bytes; ``file`` is at its beginning. A delta may refer to an object that
    only the receiver has (a thin pack).

    Returns:
        The number of objects.

    Raises:
        UnsafeTree: too many objects, or one that is or would become too large (code ``repo.too_large``).
        BadObject: the pack is truncated or malformed.
    """
    _check_trailer(file, length, id_bytes)
    header = file.read(12)
    if header[:4] != b"PACK" or int.from_bytes(header[4:8], "big") not in (2, 3):
        raise _damaged(f"got header {header[:8]!r}, expected PACK version 2 or 3")
    count = int.from_bytes(header[8:], "big")
    if count > limits.repo_objects:
        raise _too_large(f"the pack has {count:,} objects, at most {limits.repo_objects:,} are allowed")
    reader = _Reader(file, length - 12 - id_bytes)
    inflated = 0
    for _ in range(count):
        inflated += _scan_object(reader, limits.repo_blob_bytes, id_bytes)
        if inflated > limits.repo_inflated_bytes:
            raise _too_large(f"the pack's objects have more than {limits.repo_inflated_bytes:,} bytes in all")
    if reader.position != length - 12 - id_bytes:
        raise _damaged("there are bytes after the last object")
    return count


def _check_trailer(file: BinaryIO, length: int, id_bytes: int) -> None:
    """Compare the pack with the digest at its end (dulwich writes a new one instead)."""
    left = length - id_bytes
    if left < 12:
        raise _damaged("it ends too early")
    digest = hashlib.sha1(usedforsecurity=False)
    while left and (chunk := file.read(min(left, 1 << 20))):
        digest.update(chunk)
        left -= len(chunk)
    if file.read(id_bytes) != digest.digest():
        raise _damaged("its content does not match the digest at its end")
    file.seek(0)


def _scan_object(reader: _Reader, maximum: int, id_bytes: int) -> int:
    """Check one object; the bytes that it has when deltas are resolved, and those of the delta itself."""
    start = reader.position
    kind, size = _type_and_size(reader)
    _check_size(size, maximum)
    if kind == OFS_DELTA:
        if not 0 < _base_offset(reader) <= start:
            raise _damaged("a delta refers to a base outside the pack")
    elif kind == REF_DELTA:
        for _ in range(id_bytes):
            reader.byte()
    elif kind not in (COMMIT, TREE, BLOB, TAG):
        raise _damaged(f"got object type {kind}")
    head = _inflate(reader, size)
    if kind not in (OFS_DELTA, REF_DELTA):
        return size
    target = delta_target_size(head)
    _check_size(target, maximum)
    return size + target


def _type_and_size(reader: _Reader) -> tuple[int, int]:
    byte = reader.byte()
    kind, size, shift = (byte >> 4) & 7, byte & 15, 4
    while byte & 0x80:
        byte = reader.byte()
        size |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise _damaged("an object's size is malformed")
    return kind, size


def _base_offset(reader: _Reader) -> int:
    byte = reader.byte()
    offset = byte & 0x7F
    while byte & 0x80:
        byte = reader.byte()
        offset = ((offset + 1) << 7) | (byte & 0x7F)
        if offset > 1 << 62:
            raise _damaged("a delta's base offset is malformed")
    return offset


def _inflate(reader: _Reader, size: int) -> bytes:
    """Inflate one object of ``size`` bytes; its first 32 bytes."""
    stream, done, head = zlib.decompressobj(), 0, b""
    while not stream.eof:
        chunk = reader.available()
        try:
            out = stream.decompress(chunk, _CHUNK)
        except zlib.error as error:
            raise _damaged(f"zlib: {error}") from error
        if not (chunk or out):
            raise _damaged("it ends too early")
        reader.skip(len(chunk) - len(stream.unused_data or stream.unconsumed_tail))
        done += len(out)
        if len(head) < 32:
            head += out[: 32 - len(head)]
        if done > size:
            raise _damaged(f"an object is longer than the {size} bytes it announced")
    if done != size:
        raise _damaged(f"an object has {done} bytes, announced were {size}")
    return head


def delta_target_size(head: bytes) -> int:
    """Size of the object that a delta makes, from the delta's first bytes.

    Raises:
        BadObject: the delta's header is malformed.
    """
    sizes, position = [], 0
    for _ in range(2):
        size = shift = 0
        while True:
            if position >= len(head) or shift > 63:
                raise _damaged("a delta's header is malformed")
            byte = head[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        sizes.append(size)
    return sizes[1]


def object_size(file: BinaryIO, offset: int, id_bytes: int = 20) -> tuple[int, int]:
    """Type (of a delta: the delta's) and inflated size of the object at ``offset`` of a pack that was scanned."""
    file.seek(offset)
    reader = _Reader(file, 4096)
    kind, size = _type_and_size(reader)
    if kind not in (OFS_DELTA, REF_DELTA):
        return kind, size
    if kind == OFS_DELTA:
        _base_offset(reader)
    else:
        for _ in range(id_bytes):
            reader.byte()
    try:
        head = zlib.decompressobj().decompress(reader.available(), 32)
    except zlib.error as error:
        raise _damaged(f"zlib: {error}") from error
    return kind, delta_target_size(head)


def _check_size(size: int, maximum: int) -> None:
    if size > maximum:
        raise _too_large(
            f"a git object of {size:,} bytes, at most {maximum:,} are allowed; larger content belongs in LFS"
        )


def _too_large(what: str) -> UnsafeTree:
    return UnsafeTree(
        what, code="repo.too_large", remedy="raise the limit in the configuration if you trust the remote"
    )


def _damaged(what: str) -> BadObject:
    return BadObject(f"the git pack is damaged: {what}", remedy="try again; if it stays, the remote is broken")
