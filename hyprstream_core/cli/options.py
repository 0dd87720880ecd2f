"""Options that several verbs share."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hyprstream_core.cli.context import Context

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """``--json``: the verb's result, and an error, as JSON. Passed to the verb as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def depth_options(function: F) -> F:
    """``--depth`` and ``--full``, passed to the verb as ``depth`` and ``full``; see :func:`chosen_depth`."""
    depth = click.IntRange(1, 2**31 - 2)
    function = click.option("--full", is_flag=True, help="The whole history, whatever clone.depth says.")(function)
    return click.option(
        "--depth", type=depth, metavar="N", help="Only the last N commits of each branch and tag (setting clone.depth)."
    )(function)


def chosen_depth(depth: int | None, *, full: bool) -> int | None:
    """The depth that is asked for: 0 is the whole history, None nothing in particular.

    Raises:
        click.UsageError: both options are given.
    """
    if full and depth is not None:
        raise click.UsageError("--depth and --full contradict each other")
    return 0 if full else depth


def _setting(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def store(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and isinstance(ctx.obj, Context):
            ctx.obj.flags[key] = (parameter.opts[0], value)
            ctx.obj.global_arguments += (parameter.opts[0], str(value))

    return store


def _config_file(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None and isinstance(ctx.obj, Context):
        ctx.obj.config_file = value
        ctx.obj.global_arguments += ("--config", str(value))


def _assignments(ctx: click.Context, _: click.Parameter, values: tuple[str, ...]) -> None:
    for text in values:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"got {text!r}, expected KEY=VALUE, such as server.port=8080")
        if isinstance(ctx.obj, Context):
            ctx.obj.flags[key.strip()] = (f"--set {key.strip()}", _toml_value(value.strip()))
            ctx.obj.global_arguments += ("--set", text)


def _toml_value(text: str) -> Any:
    """``text`` read as a TOML value; what is none is a string."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # tomllib's own, or more digits or brackets than Python takes
        return text
    return table["value"] if set(table) == {"value"} else text


def global_options(function: F) -> F:
    """The options in front of every verb. They are eager, so that ``--help`` sees them, and set keys."""
    options: list[Callable[[Any], Any]] = [
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            is_eager=True,
            callback=_config_file,
            help="TOML file to read instead of $HYPRSTREAM_CONFIG or $XDG_CONFIG_HOME/hyprstream/config.toml.",
        ),
        click.option(
            "--models-dir",
            metavar="DIR",
            expose_value=False,
            is_eager=True,
            callback=_setting("models_dir"),
            help="Where models live (setting models_dir).",
        ),
        click.option(
            "--log-level",
            metavar="LEVEL",
            expose_value=False,
            is_eager=True,
            callback=_setting("log.level"),
            help="debug, info, warning or error (setting log.level).",
        ),
        click.option(
            "--set",
            metavar="KEY=VALUE",
            multiple=True,
            expose_value=False,
            is_eager=True,
            callback=_assignments,
            help="Any setting by its key, above file and environment. Repeatable.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function
