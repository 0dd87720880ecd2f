"""Changing a model: its lock is held, and what a run that was killed left half-way is finished first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyprstream_core.errors import ModelNotFound
from hyprstream_core.repo.records import Model
from hyprstream_core.repo.reference_store import References
from hyprstream_core.repo.workspace import Workspace


@contextmanager
def changing(space: Workspace, model: Model, scratch: Path) -> Iterator[References]:
    """Nobody else changes ``model`` inside the block; ``scratch`` is a private folder of the caller.

    Raises:
        Conflict: somebody else holds the model for too long.
        ModelNotFound: it was removed meanwhile.
    """
    from hyprstream_core.repo.rename import finish  # which changes worktrees, which change references

    with space.model_lock(model.name):
        if not model.git_dir.is_dir():
            raise ModelNotFound(f"model {model.name!r} was removed meanwhile", param="model")
        refs = References(model.git_dir, scratch, space.lock_timeout)
        finish(model, refs)
        yield refs


def settle(space: Workspace, model: Model) -> None:
    """Finish what a run that was killed has left half-way; costs nothing when there is nothing."""
    from hyprstream_core.repo.rename import is_unfinished

    if is_unfinished(model):
        with space.stage() as stage, changing(space, model, stage):
            pass
