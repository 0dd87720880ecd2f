"""Which plugins there are, and how the things that their records name are imported."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hyprstream_core.errors import PluginError, PluginMissing

GROUP = "hyprstream.plugins"
BUILTIN = "hyprstream_core.builtin"
BUILTIN_DISTRIBUTION = "hyprstream"

PACKAGES = {
    "Qwen": "hyprstream-qwen",
    "Llama": "hyprstream-llama",
    "Gemma": "hyprstream-gemma",
    "Mistral": "hyprstream-mistral",
    "cuda": "hyprstream-cuda",
    "rocm": "hyprstream-rocm",
    "demo": "hyprstream-demo",
    "server": "hyprstream-api",
}
"""First letters of what is missing → the distribution that provides it."""


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


def load(path: str) -> Any:
    """Import ``"module:attribute"``.

    Raises:
        PluginError: it cannot be imported or does not exist.
    """
    module, _, attribute = path.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:  # the code of others may raise whatever it likes
        raise PluginError(f"cannot load {path!r}: {type(error).__name__}: {error}") from error
    return value


def missing(what: str, name: str, known: Iterable[str]) -> PluginMissing:
    """The error for something that no installed plugin provides."""
    package = next((dist for prefix, dist in PACKAGES.items() if name.startswith(prefix)), None)
    remedy = f"pip install {package}" if package else "install the plugin that provides it; see: hyprstream plugins"
    return PluginMissing(
        f"{what} needs a plugin that is not installed; available: {', '.join(known) or 'none'}", remedy=remedy
    )
