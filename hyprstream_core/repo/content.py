"""Which files of a commit stand for large content, and getting that content into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hyprstream_core.errors import BadObject, RemoteError
from hyprstream_core.interfaces.storage import ContentSink, Pointer, Progress, RemoteSource
from hyprstream_core.repo import locks
from hyprstream_core.repo.durable import require_space
from hyprstream_core.repo.gitdir import GitDir, open_git
from hyprstream_core.repo.large_objects import FileSink, bad_content, has_content
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.tree import SUBMODULE, PlannedFile
from hyprstream_core.repo.workspace import Workspace

Source = Callable[[], RemoteSource]
"""Says where content may be fetched from. Called only when something is missing: it may ask the remote."""


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
    space: Workspace, pointers: Mapping[str, tuple[str, Pointer]], source: Source, scratch: Path, progress: Progress
) -> None:
    """Get the content that is not in the store yet, verified.

    Raises:
        BadObject: content does not match its pointer, or two pointers disagree.
        RemoteError: the remote failed, or lacks an object.
        DiskFull: there is not enough space; checked before anything is fetched.
    """
    wanted = _missing(space, pointers)
    if not wanted:
        return
    pending = {p.oid: p for batch in wanted.values() for p in batch}
    total = sum(p.size for p in pending.values())
    require_space(space.layout.root, total)
    origin, done = source(), 0

    def count(chunk: int) -> None:
        nonlocal done
        done += chunk
        progress("content", done, total)

    def write(pointer: Pointer) -> ContentSink:
        if pending.get(pointer.oid) != pointer:
            raise BadObject(f"large file {pointer.oid} was not asked for", code="lfs.bad_object")
        return FileSink(space.layout, pointer, scratch, count)

    for name, batch in wanted.items():
        space.parts.filter(name).fetch(batch, origin, write)
    for pointer in pending.values():
        if not has_content(space.layout, pointer):
            raise RemoteError(
                f"the remote did not deliver large file {pointer.oid}", code="lfs.missing", oid=pointer.oid
            )


def _missing(space: Workspace, pointers: Mapping[str, tuple[str, Pointer]]) -> dict[str, Sequence[Pointer]]:
    by_filter: dict[str, list[Pointer]] = {}
    known: dict[str, Pointer] = {}
    for name, pointer in pointers.values():
        if known.setdefault(pointer.oid, pointer) != pointer:
            raise bad_content(pointer, f"pointers disagree on its size: {pointer.size:,}, {known[pointer.oid].size:,}")
        if not has_content(space.layout, pointer) and pointer not in by_filter.setdefault(name, []):
            by_filter[name].append(pointer)
    return {name: batch for name, batch in by_filter.items() if batch}


def collect(space: Workspace, repositories: Iterable[Path]) -> int:
    """Delete the content that no object of ``repositories`` points at; the bytes freed.

    Does nothing while any command may be using content that it has not published yet; the next call will.

    Raises:
        Conflict: content is in use.
    """
    with locks.hold(space.layout.lock("content"), "the object store", 0):
        needed = needed_content(space, repositories)
        freed = 0
        for file in (space.layout.lfs / "objects").glob("??/??/*"):
            if file.name not in needed:
                freed += file.stat().st_size
                file.unlink()
                with suppress(OSError):  # others share the folders
                    file.parent.rmdir()
                    file.parent.parent.rmdir()
        return freed


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
