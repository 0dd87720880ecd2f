"""Changing references so that nothing acknowledged is lost: all or none, compared first, under git's own lock files.

One new value is a file of its own, as git writes it. Several at once, and deletions, go through ``packed-refs``: one
rename is the moment in which all of them change. A loose file, which would hide a packed reference, is removed
afterwards; after a crash in between, :meth:`References.apply` does what is left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from hyprstream_core.errors import BadObject, Conflict
from hyprstream_core.repo.disk.durable import prune, replace, sync
from hyprstream_core.repo.git.git_locks import break_stale_locks, locked
from hyprstream_core.repo.git.gitdir import GitDir, dump_packed_refs, is_oid, open_git, packed_refs, read_refs

RefSwap = tuple[str | None, str | None]
"""The id that a reference must have before, and the one it gets; None: it does not exist."""
HEADS, REMOTES, TAGS = "refs/heads/", "refs/remotes/origin/", "refs/tags/"


class References:
    """A repository's references, to be changed. The caller holds the model's lock."""

    def __init__(self, git_dir: Path, scratch: Path, timeout: float) -> None:
        """``scratch`` is a private folder on the same file system; ``timeout`` is how long to wait for stock git."""
        self.git_dir = git_dir
        self.scratch = scratch
        self._timeout = timeout
        break_stale_locks(git_dir)

    def locked(self, path: Path) -> AbstractContextManager[None]:
        """Keep stock git from changing a file of the repository inside the block; see
        :func:`hyprstream_core.repo.git.git_locks.locked`."""
        return locked(path, self.scratch, self._timeout)

    def read(self) -> dict[str, str]:
        """Every reference with its id, as of now."""
        return read_refs(self.git_dir)

    def create(self, name: str, oid: str) -> None:
        """Make a reference.

        Raises:
            Conflict: it exists, or its name and an existing one exclude each other (``a`` and ``a/b``).
        """
        with self.holding({name: (None, oid)}):
            if found := self.read().get(name):
                raise exists(name, found)
            self.require({name: (None, oid)})
            self.apply({name: (None, oid)})

    def update(self, name: str, oid: str, expected: str) -> None:
        """Give a reference that holds ``expected`` another id.

        Raises:
            Conflict: it holds something else meanwhile (code ``ref.moved``).
        """
        self.swap({name: (expected, oid)})

    def delete(self, name: str, expected: str) -> None:
        """Delete a reference that holds ``expected``, and what git logged of it.

        Raises:
            Conflict: it holds something else meanwhile (code ``ref.moved``).
        """
        self.swap({name: (expected, None)})

    def swap(self, swaps: Mapping[str, RefSwap]) -> None:
        """Change references, all or none: each must still hold what is expected.

        Raises:
            Conflict: as for :meth:`require` and :meth:`holding`.
        """
        with self.holding(swaps):
            self.require(swaps)
            self.apply(swaps)

    @contextmanager
    def holding(self, swaps: Mapping[str, RefSwap]) -> Iterator[None]:
        """Keep stock git from changing what ``swaps`` changes inside the block. Locks are taken in git's order:
        references first, ``packed-refs`` last.

        Raises:
            Conflict: another program holds a lock for too long (code ``repo.locked``).
        """
        try:
            with ExitStack() as locks:
                for name in sorted(swaps):
                    if not self._is_inside_another(name):
                        locks.enter_context(self.locked(self.git_dir / name))
                if _goes_packed(swaps):
                    locks.enter_context(self.locked(self.git_dir / "packed-refs"))
                yield
        finally:
            for name in swaps:
                _prune(self.git_dir, name)

    def _is_inside_another(self, name: str) -> bool:
        """Whether a reference that is a file has the name of one of its folders: no git can make it then, nor lock
        it. That one goes in the same step, or :meth:`require` refuses."""
        return any((self.git_dir / parent).is_file() for parent in _parents(name))

    def require(self, swaps: Mapping[str, RefSwap]) -> None:
        """Refuse what is not as expected. The caller is :meth:`holding` the same.

        Raises:
            Conflict: a reference was changed or made by somebody else (``ref.moved``), or a new one cannot stand
                beside another (``ref.exists``).
        """
        current = self.read()
        for name, (old, _) in swaps.items():
            if (found := current.get(name)) != old:
                raise moved(name, found, old)
        require_no_clash([n for n, (_, new) in swaps.items() if new], current.keys() - swaps.keys())

    def apply(self, swaps: Mapping[str, RefSwap]) -> None:
        """Give references their new values. Those that hold neither the old nor the new one, or cannot stand beside
        what somebody else has made since, are left alone. The caller is :meth:`holding` the same."""
        current = self.read()
        todo = {name: new for name, (old, new) in swaps.items() if current.get(name) == old and old != new}
        for name, _ in list(_clashes([n for n, new in todo.items() if new], current.keys() - swaps.keys())):
            todo.pop(name, None)
        for oid in todo.values():
            if oid is not None and not is_oid(oid):
                raise ValueError(f"{oid!r} is no object id")
        if todo and _goes_packed(swaps):
            self._write_packed(todo)
        for name, (_, new) in swaps.items():
            if new is None and (name in todo or name not in current):
                self._forget_log(name)
            elif new is not None and name in todo and not _goes_packed(swaps):
                self._write_loose(name, new)

    def _write_loose(self, name: str, oid: str) -> None:
        path = self.git_dir / name
        _remove_empty(path)
        _remove_empty(self.git_dir / "logs" / name)
        replace(path, f"{oid}\n".encode(), self.scratch)

    def _write_packed(self, todo: Mapping[str, str | None]) -> None:
        refs, peeled = packed_refs(self.git_dir)
        fresh = {name: oid for name, oid in todo.items() if oid is not None}
        refs = {name: oid for name, oid in refs.items() if name not in todo} | fresh
        peeled = {name: oid for name, oid in peeled.items() if name not in todo}
        with open_git(self.git_dir) as git:
            peeled |= _peel(git, fresh)
        replace(self.git_dir / "packed-refs", dump_packed_refs(refs, peeled), self.scratch)
        for name in todo:
            path = self.git_dir / name
            if path.is_file():
                path.unlink()
                sync(path.parent)
                _prune(self.git_dir, name)

    def _forget_log(self, name: str) -> None:
        log = self.git_dir / "logs" / name
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):  # the latter are other branches'
            log.unlink()
        _prune(self.git_dir / "logs", name)

    def set_head(self, branch: str) -> None:
        """Make ``branch`` the repository's HEAD."""
        with self.locked(self.git_dir / "HEAD"):
            replace(self.git_dir / "HEAD", f"ref: {HEADS}{branch}\n".encode(), self.scratch)


def moved(name: str, found: str | None, expected: str | None) -> Conflict:
    """The error for a reference that is not where it is expected."""
    return Conflict(
        f"{short_name(name)!r} is at {found[:12] if found else 'nothing'}, "
        f"expected {expected[:12] if expected else 'nothing'}: it was changed meanwhile",
        code="ref.moved",
        remedy="look at it and try again",
        ref=name,
    )


def exists(name: str, oid: str) -> Conflict:
    """The error for a reference that is there already."""
    return Conflict(
        f"{short_name(name)!r} already exists, at {oid[:12]}",
        code="ref.exists",
        remedy="choose another name",
        ref=name,
    )


def require_no_clash(new: Iterable[str], others: Iterable[str]) -> None:
    """Refuse names that git cannot store beside each other or beside the others: one is the folder of another.

    Raises:
        Conflict: that is so (code ``ref.exists``).
    """
    for name, other in _clashes(new, others):
        is_remote = other.startswith("refs/remotes/")
        raise Conflict(
            f"{short_name(name)!r} cannot exist beside {short_name(other)!r}: one would be a folder of the other",
            code="ref.exists",
            remedy="hyprstream fetch --prune forgets branches that the remote no longer has"
            if is_remote
            else f"choose another name, or delete {short_name(other)!r} first",
            ref=other,
        )


def _clashes(new: Iterable[str], others: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of the ``new`` names that exclude another one, with that."""
    wanted = set(new)
    after = wanted | set(others)
    for name in sorted(after):
        for parent in _parents(name):
            if parent in after and name in wanted:
                yield name, parent
            elif parent in wanted:
                yield parent, name


def _parents(name: str) -> list[str]:
    """The folders of a reference that could be references: ``refs/heads/a`` of ``refs/heads/a/b``."""
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(3, len(parts))]


def _goes_packed(swaps: Mapping[str, RefSwap]) -> bool:
    return len(swaps) > 1 or any(new is None for _, new in swaps.values())


def _peel(git: GitDir, refs: Mapping[str, str]) -> dict[str, str]:
    """What the annotated tags among ``refs`` point at."""
    found = {}
    for name, oid in refs.items():
        with suppress(BadObject):
            if (target := git.peel(oid)[1]) != oid:
                found[name] = target
    return found


def short_name(name: str) -> str:
    """A reference as people name it: ``main``, ``origin/main``, ``v1``."""
    for prefix in (HEADS, TAGS, "refs/remotes/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def bare_name(name: str) -> str:
    """A reference as it follows a model's name and a colon: ``main``, also of the remote's branch; ``v1``."""
    return short_name(name).removeprefix("origin/") if name.startswith(REMOTES) else short_name(name)


def _remove_empty(folder: Path) -> None:
    """Delete ``folder`` when nothing but empty folders is in it."""
    if folder.is_dir():
        for inner, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                Path(inner).rmdir()


def _prune(base: Path, name: str) -> None:
    """Delete the empty folders that a nested name leaves; ``refs/heads`` and its like stay."""
    prune((base / name).parent, base / "/".join(name.split("/")[:2]))
