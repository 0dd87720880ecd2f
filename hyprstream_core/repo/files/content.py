"""Which files of a commit stand for large content, and getting that content into the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from hyprstream_core.errors import BadObject, Cancelled, RemoteError
from hyprstream_core.interfaces.storage import ContentSink, Pointer, Progress, RemoteSource
from hyprstream_core.repo.disk import locks
from hyprstream_core.repo.disk.durable import make_folders, require_space, sync
from hyprstream_core.repo.files.incomplete import drop_abandoned, kept
from hyprstream_core.repo.files.large_objects import FileSink, bad_content, has_content
from hyprstream_core.repo.git.gitdir import GitDir, open_git
from hyprstream_core.repo.git.tree import SUBMODULE, PlannedFile
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.workspace import Workspace

Source = Callable[[], RemoteSource]
"""Says where content may be fetched from. Called only when something is missing: it may ask the remote."""

_INTERVAL = 0.05
"""Seconds between two reports of progress."""


def find_pointers(git: GitDir, files: Iterable[PlannedFile], parts: Parts) -> dict[str, tuple[str, Pointer]]:
    """Blob id → (filter, pointer), for every file that is a pointer.

    Raises:
        BadObject: a file starts like a pointer and is none, whatever its size (code ``lfs.bad_object``).
    """
    found: dict[str, tuple[str, Pointer]] = {}
    for oid in dict.fromkeys(f.oid for f in files if f.mode != SUBMODULE):
        if pointer := read_pointer(git, oid, parts):
            found[oid] = pointer
    return found


def read_pointer(git: GitDir, oid: str, parts: Parts) -> tuple[str, Pointer] | None:
    """The (filter, pointer) that blob ``oid`` is, or None.

    Raises:
        BadObject: the blob is damaged, or starts like a pointer and is none.
    """
    blob = git.read(oid, "blob")[1]
    match = parts.filter_for(blob)
    return (match[0], match[1].parse(blob)) if match else None


def fetch_content(
    space: Workspace, pointers: Mapping[str, tuple[str, Pointer]], source: Source, progress: Progress, *, besides: int
) -> None:
    """Get the content that is not in the store yet, verified; goes on where an earlier run was cut off.

    ``besides`` are the bytes that the caller is going to write beside it.

    Raises:
        BadObject: content does not match its pointer, or two pointers disagree.
        RemoteError: the remote failed, or lacks an object; says what is kept for the next run.
        DiskFull: there is not enough space for all of it; checked before anything is fetched.
    """
    incomplete = space.layout.incomplete
    drop_abandoned(incomplete)
    wanted = _missing(space, pointers)
    pending = {p.oid: p for batch in wanted.values() for p in batch}
    here = {p.oid: min(kept(incomplete, p.oid), p.size) for p in pending.values()}
    total = sum(p.size for p in pending.values())
    require_space(space.layout.root, total - sum(here.values()) + besides)
    if not wanted:
        return
    progress("fetch", len(pending), total)
    with closing(_Tally(progress, total, here)) as tally:

        def write(pointer: Pointer) -> ContentSink:
            if pending.get(pointer.oid) != pointer:
                raise BadObject(f"large file {pointer.oid} was not asked for", code="lfs.bad_object")
            return FileSink(space.layout, pointer, partial(tally.count, pointer.oid))

        origin = source()
        for name, batch in wanted.items():
            _note_filter(space, name)
            space.parts.filter(name).fetch(batch, origin, write)
    for pointer in pending.values():
        if not has_content(space.layout, pointer):
            raise RemoteError(
                f"the remote did not deliver large file {pointer.oid}", code="lfs.missing", oid=pointer.oid
            )


class _Tally:
    """Adds up what is there of each object, for whoever watches. Sinks of several threads report to it."""

    def __init__(self, progress: Progress, total: int, here: Mapping[str, int]) -> None:
        """``total`` bytes are to be there in the end, ``here``, by oid, are from earlier runs."""
        self._progress = progress
        self._totals = {"content": total, "resume": sum(here.values())}
        self._done: dict[str, dict[str, int]] = {"content": dict(here), "resume": {}}
        self._sums = {"content": sum(here.values()), "resume": 0}
        self._told = 0.0
        self._lock = threading.Lock()
        self._closed = False

    def count(self, oid: str, phase: str, done: int) -> None:
        """``done`` bytes of an object are there."""
        with self._lock:
            if self._closed:
                raise Cancelled("what was fetched is not wanted any more")
            self._sums[phase] += done - self._done[phase].get(oid, 0)
            self._done[phase][oid] = done
            now, total = time.monotonic(), self._totals[phase]
            if now - self._told >= _INTERVAL or self._sums[phase] >= total:
                self._told = now
                self._progress(phase, self._sums[phase], total)

    def close(self) -> None:
        """Nobody watches any more: a sink that a thread still fills is stopped."""
        with self._lock:
            self._closed = True


def _filters_ever(space: Workspace) -> frozenset[str]:
    """The filters by which content has ever come into this store: one empty file each."""
    return frozenset(unquote(path.name) for path in space.layout.filters.glob("*"))


def _note_filter(space: Workspace, name: str) -> None:
    note = space.layout.filters / quote(name, safe="")
    if not note.exists():
        make_folders(note.parent)
        note.touch()
        sync(note.parent)


def _missing(space: Workspace, pointers: Mapping[str, tuple[str, Pointer]]) -> dict[str, Sequence[Pointer]]:
    by_filter: dict[str, list[Pointer]] = {}
    known: dict[str, Pointer] = {}
    for name, pointer in pointers.values():
        if known.setdefault(pointer.oid, pointer) != pointer:
            raise bad_content(pointer, f"pointers disagree on its size: {pointer.size:,}, {known[pointer.oid].size:,}")
        if not has_content(space.layout, pointer) and pointer not in by_filter.setdefault(name, []):
            by_filter[name].append(pointer)
    return {name: batch for name, batch in by_filter.items() if batch}


def collect(space: Workspace, repositories: Callable[[], Iterable[Path]]) -> int:
    """Delete the content that no object of ``repositories()`` points at, and what was begun of it; the bytes freed.

    ``repositories`` is asked when nobody can publish another one. Does nothing while any command may be using
    content that it has not published yet, or while a filter is missing by which content has come here (nobody
    can tell its pointers from plain text then); a later call will.

    Raises:
        Conflict: content is in use.
        BadObject: a repository is damaged, so that nobody knows what it points at.
    """
    with locks.hold(space.layout.lock("content"), "the object store", 0):
        if not _filters_ever(space) <= space.parts.filter_names:
            return 0
        needed = needed_content(space, repositories())
        freed = 0
        for file in (space.layout.lfs / "objects").glob("??/??/*"):
            if file.name not in needed:
                freed += file.stat().st_size
                file.unlink()
                with suppress(OSError):  # others share the folders
                    file.parent.rmdir()
                    file.parent.parent.rmdir()
        return freed + drop_abandoned(space.layout.incomplete, needed)


def needed_content(space: Workspace, repositories: Iterable[Path]) -> set[str]:
    """The large objects that some object of ``repositories`` points at."""
    return {pointer.oid for path in repositories for pointer in _all_pointers(space, path)}


def _all_pointers(space: Workspace, path: Path) -> list[Pointer]:
    """Every pointer in a repository, reachable or not."""
    found = []
    with open_git(path) as git:
        for oid in git.small_blobs(space.limits.pointer_bytes):
            try:
                match = read_pointer(git, oid, space.parts)
            except BadObject:
                continue  # it never had content
            if match:
                found.append(match[1])
    return found
