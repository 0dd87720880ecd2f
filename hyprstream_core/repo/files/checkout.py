"""Writing the files of a commit: plain blobs from git, large files from the object store.

The target is always a fresh private folder, and the tree was checked to hold neither links nor tricks, so that
no path can lead outside of it; files are created exclusively all the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hyprstream_core.errors import BadObject, InternalError, RemoteError
from hyprstream_core.interfaces.storage import Pointer, Progress
from hyprstream_core.repo.disk.durable import write_new
from hyprstream_core.repo.files.content import Source, fetch_content, find_pointers
from hyprstream_core.repo.git.gitdir import GitDir
from hyprstream_core.repo.git.index import IndexEntry
from hyprstream_core.repo.git.tree import EXECUTABLE, SUBMODULE, PlannedFile, plan
from hyprstream_core.repo.workspace import Workspace

Fill = Callable[[Path, Path], None]
"""``fill(blob, target)`` makes ``target`` hold what the read-only ``blob`` holds."""


def check_out(
    space: Workspace,
    git: GitDir,
    commit: str,
    target: Path,
    *,
    source: Source,
    fill: Fill,
    shares: bool,
    read_only: bool,
    progress: Progress,
) -> list[IndexEntry]:
    """Write the files of ``commit`` into the new folder ``target``, fetching what is missing; git's index of it.

    ``shares`` says whether what ``fill`` makes takes no space of its own.

    Raises:
        UnsafeTree, BadObject, RemoteError, DiskFull: see :meth:`hyprstream_core.repo.store.Store.clone`.
    """
    files = plan(git, git.tree_of(commit), space.limits)
    pointers = fetch_files(space, git, commit, files, source, shares=shares, progress=progress)
    target.mkdir()
    entries = []
    for number, file in enumerate(files, 1):
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.mode == SUBMODULE:
            path.mkdir()
        else:
            write_file(space, git, file, pointers.get(file.oid), path, fill, read_only=read_only)
        entries.append(IndexEntry.of(file.path, file.mode, file.oid, path.lstat()))
        progress("checkout", number, len(files))
    return entries


def fetch_files(
    space: Workspace,
    git: GitDir,
    commit: str,
    files: Sequence[PlannedFile],
    source: Source,
    *,
    shares: bool,
    progress: Progress,
) -> dict[str, Pointer]:
    """Get everything into the store that ``files`` of ``commit`` need; the pointers among their blobs by blob id.

    Raises:
        BadObject, RemoteError: see :meth:`hyprstream_core.repo.store.Store.clone`.
        DiskFull: there is not enough space for that and for the files themselves.
    """
    found = find_pointers(git, files, space.parts)
    pointers = {oid: pointer for oid, (_, pointer) in found.items()}
    paths = {pointers[f.oid].oid: f.path for f in reversed(files) if f.oid in pointers}
    with _path_named(paths):
        fetch_content(
            space,
            found,
            lambda: replace(source(), commit=commit, paths=paths),
            progress,
            besides=sum(_own_bytes(f, pointers, shares=shares) for f in files),
        )
    return pointers


def _own_bytes(file: PlannedFile, pointers: Mapping[str, Pointer], *, shares: bool) -> int:
    """What a file takes beside the object store."""
    if file.oid not in pointers:
        return file.size
    return 0 if shares and file.mode != EXECUTABLE else pointers[file.oid].size


def write_file(
    space: Workspace,
    git: GitDir,
    file: PlannedFile,
    pointer: Pointer | None,
    path: Path,
    fill: Fill,
    *,
    read_only: bool = False,
) -> None:
    """Create ``path`` with what ``file`` holds, or with the large object that ``pointer`` stands for."""
    if pointer is not None:
        _write_large(space, file, pointer, path, fill, read_only=read_only)
    else:
        write_new(path, git.read(file.oid, "blob")[1], _permissions(file, read_only=read_only))


@contextmanager
def _path_named(paths: Mapping[str, str]) -> Iterator[None]:
    """An error about a large object also names the file that it is for."""
    try:
        yield
    except (BadObject, RemoteError) as error:
        if (path := paths.get(str(error.details.get("oid")))) is None:
            raise
        raise type(error)(
            f"{path!r}: {error.message}",
            remedy=error.remedy,
            code=error.error_code,
            param=error.param,
            **{**error.details, "path": path},
        ) from error


def _write_large(
    space: Workspace, file: PlannedFile, pointer: Pointer, path: Path, fill: Fill, *, read_only: bool
) -> None:
    blob = space.layout.content(pointer.oid)
    (copy if file.mode == EXECUTABLE else fill)(blob, path)
    stat = path.lstat()
    if stat.st_size != pointer.size:
        raise InternalError(f"filling {file.path!r} gave {stat.st_size:,} bytes, expected {pointer.size:,}")
    if stat.st_nlink == 1:
        original = blob.stat()
        path.chmod(_permissions(file, read_only=read_only))
        os.utime(path, ns=(original.st_atime_ns, original.st_mtime_ns))


def _permissions(file: PlannedFile, *, read_only: bool) -> int:
    mode = 0o755 if file.mode == EXECUTABLE else 0o644
    return mode & 0o555 if read_only else mode


def link_or_copy(blob: Path, target: Path) -> None:
    """Share the blob's storage where the file system can, for files that are only read."""
    try:
        os.link(blob, target, follow_symlinks=False)
    except OSError:
        copy(blob, target)


def copy(blob: Path, target: Path) -> None:
    """A copy of its own (which btrfs and XFS store once all the same)."""
    with blob.open("rb") as source, target.open("xb") as file:
        size = os.fstat(source.fileno()).st_size
        try:
            while (done := file.tell()) < size:
                count = os.copy_file_range(source.fileno(), file.fileno(), size - done, done, done)
                if count == 0:
                    break
                file.seek(done + count)
        except OSError:
            source.seek(0)
            file.seek(0)
            shutil.copyfileobj(source, file, 1 << 20)
