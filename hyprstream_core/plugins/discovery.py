"""Which plugins there are, and what to say of those that there are not."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hyprstream_core.errors import PluginMissing

if TYPE_CHECKING:
    from hyprstream_core.plugins.loaded import PluginState

GROUP = "hyprstream.plugins"
BUILTIN = "hyprstream_core.builtin"
BUILTIN_DISTRIBUTION = "hyprstream"

PACKAGES = {"Qwen3ForCausalLM": "hyprstream-qwen", "demo": "hyprstream-demo", "server": "hyprstream-api"}
"""What may be missing → the distribution that provides it. Only distributions that exist."""


@dataclass(frozen=True)
class Candidate:
    """A plugin that may be loaded: an entry point, or one of ours. ``find`` imports its module."""

    name: str
    distribution: str
    version: str
    find: Callable[[], Any]

    @property
    def is_builtin(self) -> bool:
        """Whether this is core's own set of parts, which no other plugin may replace."""
        return self.name == "builtin" and self.distribution == BUILTIN_DISTRIBUTION


def installed() -> list[Candidate]:
    """Every plugin of this environment, ours first, the others by name."""
    builtin = Candidate(
        "builtin", BUILTIN_DISTRIBUTION, _version(BUILTIN_DISTRIBUTION), lambda: importlib.import_module(BUILTIN)
    )
    found = [
        Candidate(
            point.name, point.dist.name if point.dist else "?", point.dist.version if point.dist else "?", point.load
        )
        for point in importlib.metadata.entry_points(group=GROUP)
    ]
    return [builtin, *sorted(found, key=lambda c: (c.name, c.distribution))]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def missing(what: str, name: str, known: Iterable[str], states: Iterable[PluginState] = ()) -> PluginMissing:
    """The error for something that no plugin provides; ``states`` are those of the plugins of this process."""
    remedy = how_to_get(name, states) or "use what is available, or install a plugin that provides it"
    return PluginMissing(
        f"no installed plugin provides {what}; available: {', '.join(known) or 'nothing'}", remedy=remedy
    )


def how_to_get(name: str, states: Iterable[PluginState]) -> str | None:
    """What to do for the part ``name`` of one of our distributions: mend the plugin that is there, or install it."""
    package = PACKAGES.get(name)
    ours = [state for state in states if state.distribution.lower().replace("_", "-") == package]
    if broken := next((state for state in ours if state.state != "ok"), None):
        return f"{package} is installed, but {broken.problem}; see: hyprstream plugins"
    return f"pip install {package}" if package and not ours else None
