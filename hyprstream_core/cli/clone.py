"""``hyprstream clone``: fetch a model from a git remote."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.facts import model_facts
from hyprstream_core.cli.interrupts import ignore_interrupts
from hyprstream_core.cli.options import chosen_depth, depth_options, json_option
from hyprstream_core.cli.output import emit_json, emit_note
from hyprstream_core.cli.progress import transfer_progress
from hyprstream_core.telemetry import Event

if TYPE_CHECKING:
    from hyprstream_core.repo.records import Model, Worktree


@click.command()
@click.argument("url")
@click.option("--name", metavar="NAME", help="Name of the model; default: the last part of the URL.")
@click.option("-b", "--branch", metavar="BRANCH", help="Branch to check out; default: the remote's own default.")
@click.option("--lfs-url", metavar="URL", help="Fetch large files from this LFS server, now and later.")
@depth_options
@json_option
@click.pass_obj
def clone(
    context: Context,
    url: str,
    name: str | None,
    branch: str | None,
    lfs_url: str | None,
    depth: int | None,
    full: bool,
    as_json: bool,
) -> None:
    """Fetch the model at URL with all its branches and tags, and check out one branch.

    URL is one of https://, ssh://, git:// and file://, user@host:path for ssh, or a folder. For a
    private model see clone.tokens, clone.netrc and hub.token in: hyprstream config show.

    The history comes whole, or as long as --depth or the setting clone.depth says; hyprstream
    fetch --full completes it later.

    Large files are fetched and verified before anything is visible. A clone that fails or is
    interrupted leaves no model behind and can simply be repeated; an interrupt in the last
    moment, when the model is already becoming visible, comes too late and the clone succeeds.
    What has arrived of large files is kept for a week: the same command continues there.

    \b
    Examples:
      hyprstream clone demo://chat
      hyprstream clone https://huggingface.co/Qwen/Qwen3-0.6B
      hyprstream clone git@host.example:org/model.git
      hyprstream clone file:///srv/git/my-model.git --name mine -b experiment
      hyprstream clone https://huggingface.co/Qwen/Qwen3-0.6B --depth 1
      hyprstream clone git://host.example/model --lfs-url https://lfs.example/org/model
    """
    from hyprstream_core.services.store import open_store

    wanted = chosen_depth(depth, full=full)
    store = open_store(context.settings, context.plugins)
    with transfer_progress(context.env, quiet=as_json) as progress:
        model = store.clone(
            url, name=name, branch=branch, lfs_url=lfs_url, depth=wanted, progress=progress,
            publishing=ignore_interrupts,
        )  # fmt: skip
    worktree = model.worktrees()[0]
    _tell(context, model, worktree)
    problem = model_facts(context, worktree.path)["problem"]
    if as_json:
        emit_json(
            {
                "name": model.name,
                "uuid": model.uuid,
                "url": model.url,
                "branch": worktree.branch,
                "commit": worktree.oid,
                "path": worktree.path,
                "driver": worktree.driver,
                "problem": problem,
            }
        )
        return
    click.echo(f"{worktree.id}  {worktree.oid[:12]}  {worktree.path}")
    if problem:
        emit_note(f"warning: not a model hyprstream can serve: {problem}")


def _tell(context: Context, model: Model, worktree: Worktree) -> None:
    """Tell the observers; what they print is no part of our output."""
    fields = {"model": model.name, "uuid": model.uuid, "url": model.url}
    with redirect_stdout(sys.stderr):
        context.plugins.observe(Event("model.cloned", {**fields, "branch": worktree.branch, "commit": worktree.oid}))
