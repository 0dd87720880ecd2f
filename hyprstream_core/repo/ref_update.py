"""Changing several references of a repository as one step, for callers that hold the model's lock.

Many at once, and deletions, go through ``packed-refs``: one rename is the moment in which all of them change. A
loose file, which would hide a packed reference, is removed afterwards; killed in between, the same call again
finishes. One alone is a file of its own, as git writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hyprstream_core.errors import BadObject, Conflict
from hyprstream_core.repo.durable import make_folders, replace, sync
from hyprstream_core.repo.gitdir import ZERO, GitDir, dump_packed_refs, open_git, packed_refs, read_refs

RefSwap = tuple[str | None, str | None]
"""The id that a reference must have before, and the one it gets; None: it does not exist."""


def write_refs(git_dir: Path, swaps: Mapping[str, RefSwap], scratch: Path) -> None:
    """Change references, all or none: each must still hold what is expected.

    Raises:
        Conflict: one was changed by somebody else (``repo.ref_moved``), or cannot stand beside another of its
            name's beginning (``repo.ref_clash``).
    """
    current = read_refs(git_dir)
    for name, (old, _) in swaps.items():
        if current.get(name) != old:
            raise Conflict(
                f"{name} was {(old or ZERO)[:12]} and is now {current.get(name, ZERO)[:12]}",
                code="repo.ref_moved",
                remedy="somebody else changed it meanwhile; try again",
            )
    require_no_clash(current, swaps)
    apply_refs(git_dir, swaps, scratch)


def require_no_clash(current: Mapping[str, str], swaps: Mapping[str, RefSwap]) -> None:
    """Refuse ``a`` beside ``a/b``: git keeps references as files.

    Raises:
        Conflict: two of the references that there would be exclude each other.
    """
    after = {name for name in current if name not in swaps} | {n for n, (_, new) in swaps.items() if new}
    for name in sorted(after):
        for parent in _parents(name):
            if parent in after:
                raise Conflict(
                    f"{parent} and {name} cannot exist beside each other",
                    code="repo.ref_clash",
                    remedy=f"delete {parent} or {name} first; hyprstream fetch --prune drops branches that the remote"
                    " no longer has",
                )


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(3, len(parts))]


def apply_refs(git_dir: Path, swaps: Mapping[str, RefSwap], scratch: Path) -> None:
    """Give references their new values; those that hold neither the old nor the new one are left alone."""
    current = read_refs(git_dir)
    todo = {name: new for name, (old, new) in swaps.items() if current.get(name) == old and old != new}
    if len(todo) == 1 and (new := next(iter(todo.values()))) is not None:
        _write_loose(git_dir, next(iter(todo)), new, scratch)
    elif todo:
        _write_packed(git_dir, todo, scratch)


def _write_loose(git_dir: Path, name: str, oid: str, scratch: Path) -> None:
    path = git_dir / name
    _clear_folders(path)
    make_folders(path.parent)
    replace(path, f"{oid}\n".encode(), scratch)


def _write_packed(git_dir: Path, todo: Mapping[str, str | None], scratch: Path) -> None:
    refs, peeled = packed_refs(git_dir)
    for name, oid in todo.items():
        refs.pop(name, None)
        peeled.pop(name, None)
        if oid is not None:
            refs[name] = oid
    with open_git(git_dir) as git:
        peeled |= _peel(git, {name: oid for name, oid in todo.items() if oid is not None})
    replace(git_dir / "packed-refs", dump_packed_refs(refs, peeled), scratch)
    for name in todo:
        _remove_loose(git_dir, name)


def _peel(git: GitDir, refs: Mapping[str, str]) -> dict[str, str]:
    """What the annotated tags among ``refs`` point at."""
    found = {}
    for name, oid in refs.items():
        try:
            target = git.peel(oid)[1]
        except BadObject:
            continue
        if target != oid:
            found[name] = target
    return found


def _remove_loose(git_dir: Path, name: str) -> None:
    path = git_dir / name
    if not path.is_file():
        return
    path.unlink()
    sync(path.parent)
    top = git_dir / "refs"
    while path.parent.parent not in (top, top.parent) and not any(path.parent.iterdir()):
        path = path.parent
        path.rmdir()


def _clear_folders(path: Path) -> None:
    """Remove the empty folders that longer names have left where a reference is to be a file."""
    if path.is_dir():
        for inner in sorted(path.rglob("*"), key=lambda p: -len(p.parts)):
            inner.rmdir()
        path.rmdir()
