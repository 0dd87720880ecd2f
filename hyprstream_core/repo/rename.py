"""Renaming a branch with everything that bears its name, as a step of a rename.

    1. its log, the reference itself, HEAD, the section of the configuration
    2. worktrees/<old> → worktrees/.renaming → worktrees/<new>, since one may be inside the other
    3. HEAD of each worktree that is at the branch; the admin folder, last: the worktree exists again

Each step finds out by itself whether it was done.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from hyprstream_core.errors import Conflict
from hyprstream_core.repo.disk.durable import move, prune, replace
from hyprstream_core.repo.files.worktree_admin import admin_folder, pointer_to, retarget, switch_heads
from hyprstream_core.repo.git import git_config
from hyprstream_core.repo.git.reference_store import HEADS, References, exists, require_no_clash
from hyprstream_core.repo.layout import worktree
from hyprstream_core.repo.records import Model
from hyprstream_core.repo.resolve import head_branch, unknown

_BETWEEN = ".renaming"
"""Where a worktree is while it moves: no branch can be called so."""


class Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done: ``oid`` is the commit of the branch at that time."""

    old: str
    new: str
    oid: str


def plan_rename(model: Model, refs: References, old: str, new: str) -> Rename:
    """Calling the branch ``old`` ``new``, with its worktree, upstream and log.

    Raises:
        ModelNotFound: there is no local branch ``old``.
        Conflict: ``new`` exists, or cannot exist beside another branch; or there are files where its worktree would be.
    """
    found = refs.read()
    if HEADS + old not in found:
        raise unknown(model, old, [n for n in found if n.startswith(HEADS)], "local branch")
    if HEADS + new in found:
        raise exists(HEADS + new, found[HEADS + new])
    require_no_clash([HEADS + new], found.keys() - {HEADS + old})
    source, target = worktree(model.path, old), worktree(model.path, new)
    if admin_folder(model.path, old).is_dir() and not _can_move(source, target, model.path / "worktrees"):
        raise Conflict(
            f"the worktree cannot move to {target}: there are files of another origin", remedy="move them away"
        )
    return Rename(old, new, found[HEADS + old])


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


def carry_out_rename(model: Path, refs: References, rename: Rename) -> None:
    """Do what is left of a rename in a model's folder. The caller holds the model's lock."""
    _rename_reference(refs, rename)
    git_config.rename_branch(refs, rename.old, rename.new)
    _move_files(model, refs, rename)
    switch_heads(model, rename.old, rename.new, refs.scratch)
    retarget(model, rename.old, rename.new, refs.scratch)


def _rename_reference(refs: References, rename: Rename) -> None:
    old, new = HEADS + rename.old, HEADS + rename.new
    found = refs.read()
    _move_log(refs.git_dir, old, new)
    if new not in found:
        oid = found.get(old, rename.oid)
        if old in found and (old.startswith(f"{new}/") or new.startswith(f"{old}/")):
            refs.delete(old, oid)
        refs.create(new, oid)
        found = refs.read()
    if old in found:
        refs.delete(old, found[old])
    if head_branch(refs.git_dir) == rename.old:
        refs.set_head(rename.new)


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


def _move_files(model: Path, refs: References, rename: Rename) -> None:
    top = model / "worktrees"
    source, between, target = worktree(model, rename.old), top / _BETWEEN, worktree(model, rename.new)
    if pointer_to(source) == admin_folder(model, rename.old):
        move(source, between)
        prune(source.parent, top)
    if between.is_dir():
        pointer = f"gitdir: {admin_folder(model, rename.new)}\n"
        replace(between / ".git", pointer.encode(), refs.scratch)
        prune(target, top)
        move(between, target)
