"""Views: the read-only files of exactly one commit, made once and then only read.

A view is built in a private folder, synced, and renamed into place; a folder below ``views/`` is always whole.
"""

from __future__ import annotations

from pathlib import Path

from hyprstream_core.errors import ModelNotFound
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo.checkout import check_out, link_or_copy
from hyprstream_core.repo.content import Source
from hyprstream_core.repo.durable import make_folders, sync, sync_tree
from hyprstream_core.repo.gitdir import open_git
from hyprstream_core.repo.layout import view
from hyprstream_core.repo.records import Resolved
from hyprstream_core.repo.workspace import Workspace


def existing(resolved: Resolved) -> Path | None:
    """The view of ``resolved.commit``, when it has been made."""
    path = view(resolved.model.path, resolved.commit)
    return path if path.is_dir() else None


def make(space: Workspace, resolved: Resolved, source: Source, progress: Progress) -> Path:
    """Make the view of ``resolved.commit``; see :meth:`hyprstream_core.repo.store.Store.snapshot`."""
    target = view(resolved.model.path, resolved.commit)
    with space.stage() as stage, space.content_in_use(), open_git(resolved.model.git_dir) as git:
        files = stage / "view"
        check_out(
            space, git, resolved.commit, files,
            source=source, scratch=stage, fill=link_or_copy, read_only=True, progress=progress,
        )  # fmt: skip
        sync_tree(files)
        with space.model_lock(resolved.model.name):
            if not resolved.model.git_dir.is_dir():
                raise ModelNotFound(f"model {resolved.model.name!r} was removed meanwhile", param="model")
            if not target.is_dir():
                make_folders(target.parent)
                files.rename(target)
                sync(target.parent)
    return target
