"""``hyprstream pull``: bring a branch and its files up to date with the remote's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.fetch import emit_changes
from hyprstream_core.cli.interrupts import ignore_interrupts
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, printable, write
from hyprstream_core.cli.progress import transfer_progress

if TYPE_CHECKING:
    from hyprstream_core.repo.records import Pulled


@click.command()
@click.argument("target", metavar="MODEL[:BRANCH]")
@click.argument("remote", required=False)
@click.argument("remote_branch", metavar="[BRANCH]", required=False)
@click.option("-f", "--force", is_flag=True, help="Follow a remote that has taken commits back.")
@json_option
@click.pass_obj
def pull(
    context: Context, target: str, remote: str | None, remote_branch: str | None, force: bool, as_json: bool
) -> None:
    """Fetch, then move a branch of MODEL (its default branch) and its files forward to the remote's.

    REMOTE is origin; the remote's BRANCH is the one that yours tracks. One word that is no remote
    is a branch. Only forward: a branch with commits of its own that the remote has not is left
    as it is. Large files are fetched and verified before any file changes. Files that git does
    not track stay; changed ones stop the pull. What is being served is not disturbed.

    When the remote has taken commits back, the branch stays where it is; --force follows the
    remote all the same, unless the branch has commits of its own.

    \b
    Examples:
      hyprstream pull qwen3-0.6b
      hyprstream pull chat:experiment
      hyprstream pull chat:experiment origin main
    """
    from hyprstream_core.repo.refs import ModelRef
    from hyprstream_core.repo.store import ORIGIN
    from hyprstream_core.services.store import open_store

    if remote is not None and remote_branch is None and remote != ORIGIN:
        remote, remote_branch = None, remote
    reference = ModelRef.parse(target)
    store = open_store(context.settings, context.plugins)
    with transfer_progress(context.env, quiet=as_json) as progress:
        pulled = store.pull(
            reference.name, reference.branch, remote or ORIGIN, remote_branch,
            force=force, progress=progress, publishing=ignore_interrupts,
        )  # fmt: skip
    if as_json:
        emit_json(_record(pulled))
        return
    emit_changes(pulled.changes)
    write(printable(_summary(pulled)) + "\n")


def _record(pulled: Pulled) -> dict[str, object]:
    return {
        "name": pulled.model.name,
        "branch": pulled.branch,
        "remote_branch": pulled.source,
        "old": pulled.old,
        "new": pulled.new,
        "files": pulled.files,
        "path": pulled.path,
        "fetched": [dataclasses.asdict(change) for change in pulled.changes],
    }


def _summary(pulled: Pulled) -> str:
    name = f"{pulled.model.name}:{pulled.branch}"
    if pulled.old == pulled.new:
        return f"{name}  {pulled.new[:12]}  up to date"
    count = "1 file" if pulled.files == 1 else f"{pulled.files:,} files"
    files = "not checked out" if pulled.path is None else f"{count} changed in {pulled.path}"
    return f"{name}  {pulled.old[:12]}..{pulled.new[:12]}  {files}"
