"""``hyprstream fetch``: learn what a model's remote has now."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import chosen_depth, depth_options, json_option
from hyprstream_core.cli.output import emit_json, emit_note, printable, write
from hyprstream_core.cli.progress import transfer_progress

if TYPE_CHECKING:
    from hyprstream_core.repo.records import RefChange


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("remote", default="origin")
@depth_options
@click.option("-p", "--prune", is_flag=True, help="Forget branches that the remote no longer has.")
@click.option("-f", "--force", is_flag=True, help="Replace tags that have moved on the remote.")
@json_option
@click.pass_obj
def fetch(
    context: Context, model: str, remote: str, depth: int | None, full: bool, prune: bool, force: bool, as_json: bool
) -> None:
    """Learn what the remote of MODEL has now: all branches and tags. No branch and no file of yours changes.

    REMOTE is the place that the model was cloned from, origin. Each line is a branch or tag that
    is different there. Tags stay where they were unless --force is given. --depth makes all
    histories so many commits long, --full completes them; without either they keep their beginning.

    \b
    Examples:
      hyprstream fetch qwen3-0.6b
      hyprstream fetch chat origin --prune
      hyprstream fetch chat --full --json
    """
    from hyprstream_core.repo.git.shallow import FULL_DEPTH
    from hyprstream_core.services.store import open_store

    wanted = chosen_depth(depth, full=full)
    store = open_store(context.settings, context.plugins)
    with transfer_progress(context.env, quiet=as_json) as progress:
        changes = store.fetch(
            model, remote, depth=FULL_DEPTH if full else wanted or 0, prune=prune, force=force, progress=progress
        )
    if as_json:
        emit_json([dataclasses.asdict(change) for change in changes])
    elif changes:
        emit_changes(changes)
    else:
        emit_note(f"{model}: nothing new")


def emit_changes(changes: Iterable[RefChange]) -> None:
    """One line per change on stdout, as git writes them: a mark, what happened, the name, the commits."""
    rows = [_row(change) for change in changes]
    what_width, name_width = (max(len(row[column]) for row in rows) for column in (1, 2)) if rows else (0, 0)
    for mark, what, name, detail in rows:
        line = f" {mark} {what.ljust(what_width)}  {printable(name).ljust(name_width)}  {printable(detail)}"
        write(line.rstrip() + "\n")


def _row(change: RefChange) -> tuple[str, str, str, str]:
    from hyprstream_core.repo.git.reference_store import TAGS, short_name

    is_tag, name = change.ref.startswith(TAGS), short_name(change.ref)
    old, new = (change.old or "")[:12], (change.new or "")[:12]
    if change.kind == "new":
        return "*", "new tag" if is_tag else "new branch", name, new
    if change.kind == "updated" and change.forced:
        return "+", "replaced" if is_tag else "forced", name, f"{old}...{new}"
    if change.kind == "kept":
        return "!", "kept tag", name, f"{old}, moved on the remote to {new}; --force takes that"
    if change.kind == "deleted":
        return "-", "deleted", name, "on the remote; --prune forgets it"
    if change.kind == "pruned":
        return "-", "forgotten", name, f"was {old}"
    if change.kind == "default":
        return "!", "default", change.new or "", f"is the remote's default branch now; it was {change.old}"
    return " ", "updated", name, f"{old}..{new}"
