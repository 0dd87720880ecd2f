"""What others wrote, cut so that it can stand in a message, a status or a record.

A name in a file may have megabytes, or hold half a character: it must neither fill a reply nor make one impossible.
"""

from __future__ import annotations

import reprlib
from typing import Any

SHOWN_CHARS = 100
"""Length of a value in a message."""


def shown(value: Any) -> str:
    """``value`` as Python writes it (control characters and lone surrogates escaped), in at most 100 characters."""
    writer = reprlib.Repr()
    writer.maxstring = writer.maxother = SHOWN_CHARS
    short = writer.repr(value)
    return short if len(short) <= SHOWN_CHARS else f"{short[: SHOWN_CHARS - 1]}…"


def one_line(text: str, maximum: int) -> str:
    """``text`` in one line of at most ``maximum`` characters, all of which UTF-8 can carry."""
    line = " ".join(text[: 4 * maximum].split()).encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= maximum and len(text) <= 4 * maximum else f"{line[: maximum - 1]}…"
