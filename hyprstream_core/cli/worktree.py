"""``hyprstream worktree``: look into the checked-out branches."""

from __future__ import annotations

import dataclasses
import datetime

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_fields, emit_json
from hyprstream_core.units import size


@click.group()
def worktree() -> None:
    """Look into worktrees: the branches that are checked out.

    \b
    Examples:
      hyprstream worktree info chat main
    """


@worktree.command()
@click.argument("model", metavar="MODEL[:BRANCH]")
@click.argument("branch", required=False)
@json_option
@click.pass_obj
def info(context: Context, model: str, branch: str | None, as_json: bool) -> None:
    """Measure the worktree of BRANCH of MODEL: folder, commit, driver, size, shared bytes.

    The branch may also be written MODEL:BRANCH; without one it is the model's default branch.

    \b
    Examples:
      hyprstream worktree info chat main
      hyprstream worktree info chat:main
      hyprstream worktree info qwen3-0.6b experiment --json
    """
    from hyprstream_core.repo.refs import ModelRef
    from hyprstream_core.services.store import open_store

    reference = ModelRef.parse(model)
    if branch is not None and reference.ref is not None:
        raise click.UsageError(f"the branch is given twice: {model!r} and {branch!r}")
    store = open_store(context.settings, context.plugins)
    wanted = branch or reference.ref or store.model(reference.name).default_branch
    found = store.worktree_info(reference.name, wanted.removeprefix("heads/"))
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
