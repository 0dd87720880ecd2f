"""Parts that are named as ``"module:attribute"`` and imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from hyprstream_core.errors import PluginError


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
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise PluginError(f"cannot load {path!r}: {type(error).__name__}: {error}") from error
    return value


def is_interrupt(error: BaseException) -> bool:
    """Whether ``error`` is ctrl-C, or what became of it: Python before 3.12 wraps it in a RuntimeError when it
    strikes while a class is made, and a plugin may do the like."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, KeyboardInterrupt):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False
