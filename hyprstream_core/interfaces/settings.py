"""Configuration sections that plugins declare."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True)
class Settings:
    """A plugin's own section: ``[plugins.<name>]`` in TOML, ``HYPRSTREAM_<NAME>_<KEY>`` in the environment.

    ``name`` is the plugin's own, its entry point's: while the plugin is not loaded, its keys are known by that alone.
    ``struct`` is a frozen :class:`msgspec.Struct` type whose fields all have defaults and a docstring
    under them; unknown keys and bad values are refused like those of core.
    """

    name: str
    struct: type[msgspec.Struct]
