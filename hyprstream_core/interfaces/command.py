"""Command-line verbs that plugins add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hyprstream_core.config import Settings
from hyprstream_core.configuration import Configuration

if TYPE_CHECKING:
    from hyprstream_core.plugins import Plugins


HEADINGS = ("Models", "Branches and history", "Ask and serve", "Set-up")
"""Headings of the list of verbs, in this order. A plugin may use one, or bring its own, which follows them."""

OTHERS = "Other verbs"
"""The heading of verbs that name none; it is the last."""


@dataclass(frozen=True)
class Command:
    """One verb of the ``hyprstream`` command.

    ``help`` is the one-line summary shown by ``hyprstream --help``, under the heading ``group``; ``load`` names a
    :class:`click.Command`, imported only when the verb runs or its own help is asked for. The command
    receives an :class:`Invocation` through ``@click.pass_obj``. It raises
    :class:`~hyprstream_core.errors.HyprstreamError`; the command line prints it and exits with 1.
    """

    name: str
    help: str
    load: str
    group: str = OTHERS


class Invocation(Protocol):
    """What a running verb may use: click's context object."""

    env: Mapping[str, str]
    """The environment of this run. Verbs read it here and nowhere else."""

    global_arguments: tuple[str, ...]
    """The flags in front of the verb, as typed: for a verb that runs ``hyprstream`` again."""

    @property
    def plugins(self) -> Plugins:
        """The loaded plugins."""

    @property
    def settings(self) -> Settings:
        """Core's settings, after defaults, file, environment and global flags."""

    def configure(self, flags: Mapping[str, tuple[str, Any]] | None = None) -> Configuration:
        """The whole configuration, with a verb's own flags on top.

        ``flags`` maps a key to the flag as typed and its value: ``{"server.port": ("--port", 8080)}``;
        a value of None was not given and is left out.

        Raises:
            ConfigError: a key is unknown, or a value not allowed.
        """

    def start_logging(self, *, quiet: bool = False) -> None:
        """Configure logging for this process by the settings ``log.level`` and ``log.format``.

        ``quiet``: unless a level was asked for, only warnings and errors.
        """
