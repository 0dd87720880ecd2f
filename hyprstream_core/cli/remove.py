"""``hyprstream remove``: delete a model, or the worktree of one branch."""

from __future__ import annotations

import sys

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_note
from hyprstream_core.errors import Cancelled, InvalidRequest


@click.command()
@click.argument("target", metavar="MODEL[:BRANCH]")
@click.option("-f", "--force", is_flag=True, help="Do not ask, and give up uncommitted changes.")
@json_option
@click.pass_obj
def remove(context: Context, target: str, force: bool, as_json: bool) -> None:
    """Delete a model with all its branches; with :BRANCH only the files of that branch.

    A model keeps at least one checked-out branch: the last one goes with the model.

    On a terminal it asks first; elsewhere it needs --force.

    \b
    Examples:
      hyprstream remove qwen3-0.6b
      hyprstream remove qwen3-0.6b:experiment
      hyprstream remove -f chat
    """
    from hyprstream_core.repo.refs import ModelRef
    from hyprstream_core.services.store import open_store

    reference = ModelRef.parse(target)
    store = open_store(context.settings, context.plugins)
    model = store.model(reference.name)
    if not force:
        _ask(str(reference), as_json=as_json)
    if reference.ref is None:
        store.remove(model.name, force=force)
    else:
        store.remove_worktree(model.name, reference.ref.removeprefix("heads/"), force=force)
    if as_json:
        emit_json({"removed": str(reference), "uuid": model.uuid})
    else:
        emit_note(f"removed {reference}")


def _ask(reference: str, *, as_json: bool) -> None:
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidRequest(
            f"removing {reference} must be confirmed, and nobody can be asked here",
            code="confirmation_required",
            remedy=f"hyprstream remove --force {reference}",
        )
    if not click.confirm(f"Delete {reference} with everything in it?", err=True):
        raise Cancelled("nothing was removed")
