"""The small files of a model, read as files that anybody may have written.

Each is bounded in size and never read through a link; JSON must be an object, numbers finite. Several packages need
a fact of ``config.json``: what it is, is said here once. No torch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hyprstream_core.errors import HyprstreamError, WeightsError
from hyprstream_core.excerpts import one_line, shown

DTYPES = ("float32", "bfloat16", "float16")
"""Floating point types that models are computed in, by torch's names."""
MAX_VOCAB = 2**24
MAX_POSITIONS = 2**26
MAX_NAMES = 16
"""Architectures of one model that are looked at."""
NAME_CHARS = 100

Refuse = Callable[[str], HyprstreamError]
"""Makes the error for a file that is not what it should be."""


def bad_config(message: str) -> WeightsError:
    """The error for a configuration file that cannot be used."""
    return WeightsError(message, code="weights.bad_config")


def bad_value(file: str, key: str, value: Any, expected: str) -> WeightsError:
    """The error for one value of such a file."""
    return WeightsError(f"{file}: {key!r} is {shown(value)}, expected {expected}", code="weights.bad_config", param=key)


def open_plain(path: Path, refuse: Refuse = bad_config) -> BinaryIO:
    """Open a plain file for reading.

    Raises:
        FileNotFoundError: there is none.
        HyprstreamError: ``refuse``'s, when it is a link, a folder, or cannot be read.
    """
    try:
        return open(path, "rb", opener=_open)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or "no file has such a name"
        raise refuse(f"{shown(path.name)} cannot be read: {reason}, expected a plain file") from error


def _open(path: str, flags: int) -> int:
    # SECURITY: the folder comes from a repository; a link could lead out of it, a pipe could block.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def read_text(path: Path, maximum: int, refuse: Refuse = bad_config) -> str | None:
    """The text of a file of at most ``maximum`` bytes, None when there is none.

    Raises:
        HyprstreamError: ``refuse``'s, when it is too large, no plain file, or not UTF-8.
    """
    try:
        with open_plain(path, refuse) as file:
            data = file.read(maximum + 1)
    except FileNotFoundError:
        return None
    if len(data) > maximum:
        raise refuse(f"{path.name} is larger than {maximum} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise refuse(f"{path.name} is not UTF-8 at byte {error.start}") from error


def read_object(path: Path, maximum: int, refuse: Refuse = bad_config) -> dict[str, Any] | None:
    """The JSON object in a file of at most ``maximum`` bytes, None when there is none.

    Raises:
        HyprstreamError: as :func:`read_text`, and when it is not JSON or not an object.
    """
    source = read_text(path, maximum, refuse)
    if source is None:
        return None
    try:
        record = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise refuse(f"{path.name} is not valid JSON: {one_line(str(error), NAME_CHARS)}") from error
    if not isinstance(record, dict):
        raise refuse(f"{path.name} holds a {type(record).__name__}, expected an object")
    return record


def finite(value: Any) -> float | None:
    """``value`` as a float; None when it is no number, no finite one, or larger than a float can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def architectures(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Hugging Face's names of the model's classes; a name that is too long to be one is cut."""
    names = config.get("architectures")
    return tuple(one_line(str(n), NAME_CHARS) for n in names[:MAX_NAMES]) if isinstance(names, list) else ()


def model_type(config: Mapping[str, Any]) -> str:
    """Hugging Face's name of the family, "" when there is none."""
    return one_line(str(config.get("model_type") or ""), NAME_CHARS)


def dtype(config: Mapping[str, Any]) -> str:
    """The checkpoint's dtype by torch's name; it may be one that nobody knows, cut like a name."""
    return one_line(str(config.get("dtype") or config.get("torch_dtype") or "float32"), NAME_CHARS)
