"""How results and errors are written: tables and JSON on stdout, errors on stderr.

Text from repositories and models can hold terminal control sequences; nothing of it reaches a
terminal unescaped.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from hyprstream_core.errors import HyprstreamError
from hyprstream_core.units import printable as printable  # part of how results are written

_TURNS = {c: f"\\u{c:04x}" for c in [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029]}
"""What changes the direction of text, and what some terminals take for the end of a line."""
_RAW = re.compile("[\x7f-\x9f\ud800-\udfff]")
"""DEL, the C1 controls and lone surrogates, which occur in JSON inside of strings alone."""


def one_line(text: str, maximum: int) -> str:
    """Foreign ``text`` for a line of its own or a cell: nothing that moves the cursor or turns the order of what
    is around it, and not endless."""
    line = " ".join(printable(text[: 4 * maximum]).translate(_TURNS).split())
    return line if len(line) <= maximum else f"{line[: maximum - 1]}…"


def has_colour(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether to colour ``stream``: a terminal that is not dumb, and no ``NO_COLOR``."""
    return stream.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


def write(text: str, what: str = "the output") -> None:
    """Write ``text`` to stdout, at once.

    Raises:
        HyprstreamError: it cannot be written (a full disk); says ``what`` is lost.
    """
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:  # whoever reads has read enough
        raise
    except OSError as error:
        raise not_written(what, error) from None


def not_written(what: str, error: OSError) -> HyprstreamError:
    """The error for ``what`` stdout did not take."""
    return HyprstreamError(
        f"cannot write {what}: {error.strerror}", remedy="look at where standard output goes", code="os.failed"
    )


def emit_json(data: Any, what: str = "the output") -> None:
    """Write ``data`` as one JSON document to stdout; ``what`` it is, for when that fails."""
    write(f"{_json(data, indent=2)}\n", what)


def _json(data: Any, indent: int | None = None) -> str:
    """``data`` as JSON in UTF-8. What ``json`` leaves as it is and a terminal would obey is escaped; so is what
    UTF-8 cannot hold."""
    text = json.dumps(data, indent=indent, ensure_ascii=False, default=str)
    return _RAW.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def emit_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write aligned columns to stdout; the last column is not padded."""
    cells = [[_on_its_line(cell).translate(_TURNS) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        write("  ".join([*padded, row[-1]]).rstrip() + "\n")


def emit_fields(fields: Mapping[str, object]) -> None:
    """Write ``name: value`` lines to stdout, aligned; empty values are left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value not in ("", None):
            write(f"{name.ljust(width)}  {_on_its_line(value)}\n")


def _on_its_line(value: object) -> str:
    """``value`` for a line of ours, which nothing foreign may end."""
    return printable(str(value)).replace("\n", " ")


def emit_error(error: HyprstreamError, *, as_json: bool, env: Mapping[str, str]) -> None:
    """Write ``error`` to stderr: message and remedy, or one JSON object on one line."""
    if as_json:
        text = _json({"error": error.to_record()})
    else:
        prefix = click.style("error:", fg="red", bold=True) if has_colour(sys.stderr, env) else "error:"
        text = f"{prefix} {printable(error.message)}" + (f"\n  {printable(error.remedy)}" if error.remedy else "")
    with contextlib.suppress(OSError):  # nobody reads stderr; the exit code still says it
        click.echo(text, err=True)


def emit_note(text: str) -> None:
    """Write a line for people to stderr."""
    click.echo(printable(text), err=True)


def silence_stdout() -> None:
    """Point stdout at nothing, so that a closed pipe is not reported again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
