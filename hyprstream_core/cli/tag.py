"""``hyprstream tag``: list, make and delete tags of a model."""

from __future__ import annotations

import dataclasses

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_note, emit_table, one_line


@click.command()
@click.argument("model")
@click.argument("names", nargs=-1, metavar="[NAME [REF]]...")
@click.option("-m", "--message", metavar="TEXT", help="Make an annotated tag that says TEXT, who made it and when.")
@click.option("-d", "--delete", is_flag=True, help="Delete the tags NAME... .")
@click.option("-f", "--force", is_flag=True, help="Move a tag that exists.")
@json_option
@click.pass_obj
def tag(
    context: Context,
    model: str,
    names: tuple[str, ...],
    message: str | None,
    delete: bool,
    force: bool,
    as_json: bool,
) -> None:
    """List the tags of MODEL, or tag the commit at REF as NAME.

    REF is a branch, tag or commit; without it the commit of the model's default branch is tagged. An annotated tag
    names its maker: GIT_COMMITTER_NAME and GIT_COMMITTER_EMAIL, else the settings user.name and user.email, else
    your account.

    \b
    Examples:
      hyprstream tag qwen3-0.6b
      hyprstream tag qwen3-0.6b before-tuning
      hyprstream tag qwen3-0.6b v1.1 experiment -m "Better at arithmetic"
      hyprstream tag -d qwen3-0.6b before-tuning
    """
    from hyprstream_core.repo.identity import committer
    from hyprstream_core.services.store import open_store

    if delete and (message is not None or force):
        raise click.UsageError("--delete goes without --message and --force")
    if (delete or force or message is not None) and not names:
        raise click.UsageError("the name of a tag is missing")
    if not delete and len(names) > 2:
        raise click.UsageError(f"got {len(names)} names, expected NAME and REF at most")
    store = open_store(context.settings, context.plugins)
    if delete:
        deleted = store.delete_tags(model, names)
        if as_json:
            emit_json({"deleted": deleted})
        for name, oid in deleted.items() if not as_json else ():
            emit_note(f"deleted tag {name}, which was {oid[:12]}")
    elif names:
        ref = names[1] if len(names) > 1 else None
        tagger = committer(context.settings.user, context.env) if message is not None else None
        made = store.create_tag(model, names[0], ref, message=message, tagger=tagger, force=force)
        if as_json:
            emit_json({"created": names[0], "commit": made.commit})
        else:
            emit_note(f"tag {names[0]} of {made.model.name} is at {made.commit[:12]}")
    else:
        _list(context, model, as_json=as_json)


def _list(context: Context, model: str, *, as_json: bool) -> None:
    from hyprstream_core.services.store import open_store

    found = open_store(context.settings, context.plugins).tags(model)
    if as_json:
        emit_json([dataclasses.asdict(t) for t in found])
    elif not found:
        emit_note(f"model {model} has no tags")
    else:
        rows = [(t.name, t.kind, (t.commit or t.target)[:12], one_line(t.subject, 72)) for t in found]
        emit_table(("TAG", "KIND", "COMMIT", "SUBJECT"), rows)
