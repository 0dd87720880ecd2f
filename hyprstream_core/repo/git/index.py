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
from typing import TYPE_CHECKING

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.git.gitdir import is_oid

if TYPE_CHECKING:
    from dulwich.index import SerializedIndexEntry

_MASK = 0xFFFFFFFF
_ASSUME_VALID, _STAGE = 0x8000, 0x3000
_SKIP_WORKTREE, _INTENT_TO_ADD = 0x4000, 0x2000


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
    is_unmerged: bool = False
    """Whether a merge left several versions of the path; this is one of them."""
    is_skipped: bool = False
    """Whether git was told to take the file as unchanged, whatever is there (``--skip-worktree`` and its like)."""
    is_intended: bool = False
    """Whether the path is only to be added later (``git add --intent-to-add``)."""

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
    return {e.path: e for e in map(_entry, entries) if e is not None}


def _entry(raw: SerializedIndexEntry) -> IndexEntry | None:
    oid = raw.sha.decode("ascii", "replace")
    if not is_oid(oid):
        return None
    return IndexEntry(
        raw.name.decode("utf-8", "surrogateescape"), raw.mode, oid, raw.size, _ns(raw.mtime), _ns(raw.ctime),
        raw.dev, raw.ino, raw.uid, raw.gid,
        is_unmerged=bool(raw.flags & _STAGE),
        is_skipped=bool(raw.flags & _ASSUME_VALID or raw.extended_flags & _SKIP_WORKTREE),
        is_intended=bool(raw.extended_flags & _INTENT_TO_ADD),
    )  # fmt: skip


def _ns(time: int | float | tuple[int, int]) -> int:
    return time[0] * 1_000_000_000 + time[1] if isinstance(time, tuple) else int(time * 1_000_000_000)
