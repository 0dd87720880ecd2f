"""``hyprstream worktree``: look into the checked-out branches."""

from __future__ import annotations

import dataclasses
import datetime

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_fields, emit_json, size


@click.group()
def worktree() -> None:
    """Look into worktrees: the branches that are checked out.

    \b
    Examples:
      hyprstream worktree info chat main
    """


@worktree.command()
@click.argument("model")
@click.argument("branch")
@json_option
@click.pass_obj
def info(context: Context, model: str, branch: str, as_json: bool) -> None:
    """Measure the worktree of BRANCH of MODEL: folder, commit, driver, size, shared bytes.

    \b
    Examples:
      hyprstream worktree info chat main
      hyprstream worktree info qwen3-0.6b experiment --json
    """
    from hyprstream_core.services.store import open_store

    found = open_store(context.settings, context.plugins).worktree_info(model, branch)
    if as_json:
        emit_json(dataclasses.asdict(found))
        return
    emit_fields(
        {
            "folder": found.path,
            "branch": found.branch,
            "commit": found.oid,
            "driver": found.driver,
            "created": datetime.datetime.fromtimestamp(found.created_at).isoformat(" ", "seconds"),
            "size": size(found.apparent_bytes),
            "own": size(found.own_bytes),
            "saved": size(found.saved_bytes),
        }
    )
