"""The demo distribution: a tiny trained model behind ``demo://chat``, and the ``demo`` verb.

The example of a transport plugin: this module yields records, :mod:`hyprstream_demo.transport` is
imported when a ``demo://`` URL is contacted.
"""

from __future__ import annotations

from collections.abc import Iterable

from hyprstream_core import hookimpl
from hyprstream_core.interfaces.command import Command
from hyprstream_core.interfaces.transport import GitTransport

api_version = "1.0"


@hookimpl
def hyprstream_git_transports() -> Iterable[GitTransport]:
    """``demo://`` URLs."""
    yield GitTransport("demo", schemes=("demo",), load="hyprstream_demo.transport:DemoTransport")


@hookimpl
def hyprstream_commands() -> Iterable[Command]:
    """``hyprstream demo``."""
    yield Command(
        "demo",
        help="A guided tour: clone, ask and serve the demo model.",
        load="hyprstream_demo.demo:demo",
        group="Ask and serve",
    )
