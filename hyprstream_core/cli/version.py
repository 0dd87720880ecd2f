"""``hyprstream version``."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import click

from hyprstream_core import API_VERSION, __version__
from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_fields, emit_json


@click.command()
@json_option
@click.pass_obj
def version(context: Context, as_json: bool) -> None:
    """Print the versions of hyprstream, its plugins, Python and torch.

    \b
    Examples:
      hyprstream version
      hyprstream version --json
    """
    plugins = {s.distribution: s.version for s in context.plugins.states if s.distribution != "hyprstream"}
    facts = {
        "hyprstream": __version__,
        "plugin_api": API_VERSION,
        "python": platform.python_version(),
        "torch": _version_of("torch"),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    if as_json:
        emit_json({**facts, "plugins": plugins})
    else:
        emit_fields({**facts, **plugins})


def _version_of(distribution: str) -> str:
    try:
        return installed_version(distribution)
    except PackageNotFoundError:
        return "not installed"
