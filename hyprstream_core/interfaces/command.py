"""Command-line verbs that plugins add."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One verb of the ``hyprstream`` command.

    ``help`` is the one-line summary shown by ``hyprstream --help``; ``load`` names a
    :class:`click.Command`, imported only when the verb runs or its own help is asked for.
    """

    name: str
    help: str
    load: str
