"""hyprstream: an inference engine whose models live in git.

Plugin authors import two names from here: ``hookimpl`` marks a hook implementation, ``API_VERSION``
is what their module's ``api_version`` is compared with. Importing this package costs milliseconds:
torch, structlog and rich are imported by whoever needs them, when they need them.
"""

import pluggy

__version__ = "0.1.0"

API_VERSION = "1.0"
"""Version of the hook contract. A plugin with another major number is reported as incompatible."""

hookimpl = pluggy.HookimplMarker("hyprstream")

__all__ = ["API_VERSION", "__version__", "hookimpl"]
