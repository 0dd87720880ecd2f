"""``hyprstream status``: what is not committed in the worktrees of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hyprstream_core.cli.branch import upstream_text
from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, one_line, write

if TYPE_CHECKING:
    from hyprstream_core.repo.files.status import Change, WorktreeStatus

PATH_CHARS = 500
"""Longest path that is shown whole."""


@click.command()
@click.argument("reference", metavar="MODEL[:BRANCH]")
@json_option
@click.pass_obj
def status(context: Context, reference: str, as_json: bool) -> None:
    """Show the worktree of BRANCH, or every worktree of MODEL: commit, distance to its upstream, changed files.

    Files are listed as staged, changed, and not tracked. Large files count as changed when their content is.

    \b
    Examples:
      hyprstream status qwen3-0.6b
      hyprstream status qwen3-0.6b:experiment --json
    """
    from hyprstream_core.repo.refs import ModelRef
    from hyprstream_core.services.store import open_store

    parsed = ModelRef.parse(reference)
    found = open_store(context.settings, context.plugins).status(parsed.name, parsed.branch)
    if as_json:
        emit_json([_record(s) for s in found])
        return
    for number, one in enumerate(found):
        write("\n" * bool(number) + "\n".join(_lines(one)) + "\n")


def _lines(found: WorktreeStatus) -> list[str]:
    upstream = upstream_text(found.upstream)
    head = f"{found.worktree.id} at {found.commit[:12]}" + (f", tracks {upstream}" if upstream else "")
    lines = [one_line(head, 1000)]
    if found.head != f"refs/heads/{found.worktree.branch}":
        lines.append(f"  HEAD of the worktree is {one_line(found.head, 300)}")
    groups = (
        ("staged", [(c, c.staged) for c in found.changes if c.staged]),
        ("not staged", [(c, c.unstaged) for c in found.changes if c.unstaged and c.unstaged != "untracked"]),
        ("not tracked", [(c, "") for c in found.changes if c.unstaged == "untracked"]),
    )
    for title, changes in groups:
        if changes:
            lines.append(f"  {title}:")
            lines += [_change(change, kind) for change, kind in changes]
    return lines if found.changes else [*lines, "  nothing to commit"]


def _change(change: Change, kind: str) -> str:
    return f"    {f'{kind}: ' if kind else ''}{one_line(change.path, PATH_CHARS)}"


def _record(found: WorktreeStatus) -> dict[str, Any]:
    upstream = found.upstream
    return {
        "id": found.worktree.id,
        "branch": found.worktree.branch,
        "path": found.worktree.path,
        "head": found.head,
        "commit": found.commit,
        "upstream": upstream and {"ref": upstream.ref, "ahead": upstream.ahead, "behind": upstream.behind},
        "clean": not found.changes,
        "changes": [
            {"path": c.path, "code": c.code, "staged": c.staged or None, "unstaged": c.unstaged or None}
            for c in found.changes
        ],
    }
