"""``hyprstream log``: the history of a branch, tag or commit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, one_line, write

if TYPE_CHECKING:
    from hyprstream_core.repo.git.commits import Person
    from hyprstream_core.repo.git.history import LogEntry


@click.command()
@click.argument("reference", metavar="MODEL[:REF]")
@click.option("-n", "--number", type=click.IntRange(min=1), metavar="N", help="Only the N latest commits.")
@json_option
@click.pass_obj
def log(context: Context, reference: str, number: int | None, as_json: bool) -> None:
    """Show commits, the latest first: id, date, author, the branches and tags at it, subject.

    REF is a branch, tag or commit; without it the model's default branch.

    \b
    Examples:
      hyprstream log qwen3-0.6b -n 5
      hyprstream log qwen3-0.6b:v1.0 --json
    """
    from hyprstream_core.services.store import open_store

    store = open_store(context.settings, context.plugins)
    entries: Iterator[LogEntry] = itertools.islice(store.log(reference), number)
    if as_json:
        emit_json([_record(entry) for entry in entries])
        return
    for entry in entries:
        write(f"{_line(entry)}\n")


_SHOWN = 6
"""Names of one commit that are shown to people; --json has all."""


def _line(entry: LogEntry) -> str:
    commit = entry.commit
    day = commit.author.when[:16].replace("T", " ")
    names = [one_line(_short(ref), 80) for ref in entry.refs[:_SHOWN]]
    names += [f"{len(entry.refs) - _SHOWN} more"] if len(entry.refs) > _SHOWN else []
    at = f" ({', '.join(names)})" if names else ""
    return f"{commit.oid[:12]}  {day}  {one_line(commit.author.name, 40)}{at}  {one_line(commit.subject, 200)}".rstrip()


def _short(ref: str) -> str:
    from hyprstream_core.repo.git.reference_store import short_name

    return f"tag: {short_name(ref)}" if ref.startswith("refs/tags/") else short_name(ref)


def _record(entry: LogEntry) -> dict[str, Any]:
    commit = entry.commit
    return {
        "commit": commit.oid,
        "parents": commit.parents,
        "author": _person(commit.author),
        "committer": _person(commit.committer),
        "subject": commit.subject,
        "refs": entry.refs,
    }


def _person(person: Person) -> dict[str, str]:
    return {"name": person.name, "email": person.email, "date": person.when}
