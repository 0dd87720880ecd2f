"""Writing the files of a commit: plain blobs from git, large files from the object store.

The target is always a fresh private folder, and the tree was checked to hold neither links nor tricks, so that
no path can lead outside of it; files are created exclusively all the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hyprstream_core.errors import BadObject, InternalError, RemoteError
from hyprstream_core.interfaces.storage import Pointer, Progress
from hyprstream_core.repo.content import Source, fetch_content, find_pointers
from hyprstream_core.repo.durable import require_space, write_new
from hyprstream_core.repo.gitdir import GitDir
from hyprstream_core.repo.index import IndexEntry
from hyprstream_core.repo.tree import EXECUTABLE, SUBMODULE, PlannedFile, plan
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
    scratch: Path,
    fill: Fill,
    read_only: bool,
    progress: Progress,
) -> list[IndexEntry]:
    """Write the files of ``commit`` into the new folder ``target``, fetching what is missing; git's index of it.

    Raises:
        UnsafeTree, BadObject, RemoteError, DiskFull: see :meth:`hyprstream_core.repo.store.Store.clone`.
    """
    files = plan(git, git.tree_of(commit), space.limits)
    pointers = fetch_files(space, git, files, source, scratch, progress)
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
    space: Workspace, git: GitDir, files: list[PlannedFile], source: Source, scratch: Path, progress: Progress
) -> dict[str, Pointer]:
    """Get everything into the store that ``files`` need; the pointers among their blobs by blob id.

    Raises:
        BadObject, RemoteError, DiskFull: see :meth:`hyprstream_core.repo.store.Store.clone`.
    """
    pointers = find_pointers(git, files, space.parts)
    with _path_named(files, pointers):
        fetch_content(space, pointers, source, scratch, progress)
    require_space(scratch, sum(f.size for f in files if f.oid not in pointers))
    return {oid: pointer for oid, (_, pointer) in pointers.items()}


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
def _path_named(files: list[PlannedFile], pointers: Mapping[str, tuple[str, Pointer]]) -> Iterator[None]:
    """An error about a large object also names the file that it is for."""
    try:
        yield
    except (BadObject, RemoteError) as error:
        paths = (f.path for f in files if f.oid in pointers and pointers[f.oid][1].oid == error.details.get("oid"))
        if (path := next(paths, None)) is None:
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
