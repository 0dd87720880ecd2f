"""``hyprstream list``: what is in the store, one line per branch worktree."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import age, emit_json, emit_note, emit_table, size

if TYPE_CHECKING:
    from hyprstream_core.repo.records import Worktree, WorktreeInfo


@click.command()
@click.option("-w", "--wide", is_flag=True, help="Also show UUID and folder.")
@json_option
@click.pass_obj
def listing(context: Context, wide: bool, as_json: bool) -> None:
    """List models: one line per branch that is checked out.

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
    found = [(tree, store.worktree_info(tree.model.name, tree.branch)) for tree in store.models()]
    if as_json:
        emit_json([_record(tree, info) for tree, info in found])
    elif not found:
        emit_note(f"no models in {context.settings.models_dir}; fetch one: hyprstream clone URL")
    else:
        now = time.time()
        emit_table(
            ("MODEL", "COMMIT", "SIZE", "SAVED", "AGE", "DRIVER", *(("UUID", "FOLDER") if wide else ())),
            [_row(tree, info, now, wide=wide) for tree, info in found],
        )


def _record(tree: Worktree, info: WorktreeInfo) -> dict[str, object]:
    return {
        "id": tree.id,
        "name": tree.model.name,
        "branch": tree.branch,
        "commit": tree.oid,
        "uuid": tree.model.uuid,
        "url": tree.model.url,
        "path": tree.path,
        "driver": tree.driver,
        "size_bytes": info.apparent_bytes,
        "saved_bytes": info.saved_bytes,
        "created_at": tree.created_at,
    }


def _row(tree: Worktree, info: WorktreeInfo, now: float, *, wide: bool) -> tuple[object, ...]:
    row = (
        tree.id,
        tree.oid[:12],
        size(info.apparent_bytes),
        size(info.saved_bytes),
        age(now - tree.created_at),
        tree.driver,
    )
    return (*row, tree.model.uuid, tree.path) if wide else row
