"""``hyprstream branch``: list, make, delete and rename branches of a model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_note, emit_table, one_line

if TYPE_CHECKING:
    from hyprstream_core.repo.branches import Branch, Upstream, Which
    from hyprstream_core.repo.store import Store


@click.command()
@click.argument("model")
@click.argument("names", nargs=-1, metavar="[NAME [START]]...")
@click.option("-r", "--remotes", is_flag=True, help="List the remote's branches, as they were last fetched.")
@click.option("-a", "--all", "everything", is_flag=True, help="List local branches and the remote's.")
@click.option("-d", "--delete", is_flag=True, help="Delete the branches NAME...; first remove their worktrees.")
@click.option("-m", "--move", is_flag=True, help="Rename the branch NAME, with its worktree, to START.")
@click.option("-f", "--force", is_flag=True, help="With -d: also delete commits that no other branch has.")
@json_option
@click.pass_obj
def branch(
    context: Context,
    model: str,
    names: tuple[str, ...],
    remotes: bool,
    everything: bool,
    delete: bool,
    move: bool,
    force: bool,
    as_json: bool,
) -> None:
    """List the branches of MODEL, or make the branch NAME at START.

    START is a branch, tag or commit; without it the new branch is where the model's default branch is. At a
    branch of the remote it tracks that. A list marks with * what is checked out as a worktree.

    \b
    Examples:
      hyprstream branch qwen3-0.6b
      hyprstream branch qwen3-0.6b -a --json
      hyprstream branch qwen3-0.6b experiment v1.0
      hyprstream branch -m qwen3-0.6b experiment tuned
      hyprstream branch -d qwen3-0.6b tuned
    """
    from hyprstream_core.services.store import open_store

    _check_usage(names, remotes=remotes, everything=everything, delete=delete, move=move, force=force)
    store = open_store(context.settings, context.plugins)
    if delete:
        _delete(store, model, names, force=force, as_json=as_json)
    elif move:
        _rename(store, model, names[0], names[1], as_json=as_json)
    elif names:
        _create(store, model, names, as_json=as_json)
    else:
        _list(store, model, "all" if everything else "remote" if remotes else "local", as_json=as_json)


def _check_usage(
    names: tuple[str, ...], *, remotes: bool, everything: bool, delete: bool, move: bool, force: bool
) -> None:
    if delete and move:
        raise click.UsageError("--delete and --move exclude each other")
    if remotes and everything:
        raise click.UsageError("--remotes and --all exclude each other")
    if (remotes or everything) and (names or delete or move):
        raise click.UsageError("--remotes and --all only list branches; leave out NAME, --delete and --move")
    if delete and not names:
        raise click.UsageError("--delete needs the names of branches")
    if move and len(names) != 2:
        raise click.UsageError(f"--move needs the old and the new name, got {len(names)}")
    if force and not delete:
        raise click.UsageError("--force goes with --delete")
    if not delete and len(names) > 2:
        raise click.UsageError(f"got {len(names)} names, expected NAME and START at most")


def _list(store: Store, model: str, which: Which, *, as_json: bool) -> None:
    found = store.branches(model, which)
    if as_json:
        emit_json([dataclasses.asdict(b) for b in found])
    elif not found:
        emit_note(f"model {model} has no such branches")
    else:
        emit_table(("  BRANCH", "COMMIT", "UPSTREAM", "SUBJECT"), [_row(b) for b in found])


def _row(found: Branch) -> tuple[str, ...]:
    mark = "*" if found.worktree else " "
    return f"{mark} {found.name}", found.commit[:12], upstream_text(found.upstream) or "-", one_line(found.subject, 72)


def upstream_text(upstream: Upstream | None) -> str:
    """What a branch tracks, and how far it is from that: ``origin/main [ahead 1, behind 2]``."""
    if upstream is None:
        return ""
    from hyprstream_core.repo.git.reference_store import short_name

    if upstream.ahead is None or upstream.behind is None:
        return f"{short_name(upstream.ref)} [gone]"
    counts = [f"{what} {n}" for what, n in (("ahead", upstream.ahead), ("behind", upstream.behind)) if n]
    return short_name(upstream.ref) + (f" [{', '.join(counts)}]" if counts else "")


def _create(store: Store, model: str, names: tuple[str, ...], *, as_json: bool) -> None:
    made = store.create_branch(model, names[0], names[1] if len(names) > 1 else None)
    if as_json:
        emit_json({"created": names[0], "commit": made.commit})
    else:
        emit_note(f"branch {names[0]} of {made.model.name} is at {made.commit[:12]}")


def _delete(store: Store, model: str, names: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    deleted = store.delete_branches(model, names, force=force)
    if as_json:
        emit_json({"deleted": deleted})
    for name, commit in deleted.items() if not as_json else ():
        emit_note(f"deleted branch {name}, which was at {commit[:12]}")


def _rename(store: Store, model: str, old: str, new: str, *, as_json: bool) -> None:
    store.rename_branch(model, old, new)
    if as_json:
        emit_json({"renamed": {old: new}})
    else:
        emit_note(f"branch {old} is now {new}")
