"""``hyprstream worktree``: check branches out, look into them, and remove their files."""

from __future__ import annotations

import dataclasses
import datetime
import time
from typing import TYPE_CHECKING, Any

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_fields, emit_json, emit_note, emit_table
from hyprstream_core.cli.progress import transfer_progress
from hyprstream_core.units import age, size

if TYPE_CHECKING:
    from hyprstream_core.repo.records import Model, Worktree
    from hyprstream_core.repo.store import Store


@click.group()
def worktree() -> None:
    """Check branches out side by side, look into them, and remove their files.

    \b
    Examples:
      hyprstream worktree add qwen3-0.6b experiment
      hyprstream worktree list qwen3-0.6b
      hyprstream worktree info chat main
      hyprstream worktree remove qwen3-0.6b experiment
    """


@worktree.command()
@click.argument("model")
@click.argument("branch")
@click.argument("start", required=False)
@click.option("-b", "--new", is_flag=True, help="Make BRANCH, at the default branch unless START says where.")
@json_option
@click.pass_obj
def add(context: Context, model: str, branch: str, start: str | None, new: bool, as_json: bool) -> None:
    """Check BRANCH of MODEL out in a folder of its own; large files are fetched if they are not here yet.

    A branch that only the remote has becomes a local one that tracks it. With START (a branch, tag or commit) or
    -b a new branch is made.

    \b
    Examples:
      hyprstream worktree add qwen3-0.6b experiment
      hyprstream worktree add qwen3-0.6b tuned v1.0
      hyprstream worktree add -b qwen3-0.6b scratch --json
    """
    from hyprstream_core.services.store import open_store

    store = open_store(context.settings, context.plugins)
    with transfer_progress(context.env, quiet=as_json) as progress:
        made = store.add_worktree(model, branch, progress, start="" if new and start is None else start)
    if as_json:
        emit_json(_record(made))
    else:
        click.echo(f"{made.id}  {made.oid[:12]}  {made.path}")


@worktree.command("list")
@click.argument("model", required=False)
@json_option
@click.pass_obj
def listing(context: Context, model: str | None, as_json: bool) -> None:
    """List the worktrees of MODEL, or of all models, without measuring them.

    \b
    Examples:
      hyprstream worktree list
      hyprstream worktree list qwen3-0.6b --json
    """
    from hyprstream_core.services.store import open_store

    store = open_store(context.settings, context.plugins)
    found = store.models() if model is None else store.worktrees(model)
    if as_json:
        emit_json([_record(tree) for tree in found])
    elif not found:
        emit_note("there are no worktrees; make one: hyprstream worktree add MODEL BRANCH")
    else:
        now = time.time()
        rows = [(t.id, t.oid[:12], t.driver, age(now - t.created_at), t.path) for t in found]
        emit_table(("WORKTREE", "COMMIT", "DRIVER", "AGE", "FOLDER"), rows)


def _record(tree: Worktree) -> dict[str, Any]:
    return {
        "id": tree.id,
        "model": tree.model.name,
        "branch": tree.branch,
        "commit": tree.oid,
        "path": tree.path,
        "driver": tree.driver,
        "created_at": tree.created_at,
    }


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
    from hyprstream_core.services.store import open_store

    store = open_store(context.settings, context.plugins)
    found_model, wanted = _which(store, model, branch)
    found = store.worktree_info(found_model.name, wanted or store.default_branch(found_model.name))
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


@worktree.command()
@click.argument("model", metavar="MODEL[:BRANCH]")
@click.argument("branch", required=False)
@click.option("-f", "--force", is_flag=True, help="Give up what is not committed.")
@json_option
@click.pass_obj
def remove(context: Context, model: str, branch: str | None, force: bool, as_json: bool) -> None:
    """Delete the files of BRANCH of MODEL; the branch itself, and everything committed, stays.

    Asks nothing: with files that are not committed, or not tracked, it is refused unless --force is given.

    \b
    Examples:
      hyprstream worktree remove qwen3-0.6b experiment
      hyprstream worktree remove qwen3-0.6b:experiment --force
    """
    from hyprstream_core.services.store import open_store

    store = open_store(context.settings, context.plugins)
    found_model, wanted = _which(store, model, branch)
    if wanted is None:
        raise click.UsageError("which branch? hyprstream worktree remove MODEL BRANCH")
    store.remove_worktree(found_model.name, wanted, force=force)
    if as_json:
        emit_json({"removed": f"{found_model.name}:{wanted}"})
    else:
        emit_note(f"removed the files of {found_model.name}:{wanted}; the branch stays")


def _which(store: Store, model: str, branch: str | None) -> tuple[Model, str | None]:
    """The model and the branch that a verb's arguments name."""
    from hyprstream_core.repo.refs import ModelRef

    reference = ModelRef.parse(model)
    if branch is not None and reference.ref is not None:
        raise click.UsageError(f"the branch is given twice: {model!r} and {branch!r}")
    wanted = branch or reference.ref
    return store.model(reference.name), wanted.removeprefix("heads/") if wanted is not None else None
