"""git's index file, version 2 (``gitformat-index(5)``).

Written here, because dulwich writes neither paths of 4095 bytes and more nor files of 4 GiB and more; read by dulwich.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.gitdir import is_oid

_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class IndexEntry:
    """A path that git tracks: what it holds, and the state of the file in which that was last seen."""

    path: str
    mode: int
    oid: str
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    dev: int = 0
    ino: int = 0
    uid: int = 0
    gid: int = 0

    @classmethod
    def of(cls, path: str, mode: int, oid: str, stat: os.stat_result) -> IndexEntry:
        """The entry for a file as it is now."""
        return cls(
            path, mode, oid, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns,
            stat.st_dev, stat.st_ino, stat.st_uid, stat.st_gid,
        )  # fmt: skip

    def matches(self, stat: os.stat_result) -> bool:
        """Whether a file of this state is surely unchanged."""
        return self.size & _MASK == stat.st_size & _MASK and self.mtime_ns == stat.st_mtime_ns


def dump(entries: Iterable[IndexEntry]) -> bytes:
    """An index file with ``entries``."""
    ordered = sorted(entries, key=lambda e: e.path.encode())
    parts = [struct.pack(">4sLL", b"DIRC", 2, len(ordered))]
    for e in ordered:
        name = e.path.encode()
        fixed = struct.pack(
            ">10L20sH",
            *_time(e.ctime_ns), *_time(e.mtime_ns), e.dev & _MASK, e.ino & _MASK, e.mode,
            e.uid & _MASK, e.gid & _MASK, e.size & _MASK, bytes.fromhex(e.oid), min(len(name), 0xFFF),
        )  # fmt: skip
        parts.append(fixed + name + b"\0" * (8 - (len(fixed) + len(name)) % 8))
    body = b"".join(parts)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _time(ns: int) -> tuple[int, int]:
    seconds, rest = divmod(ns, 1_000_000_000)
    return seconds & _MASK, rest


def load(path: Path, maximum: int) -> dict[str, IndexEntry]:
    """The entries of the index file ``path`` by their paths; a missing file has none.

    Raises:
        BadObject: it is malformed, or larger than ``maximum`` bytes.
    """
    from dulwich.index import UnsupportedIndexFormat, read_index

    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > maximum:
                raise BadObject(f"the index {path.name} has more than {maximum:,} bytes")
            entries = list(read_index(file))
    except FileNotFoundError:
        return {}
    except (ValueError, struct.error, AssertionError, UnsupportedIndexFormat) as error:
        raise BadObject(
            f"the index of a worktree is damaged: {error}", remedy="git read-tree HEAD rebuilds it"
        ) from error
    found = {}
    for e in entries:
        oid = e.sha.decode("ascii", "replace")
        if is_oid(oid):
            found[e.name.decode("utf-8", "surrogateescape")] = IndexEntry(
                e.name.decode("utf-8", "surrogateescape"),
                e.mode,
                oid,
                e.size,
                _ns(e.mtime),
                _ns(e.ctime),
                e.dev,
                e.ino,
                e.uid,
                e.gid,
            )
    return found


def _ns(time: int | float | tuple[int, int]) -> int:
    return time[0] * 1_000_000_000 + time[1] if isinstance(time, tuple) else int(time * 1_000_000_000)
