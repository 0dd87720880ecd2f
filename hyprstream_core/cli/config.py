"""``hyprstream config``: what is in force, and why."""

from __future__ import annotations

import click
import msgspec

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_table


@click.group()
def config() -> None:
    """Show the configuration.

    \b
    Examples:
      hyprstream config show
      hyprstream config show --origin
      HYPRSTREAM_SERVER_PORT=8080 hyprstream config show --json
    """


@config.command()
@click.option("--origin", is_flag=True, help="Also show where each value comes from.")
@json_option
@click.pass_obj
def show(context: Context, origin: bool, as_json: bool) -> None:
    """Print every setting with its value in force.

    Later sources win: defaults, TOML file, environment, command-line flags. Secrets are shown as ***.

    \b
    Examples:
      hyprstream config show --origin
      hyprstream --set server.port=8080 config show --json
    """
    configuration = context.configure()
    values = msgspec.to_builtins(configuration.shown(), enc_hook=str)
    if as_json:
        origins = configuration.origins
        emit_json({k: {"value": v, "origin": origins[k]} for k, v in values.items()} if origin else values)
        return
    rows = [(key, _text(value)) for key, value in values.items()]
    if origin:
        emit_table(("KEY", "VALUE", "ORIGIN"), [(key, text, configuration.origins[key]) for key, text in rows])
    else:
        emit_table(("KEY", "VALUE"), rows)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text}" for name, text in value.items()) or "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    if isinstance(value, bool):
        return str(value).lower()
    return "(unset)" if value is None else str(value)
