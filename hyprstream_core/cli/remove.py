"""``hyprstream remove``: delete a model, or the worktree of one branch."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_note, one_line
from hyprstream_core.errors import Cancelled, InvalidRequest
from hyprstream_core.units import size

if TYPE_CHECKING:
    from hyprstream_core.repo.removal import Removal

SHOWN = 5
"""Names of one kind that are shown to people; ``--json`` has them all."""


@click.command()
@click.argument("target", metavar="MODEL[:BRANCH]")
@click.option("-f", "--force", is_flag=True, help="Do not ask, and give up uncommitted changes.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@json_option
@click.pass_obj
def remove(context: Context, target: str, force: bool, dry_run: bool, as_json: bool) -> None:
    """Delete a model with all its branches; with :BRANCH only the files of that branch.

    It first shows what goes: worktrees, commits that no remote has, files that are in no commit, and how much disk
    that frees. A model keeps at least one checked-out branch: the last one goes with the model.

    On a terminal it asks; elsewhere it needs --force.

    \b
    Examples:
      hyprstream remove qwen3-0.6b --dry-run
      hyprstream remove qwen3-0.6b
      hyprstream remove qwen3-0.6b:experiment
      hyprstream remove -f chat
    """
    from hyprstream_core.repo.refs import ModelRef
    from hyprstream_core.services.store import open_store

    reference = ModelRef.parse(target)
    store = open_store(context.settings, context.plugins)
    model = store.model(reference.name)
    branch = reference.ref.removeprefix("heads/") if reference.ref is not None else None
    if not (dry_run or force) and not _can_ask(as_json=as_json):
        raise InvalidRequest(
            f"removing {reference} must be confirmed, and nobody can be asked here",
            code="confirmation_required",
            remedy=f"hyprstream remove --force {reference}",
        )
    plan = store.removal(model.name, branch)
    if not as_json:
        for line in _lines(plan):
            (click.echo if dry_run else emit_note)(line)
    if not dry_run:
        if not force and not click.confirm(f"Delete {reference} with everything in it?", err=True):
            raise Cancelled("nothing was removed")
        if branch is None:
            store.remove(model.name, force=force)
        else:
            store.remove_worktree(model.name, branch, force=force)
    if as_json:
        removed = None if dry_run else str(reference)
        emit_json({"removed": removed, "uuid": model.uuid, "plan": dataclasses.asdict(plan)})
    elif not dry_run:
        emit_note(f"removed {reference}")


def _can_ask(*, as_json: bool) -> bool:
    return not as_json and sys.stdin.isatty() and sys.stderr.isatty()


def _lines(plan: Removal) -> Iterator[str]:
    """The plan for people."""
    if plan.branch is None:
        yield f"model {plan.model} with all its branches and tags"
        yield f"  worktrees: {_some(plan.worktrees)}"
        if plan.views:
            yield f"  read-only views of commits: {plan.views}"
    else:
        yield f"the files of {plan.model}:{one_line(plan.branch, 200)}; the branch stays"
    if plan.unpushed:
        counts = [f"{name} ({count} commit{'s' if count > 1 else ''})" for name, count in plan.unpushed.items()]
        yield f"  never pushed, as far as was fetched: {_some(counts)}"
    for branch, paths in plan.changes.items():
        yield f"  not committed in {one_line(branch, 200)}: {_some(paths)}"
    shared = f"; {size(plan.kept_bytes)} stay, because something else shares them" if plan.kept_bytes else ""
    yield f"  frees {size(plan.freed_bytes)}{shared}"


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    shown = ", ".join(one_line(name, 200) for name in names[:SHOWN]) or "none"
    return shown + (f", and {rest} more" if rest > 0 else "")
