"""``hyprstream plugins``: what is installed, and what is wrong with it."""

from __future__ import annotations

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_table


@click.command()
@json_option
@click.pass_obj
def plugins(context: Context, as_json: bool) -> None:
    """List the installed plugins with their state.

    The state is ok, failed, incompatible (another hook contract) or blocked (by plugins.allow or
    plugins.disable). A plugin that is not ok is left out; the rest works.

    \b
    Examples:
      hyprstream plugins
      HYPRSTREAM_DISABLE_PLUGINS=demo hyprstream plugins --json
    """
    states = context.plugins.states
    context.configure()  # which refuses what no plugin knows
    if as_json:
        emit_json(
            [
                {
                    "name": s.name,
                    "distribution": s.distribution,
                    "version": s.version,
                    "state": s.state,
                    "reason": s.reason,
                    "hooks": list(s.hooks),
                }
                for s in states
            ]
        )
        return
    rows = [
        (s.name, f"{s.distribution} {s.version}", s.state, s.reason or ", ".join(map(_short, s.hooks))) for s in states
    ]
    emit_table(("NAME", "DISTRIBUTION", "STATE", "PROVIDES"), rows)


def _short(hook: str) -> str:
    return hook.removeprefix("hyprstream_")
