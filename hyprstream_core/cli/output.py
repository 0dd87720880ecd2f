"""How results and errors are written: tables and JSON on stdout, errors on stderr.

Text from repositories and models can hold terminal control sequences; nothing of it reaches a
terminal unescaped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from hyprstream_core.errors import HyprstreamError

_KEEP = {ord("\n"), ord("\t")}
_CONTROLS = {c: f"\\x{c:02x}" for c in [*range(32), *range(127, 160)] if c not in _KEEP}
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def printable(text: str) -> str:
    """``text`` with control characters, except newline and tab, written as escapes."""
    return text.translate(_CONTROLS)


def has_colour(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether to colour ``stream``: a terminal that is not dumb, and no ``NO_COLOR``."""
    return stream.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


def emit_json(data: Any) -> None:
    """Write ``data`` as one JSON document to stdout."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def emit_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write aligned columns to stdout; the last column is not padded."""
    cells = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        click.echo("  ".join([*padded, row[-1]]).rstrip())


def emit_fields(fields: Mapping[str, object]) -> None:
    """Write ``name: value`` lines to stdout, aligned; empty values are left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value not in ("", None):
            click.echo(f"{name.ljust(width)}  {printable(str(value))}")


def emit_error(error: HyprstreamError, *, as_json: bool, env: Mapping[str, str]) -> None:
    """Write ``error`` to stderr: message and remedy, or one JSON object on one line."""
    if as_json:
        click.echo(json.dumps({"error": error.to_record()}, ensure_ascii=False, default=str), err=True)
        return
    prefix = "error:"
    if has_colour(sys.stderr, env):
        prefix = click.style(prefix, fg="red", bold=True)
    click.echo(f"{prefix} {printable(error.message)}", err=True)
    if error.remedy:
        click.echo(f"  {printable(error.remedy)}", err=True)


def emit_note(text: str) -> None:
    """Write a line for people to stderr."""
    click.echo(printable(text), err=True)


def size(num_bytes: float) -> str:
    """A size in decimal units with one decimal: ``2.3GB``, ``0B``."""
    value, unit = float(num_bytes), 0
    while value >= 999.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f}B" if unit == 0 else f"{value:.1f}{_UNITS[unit]}"


def age(seconds: float) -> str:
    """A time span in its largest unit: ``30m``, ``2h``, ``5d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def silence_stdout() -> None:
    """Point stdout at nothing, so that a closed pipe is not reported again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
