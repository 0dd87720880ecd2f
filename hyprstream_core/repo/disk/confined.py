"""Changing files below one folder, whatever links others put into it meanwhile.

SECURITY: every component of a path is opened by itself and never through a symbolic link (``openat`` with
``O_NOFOLLOW``), and the last one is changed relative to its open parent. A link that a local user plants inside
a worktree, at whatever moment, can make an operation fail, but cannot lead it outside.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OBSTACLES = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Confined:
    """The folder ``top / inner``; ``top`` is trusted, no component of ``inner`` may be a link.

    Paths are relative, with ``/``, and hold no ``..``.
    """

    def __init__(self, top: Path, inner: str = "") -> None:
        """Raises OSError when there is no such folder."""
        self._fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in Path(inner).parts:
            outer = self._fd
            try:
                self._fd = os.open(name, _FLAGS, dir_fd=outer)
            finally:
                os.close(outer)
        self._touched: set[str] = set()

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._fd)

    def __enter__(self) -> Confined:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder of ``path``, and its last component."""
        parts = path.split("/")
        if not all(parts) or any(part in (".", "..") for part in parts):
            raise ValueError(f"{path!r} is no relative path")
        fd = os.dup(self._fd)
        try:
            for number, name in enumerate(parts[:-1]):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=fd)
                        self._touched.add("/".join(parts[:number]))
                inner = os.open(name, _FLAGS, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd, parts[-1]
        finally:
            os.close(fd)

    def lstat(self, path: str) -> os.stat_result | None:
        """The state of what is at ``path``; None when nothing is, or a parent is no folder (a link is none)."""
        with _Tolerated(_ABSENT), self._parent(path) as (fd, name):
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        return None

    def delete(self, path: str) -> None:
        """Delete a file; fine when there is none."""
        with _Tolerated(), self._parent(path) as (fd, name):
            os.unlink(name, dir_fd=fd)
            self._touch(path)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder, then its parents as long as they are empty."""
        while path:
            with _Tolerated(), self._parent(path) as (fd, name):
                os.rmdir(name, dir_fd=fd)
                self._touch(path)
                path = path.rpartition("/")[0]
                continue
            return

    def make_folder(self, path: str) -> bool:
        """Make a folder, parents too; whether it is one now."""
        with _Tolerated(), self._parent(path, make=True) as (fd, name):
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=fd)
                self._touch(path)
            return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
        return False

    def place(self, source: Path, path: str) -> bool:
        """Move the file ``source`` to ``path``, over a file or an empty folder; whether nothing was in the way."""
        try:
            with self._parent(path, make=True) as (fd, name):
                if (found := self.lstat(path)) is not None and stat.S_ISDIR(found.st_mode):
                    _remove_empty(fd, name)
                os.rename(source, name, dst_dir_fd=fd)
                self._touch(path)
        except OSError as error:
            if error.errno not in _OBSTACLES or not source.exists():
                raise
            return False
        return True

    def _touch(self, path: str) -> None:
        self._touched.add(path.rpartition("/")[0])

    def sync(self) -> None:
        """Make what was changed survive a power cut."""
        for path in sorted(self._touched):
            with _Tolerated(_ABSENT), self._folder(path) as fd:
                os.fsync(fd)
        self._touched.clear()

    @contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        if not path:
            yield self._fd
            return
        with self._parent(path) as (outer, name):
            fd = os.open(name, _FLAGS, dir_fd=outer)
        try:
            yield fd
        finally:
            os.close(fd)

    def files_below(self, path: str) -> list[str]:
        """Every file, link or other thing that is no folder in the folder ``path``; none when it is no folder."""
        with _Tolerated(_ABSENT), self._folder(path) as fd:
            return [f"{path}/{inner}" for inner in _files(fd)]
        return []


def _files(fd: int) -> Iterator[str]:
    with os.scandir(fd) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            yield entry.name
            continue
        inner = os.open(entry.name, _FLAGS, dir_fd=fd)
        try:
            for name in _files(inner):
                yield f"{entry.name}/{name}"
        finally:
            os.close(inner)


def _remove_empty(fd: int, name: str) -> None:
    """Remove a folder that holds nothing but folders.

    Raises:
        OSError: it holds something.
    """
    inner = os.open(name, _FLAGS, dir_fd=fd)
    try:
        with os.scandir(inner) as entries:
            found = [entry.name for entry in entries]
        for entry in found:
            _remove_empty(inner, entry)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=fd)


class _Tolerated:
    """Nothing there, or something else in its place: there is nothing to do."""

    def __init__(self, numbers: frozenset[int] = _OBSTACLES) -> None:
        self._numbers = numbers

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        return isinstance(error, OSError) and error.errno in self._numbers
