"""Views: the read-only files of exactly one commit, made once and then only read.

A view is built in a private folder, synced, and renamed into place; a folder below ``views/`` is always whole.
The file beside it says which storage filters knew their pointers when it was made: while a plugin was missing its
pointers were taken for plain text, so that a view is made again once there is a filter that it was made without.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from hyprstream_core.errors import ModelNotFound
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo.disk.durable import make_folders, move, replace, sync_tree
from hyprstream_core.repo.files.checkout import check_out, link_or_copy
from hyprstream_core.repo.files.content import Source
from hyprstream_core.repo.git.gitdir import open_git
from hyprstream_core.repo.layout import view, view_sidecar
from hyprstream_core.repo.records import Resolved
from hyprstream_core.repo.workspace import Workspace

_SIDECAR_BYTES = 65536


class Sidecar(msgspec.Struct, frozen=True):
    """The storage filters that were in force when a view was made."""

    filters: frozenset[str] = frozenset()


def existing(space: Workspace, resolved: Resolved) -> Path | None:
    """The view of ``resolved.commit``, when it has been made with all the filters that there are now."""
    path = view(resolved.model.path, resolved.commit)
    sidecar = view_sidecar(resolved.model.path, resolved.commit)
    return path if path.is_dir() and space.parts.filter_names <= _filters(sidecar) else None


def _filters(sidecar: Path) -> frozenset[str]:
    try:
        with sidecar.open("rb") as file:
            return msgspec.json.decode(file.read(_SIDECAR_BYTES), type=Sidecar).filters
    except (FileNotFoundError, msgspec.MsgspecError):
        return frozenset()


def make(space: Workspace, resolved: Resolved, source: Source, progress: Progress) -> Path:
    """Make the view of ``resolved.commit``; see :meth:`hyprstream_core.repo.store.Store.snapshot`."""
    target = view(resolved.model.path, resolved.commit)
    with space.stage() as stage, space.content_in_use(), open_git(resolved.model.git_dir) as git:
        files = stage / "view"
        check_out(
            space, git, resolved.commit, files,
            source=source, fill=link_or_copy, shares=True, read_only=True, progress=progress,
        )  # fmt: skip
        sync_tree(files)
        with space.model_lock(resolved.model.name):
            if not resolved.model.git_dir.is_dir():
                raise ModelNotFound(f"model {resolved.model.name!r} was removed meanwhile", param="model")
            if existing(space, resolved) is None:  # else somebody was faster
                _publish(space, resolved, files, target, stage)
    return target


def _publish(space: Workspace, resolved: Resolved, files: Path, target: Path, stage: Path) -> None:
    """Put a new view in its place. A stale one goes first: what it is said to be made with must never be too much."""
    make_folders(target.parent)
    if target.is_dir():
        move(target, stage / "stale")
    sidecar = msgspec.json.encode(Sidecar(space.parts.filter_names), order="deterministic")
    replace(view_sidecar(resolved.model.path, resolved.commit), sidecar, stage)
    move(files, target)
