"""Sizes, ages and foreign text as people read them: the same in the command line, the log and the API."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")
_KEEP = {ord("\n"), ord("\t")}
_CONTROLS = {c: f"\\x{c:02x}" for c in [*range(32), *range(127, 160)] if c not in _KEEP}
_CONTROLS |= {c: f"\\u{c:04x}" for c in range(0xD800, 0xE000)}
_LINES = {ord("\n"): "\\n", ord("\t"): "\\t"}


def printable(text: str) -> str:
    """``text`` with control characters, except newline and tab, and lone surrogates written as escapes."""
    return text.translate(_CONTROLS)


def on_one_line(text: str) -> str:
    """``text`` as :func:`printable` has it, newline and tab escaped as well."""
    return printable(text).translate(_LINES)


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
