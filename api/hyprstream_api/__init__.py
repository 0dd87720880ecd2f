"""The OpenAI-compatible HTTP API of hyprstream, as a plugin: a client of the services, with no model inside."""

from __future__ import annotations

from collections.abc import Iterable

from hyprstream_core import hookimpl
from hyprstream_core.interfaces.command import Command

api_version = "1.0"


@hookimpl
def hyprstream_commands() -> Iterable[Command]:
    """The verb that serves."""
    yield Command(
        "server",
        help="Serve the OpenAI-compatible HTTP API.",
        load="hyprstream_api.command:server",
        group="Ask and serve",
    )
