"""Discovery of plugins: isolated, with provenance, and with every conflict named.

Own loader instead of pluggy's ``load_setuptools_entrypoints``, which is all-or-nothing: one plugin that
raises at import would end the program, and the first of two equal names would win silently.

``discovery`` finds candidates, ``rules`` says what a record must look
like, ``loaded`` holds the plugins of this process and what they yield.
"""

from hyprstream_core.lazy import is_interrupt, load
from hyprstream_core.plugins.discovery import (
    BUILTIN,
    BUILTIN_DISTRIBUTION,
    GROUP,
    PACKAGES,
    Candidate,
    how_to_get,
    installed,
    missing,
)
from hyprstream_core.plugins.loaded import Plugins, PluginState, discover

__all__ = [
    "BUILTIN",
    "BUILTIN_DISTRIBUTION",
    "GROUP",
    "PACKAGES",
    "Candidate",
    "PluginState",
    "Plugins",
    "discover",
    "how_to_get",
    "installed",
    "is_interrupt",
    "load",
    "missing",
]
