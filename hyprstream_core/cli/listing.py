"""``hyprstream list``: what is in the store, one line per branch worktree."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_note, emit_table
from hyprstream_core.units import age, size

if TYPE_CHECKING:
    from hyprstream_core.repo.files.measure import Measured


@click.command()
@click.option("-w", "--wide", is_flag=True, help="Also show UUID and folder.")
@json_option
@click.pass_obj
def listing(context: Context, wide: bool, as_json: bool) -> None:
    """List models: one line per branch that is checked out, and one for a model without any.

    SAVED are bytes that the branch shares with others on disk. Tags and commits can be used as
    MODEL:TAG and MODEL:COMMIT without being listed; see: hyprstream inspect.

    \b
    Examples:
      hyprstream list
      hyprstream list --wide
      hyprstream list --json
    """
    from hyprstream_core.services.store import open_store

    store = open_store(context.settings, context.plugins)
    found = store.measured()
    if as_json:
        emit_json([_record(line) for line in found])
    elif not found:
        emit_note(f"no models in {context.settings.models_dir}; fetch one: hyprstream clone URL")
    else:
        now = time.time()
        emit_table(
            ("MODEL", "COMMIT", "SIZE", "SAVED", "AGE", "DRIVER", *(("UUID", "FOLDER") if wide else ())),
            [_row(line, now, wide=wide) for line in found],
        )
        for line in found:
            if line.problem:
                emit_note(f"{line.worktree.id if line.worktree else line.model.name}: {line.problem}")


def _record(line: Measured) -> dict[str, object]:
    """One row; without a worktree everything of it is None, and the id is the model's name."""
    model, tree, info = line.model, line.worktree, line.info
    return {
        "id": tree.id if tree else model.name,
        "name": model.name,
        "branch": tree.branch if tree else None,
        "commit": tree.oid if tree else None,
        "uuid": model.uuid,
        "url": model.url,
        "path": tree.path if tree else None,
        "driver": tree.driver if tree else None,
        "size_bytes": info.apparent_bytes if info else None,
        "saved_bytes": info.saved_bytes if info else None,
        "created_at": tree.created_at if tree else model.created_at,
        "problem": line.problem,
    }


def _row(line: Measured, now: float, *, wide: bool) -> tuple[object, ...]:
    model, tree, info = line.model, line.worktree, line.info
    state = "damaged" if line.problem else "no worktree"
    row: tuple[object, ...] = (
        tree.id if tree else model.name,
        tree.oid[:12] if tree else state,
        size(info.apparent_bytes) if info else "damaged" if tree else "-",
        size(info.saved_bytes) if info else "-",
        age(now - (tree.created_at if tree else model.created_at)),
        tree.driver if tree else "-",
    )
    return (*row, model.uuid, tree.path if tree else model.path) if wide else row
