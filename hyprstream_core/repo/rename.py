"""Renaming a branch with everything that bears its name. A journal makes it one step: once that is written, whoever
changes the model next finishes what was begun.

    1. <name>.git/hyprstream-rename.json: the journal
    2. its log, the reference itself, HEAD, the section of the configuration
    3. worktrees/<old> → worktrees/.renaming → worktrees/<new>, since one may be inside the other
    4. HEAD of each worktree that is at the branch; the admin folder, last: the worktree exists again
    5. the journal goes

Each step finds out by itself whether it was done.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from hyprstream_core.errors import Conflict
from hyprstream_core.repo import git_config
from hyprstream_core.repo.durable import move, replace, sync
from hyprstream_core.repo.layout import worktree
from hyprstream_core.repo.records import Model
from hyprstream_core.repo.reference_store import HEADS, References, exists, require_no_clash
from hyprstream_core.repo.resolve import head_branch, unknown
from hyprstream_core.repo.worktrees import admin_folder, pointer_to, prune, retarget, switch_heads

_JOURNAL = "hyprstream-rename.json"
_JOURNAL_BYTES = 65536
_BETWEEN = ".renaming"
"""Where a worktree is while it moves: no branch can be called so."""


class _Rename(msgspec.Struct, frozen=True):
    """What was begun: ``oid`` is the commit of the branch at that time."""

    old: str
    new: str
    oid: str


def rename(model: Model, refs: References, old: str, new: str) -> None:
    """Call the branch ``old`` ``new``; its worktree, upstream and log come with it.

    Raises:
        ModelNotFound: there is no local branch ``old``.
        Conflict: ``new`` exists, or cannot exist beside another branch; or there are files where its worktree would be.
    """
    found = refs.read()
    if HEADS + old not in found:
        raise unknown(model, old, [n for n in found if n.startswith(HEADS)], "local branch")
    if HEADS + new in found:
        raise exists(HEADS + new, found[HEADS + new])
    require_no_clash(HEADS + new, found.keys() - {HEADS + old})
    source, target = worktree(model.path, old), worktree(model.path, new)
    if admin_folder(model, old).is_dir() and not _can_move(source, target, model.path / "worktrees"):
        raise Conflict(
            f"the worktree cannot move to {target}: there are files of another origin", remedy="move them away"
        )
    journal = _Rename(old, new, found[HEADS + old])
    replace(model.git_dir / _JOURNAL, msgspec.json.encode(journal), refs.scratch)
    finish(model, refs)


def _can_move(source: Path, target: Path, top: Path) -> bool:
    """Whether nothing but ``source`` itself, and the folders that it leaves empty, is in the way."""
    if target.is_relative_to(source):
        return True
    if any(folder.is_file() for folder in (target, *target.parents) if folder.is_relative_to(top)):
        return False
    if source.is_relative_to(target):
        between = [folder for folder in source.parents if folder.is_relative_to(target)]
        return all(len(list(folder.iterdir())) == 1 for folder in between)
    return not target.exists() or not any(target.iterdir())


def is_unfinished(model: Model) -> bool:
    """Whether a rename was begun and not finished, or is going on."""
    return (model.git_dir / _JOURNAL).exists()


def finish(model: Model, refs: References) -> None:
    """Do what is left of a rename that was begun. The caller holds the model's lock."""
    try:
        with (model.git_dir / _JOURNAL).open("rb") as file:
            journal = msgspec.json.decode(file.read(_JOURNAL_BYTES), type=_Rename)
    except FileNotFoundError:
        return
    _rename_reference(refs, journal)
    git_config.rename_branch(refs, journal.old, journal.new)
    _move_files(model, refs, journal)
    switch_heads(model, journal.old, journal.new, refs.scratch)
    retarget(model, journal.old, journal.new, refs.scratch)
    (model.git_dir / _JOURNAL).unlink()
    sync(model.git_dir)


def _rename_reference(refs: References, journal: _Rename) -> None:
    old, new = HEADS + journal.old, HEADS + journal.new
    found = refs.read()
    _move_log(refs.git_dir, old, new)
    if new not in found:
        oid = found.get(old, journal.oid)
        if old in found and (old.startswith(f"{new}/") or new.startswith(f"{old}/")):
            refs.delete(old, oid)
        refs.create(new, oid)
        found = refs.read()
    if old in found:
        refs.delete(old, found[old])
    if head_branch(refs.git_dir) == journal.old:
        refs.set_head(journal.new)


def _move_log(git_dir: Path, old: str, new: str) -> None:
    """git's log of the branch; through another name, since one may be inside the other."""
    source, between, target = git_dir / "logs" / old, git_dir / "logs" / _BETWEEN, git_dir / "logs" / new
    if source.is_file():
        move(source, between)
        prune(source.parent, git_dir / "logs/refs")
    if between.is_file():
        if target.is_dir():
            prune(target, git_dir / "logs/refs")
        move(between, target)


def _move_files(model: Model, refs: References, journal: _Rename) -> None:
    top = model.path / "worktrees"
    source, between, target = worktree(model.path, journal.old), top / _BETWEEN, worktree(model.path, journal.new)
    if pointer_to(source) == admin_folder(model, journal.old):
        move(source, between)
        prune(source.parent, top)
    if between.is_dir():
        pointer = f"gitdir: {admin_folder(model, journal.new)}\n"
        replace(between / ".git", pointer.encode(), refs.scratch)
        prune(target, top)
        move(between, target)
