"""Changing references so that nothing acknowledged is lost: atomic, compared first, under git's own lock files.

Among ourselves the model's lock is enough. Stock git works in the same repository, though, when somebody commits
in a worktree by hand; it takes ``<file>.lock``, and so do we, for the moment of the change. Our lock files hold
:data:`MARK`: one that is found by whoever holds the model's lock is left from a process that died, and broken.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyprstream_core.errors import Conflict
from hyprstream_core.repo.durable import make_folders, replace, sync, write_new
from hyprstream_core.repo.gitdir import PACKED_REFS_BYTES, is_oid, read_ref, read_refs

MARK = b"hyprstream\n"
"""What our lock files hold."""
HEADS, REMOTES, TAGS = "refs/heads/", "refs/remotes/origin/", "refs/tags/"
_POLL = 0.02
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class References:
    """A repository's references, to be changed. The caller holds the model's lock."""

    def __init__(self, git_dir: Path, scratch: Path, timeout: float) -> None:
        """``scratch`` is a private folder on the same file system; ``timeout`` is how long to wait for stock git."""
        self.git_dir = git_dir
        self.scratch = scratch
        self._timeout = timeout
        self._break_stale_locks()

    def read(self) -> dict[str, str]:
        """Every reference with its id, as of now."""
        return read_refs(self.git_dir)

    def create(self, name: str, oid: str) -> None:
        """Make a reference.

        Raises:
            Conflict: it exists, or its name and an existing one exclude each other (``a`` and ``a/b``).
        """
        require_no_clash(name, self.read())
        with self.locked(self.git_dir / name):
            refs = self.read()
            if name in refs:
                raise exists(name, refs[name])
            require_no_clash(name, refs)
            self._write(name, oid)

    def update(self, name: str, oid: str, expected: str) -> None:
        """Give a reference that holds ``expected`` another id.

        Raises:
            Conflict: it holds something else meanwhile (code ``ref.moved``).
        """
        with self.locked(self.git_dir / name):
            self._require(name, expected)
            self._write(name, oid)

    def delete(self, name: str, expected: str) -> None:
        """Delete a reference that holds ``expected``, and what git logged of it.

        Raises:
            Conflict: it holds something else meanwhile (code ``ref.moved``).
        """
        path = self.git_dir / name
        with self.locked(path):
            self._require(name, expected)
            self._unpack(name)  # first: an old value in there would come to light
            path.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            sync(path.parent)
        log = self.git_dir / "logs" / name
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):  # the latter are other branches'
            log.unlink()
        for folder in (path.parent, log.parent):
            _prune(folder)

    def set_head(self, branch: str) -> None:
        """Make ``branch`` the repository's HEAD."""
        with self.locked(self.git_dir / "HEAD"):
            replace(self.git_dir / "HEAD", f"ref: {HEADS}{branch}\n".encode(), self.scratch)

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Keep stock git from changing the file ``path`` inside the block.

        Raises:
            Conflict: another program holds the lock for too long (code ``repo.locked``).
        """
        lock = _lock_of(path)
        deadline = time.monotonic() + self._timeout
        while not self._try_lock(lock):
            if time.monotonic() >= deadline:
                raise Conflict(
                    f"another program holds {lock} and has not finished in {self._timeout:g} s",
                    code="repo.locked",
                    remedy="try again; when no git runs in this model any more, delete that file",
                )
            time.sleep(_POLL)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)

    def _try_lock(self, lock: Path) -> bool:
        marker = self.scratch / f"lock-{os.urandom(8).hex()}"
        marker.write_bytes(MARK)
        try:
            make_folders(lock.parent)
            os.link(marker, lock, follow_symlinks=False)
        except (FileExistsError, FileNotFoundError, NotADirectoryError):
            return False  # held; or git has this moment removed the folder, which was empty, or put a file there
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with suppress(FileExistsError):
                write_new(lock, MARK)
                return True
            return False
        finally:
            marker.unlink()
        return True

    def _break_stale_locks(self) -> None:
        """Delete the lock files of ours that dead processes left: nobody but us may have any now."""
        top = [self.git_dir / name for name in ("packed-refs", "HEAD", "config")]
        for lock in [*map(_lock_of, top), *_below(self.git_dir / "refs", ".lock")]:
            with suppress(FileNotFoundError):
                if _holds_mark(lock):
                    lock.unlink()

    def _require(self, name: str, expected: str) -> None:
        found = read_ref(self.git_dir, name)
        if found != expected:
            raise Conflict(
                f"{short_name(name)!r} is at {found[:12] if found else 'nothing'}, expected {expected[:12]}: "
                "it was changed meanwhile",
                code="ref.moved",
                remedy="look at it and try again",
                ref=name,
            )

    def _write(self, name: str, oid: str) -> None:
        if not is_oid(oid):
            raise ValueError(f"{oid!r} is no object id")
        path = self.git_dir / name
        if path.is_dir():
            _remove_empty(path)
        _remove_empty(self.git_dir / "logs" / name)
        replace(path, f"{oid}\n".encode(), self.scratch)

    def _unpack(self, name: str) -> None:
        """Take a reference out of ``packed-refs``."""
        path = self.git_dir / "packed-refs"
        with self.locked(path), suppress(FileNotFoundError):
            with path.open("rb") as file:
                data = file.read(PACKED_REFS_BYTES)
            rest = _without(data, name.encode("utf-8", "surrogateescape"))
            if rest != data:
                replace(path, rest, self.scratch)


def exists(name: str, oid: str) -> Conflict:
    """The error for a reference that is there already."""
    return Conflict(
        f"{short_name(name)!r} already exists, at {oid[:12]}",
        code="ref.exists",
        remedy="choose another name",
        ref=name,
    )


def require_no_clash(name: str, refs: Iterable[str]) -> None:
    """Refuse a name that git cannot store beside the others: one is the folder of the other.

    Raises:
        Conflict: that is so (code ``ref.exists``).
    """
    for other in refs:
        if other.startswith(f"{name}/") or name.startswith(f"{other}/"):
            raise Conflict(
                f"{short_name(name)!r} cannot exist beside {short_name(other)!r}: one would be a folder of the other",
                code="ref.exists",
                remedy="choose another name",
                ref=other,
            )


def short_name(name: str) -> str:
    """A reference as people name it: ``main``, ``origin/main``, ``v1``."""
    for prefix in (HEADS, TAGS, "refs/remotes/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _holds_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK) + 1) == MARK


def _below(folder: Path, suffix: str) -> Iterator[Path]:
    for inner, _, names in os.walk(folder):
        yield from (Path(inner, name) for name in names if name.endswith(suffix))


def _without(packed: bytes, name: bytes) -> bytes:
    """``packed-refs`` less one reference and the line that says what it peels to."""
    kept, dropping = [], False
    for line in packed.splitlines(keepends=True):
        dropping = dropping if line.startswith(b"^") else line.rstrip(b"\n").partition(b" ")[2] == name
        if not dropping:
            kept.append(line)
    return b"".join(kept)


def _remove_empty(folder: Path) -> None:
    """Delete ``folder`` when nothing but empty folders is in it."""
    if folder.is_dir():
        for inner, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                Path(inner).rmdir()


def _prune(folder: Path) -> None:
    """Delete the empty folders that a nested name leaves; ``refs/heads`` and its like stay."""
    while folder.parent.name != "refs":
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
