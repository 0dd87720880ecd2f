"""Sizes and ages as people read them: the same in the command line's tables and the API's ``owned_by``."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(num_bytes: float) -> str:
    """A size in decimal units with one decimal: ``2.3GB``, ``0B``."""
    value, unit = float(num_bytes), 0
    while value >= 999.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f}B" if unit == 0 else f"{value:.1f}{_UNITS[unit]}"


def age(seconds: float) -> str:
    """A time span in its largest unit: ``45s``, ``30m``, ``2h``, ``5d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
