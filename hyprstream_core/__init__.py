"""hyprstream: an inference engine whose models live in git.

Plugin authors import two names from here: ``hookimpl`` marks a hook implementation, ``API_VERSION``
is what their module's ``api_version`` is compared with. Importing this package costs nothing, so that
ctrl-C is noticed from the start: torch, structlog, rich and pluggy are imported when they are needed.
"""

TYPE_CHECKING = False  # as typing's, without importing it: see hyprstream_core.cli.entry
if TYPE_CHECKING:
    from typing import Any

    import pluggy

    hookimpl: pluggy.HookimplMarker

__version__ = "0.1.0"

API_VERSION = "1.0"
"""Version of the hook contract. A plugin with another major number is reported as incompatible."""

__all__ = ["API_VERSION", "__version__", "hookimpl"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> "Any":
        """``hookimpl``, when it is asked for: pluggy takes longer to import than all the rest of a start."""
        if name != "hookimpl":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import pluggy

        return pluggy.HookimplMarker("hyprstream")
