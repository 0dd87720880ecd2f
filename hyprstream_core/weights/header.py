"""The header of a safetensors file, read strictly: a lying file is refused before anything is allocated.

Format: https://huggingface.co/docs/safetensors (8-byte little-endian header length, JSON, data). The rules
are the reference implementation's, plus one it lacks: no name may occur twice.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from hyprstream_core.config import Limits
from hyprstream_core.errors import WeightsError
from hyprstream_core.excerpts import shown
from hyprstream_core.model_files import open_plain

ITEM_BYTES: Mapping[str, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: ``offset`` and ``num_bytes`` are from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)


@dataclass
class Spent:
    """What the files of one model that were read already take of its limits: header bytes, and tensors."""

    header_bytes: int = 0
    tensors: int = 0


def read_header(path: Path, limits: Limits, spent: Spent | None = None) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name, in file order.

    The limits are those of a whole model: ``spent`` is what its other files took, and grows by what this one takes.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: the header is too long, malformed, or does not cover the file exactly; names the
            file and, where there is one, the tensor.
    """
    spent = spent or Spent()
    with open_plain(path, WeightsError) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if _is_short_text(file, size, limits):
            raise WeightsError(
                f"{path.name}: {size} bytes of text, which looks like a pointer file",
                remedy="is a storage plugin missing? see: hyprstream plugins",
            )
        if size < 8 or length == 0 or length > size - 8:
            raise _bad(path, f"a header of {length} bytes does not fit in a file of {size}")
        spent.header_bytes += length
        if spent.header_bytes > limits.safetensors_header_bytes:
            raise _beyond(path, f"headers of {spent.header_bytes} bytes", limits.safetensors_header_bytes)
        raw = _parse(path, file.read(length))
    raw.pop("__metadata__", None)
    spent.tensors += len(raw)
    if spent.tensors > limits.safetensors_tensors:
        raise _beyond(path, f"{spent.tensors} tensors", limits.safetensors_tensors)
    entries = [_entry(path, name, value, 8 + length) for name, value in raw.items()]
    end = 8 + length
    for entry in sorted(entries, key=lambda e: (e.offset, e.num_bytes)):
        if entry.offset != end:
            kind = "overlaps" if entry.offset < end else "leaves a hole after"
            raise _bad(path, f"tensor {shown(entry.name)} {kind} what comes before it")
        end += entry.num_bytes
    if end != size:
        raise _bad(path, f"tensors end at byte {end}, the file at {size}")
    return {entry.name: entry for entry in entries}


def _is_short_text(file: BinaryIO, size: int, limits: Limits) -> bool:
    """Whether the file is a few lines of text, as pointers are and weights never; the position stays as it was."""
    if not 0 < size <= limits.pointer_bytes:
        return False
    position = file.tell()
    file.seek(0)
    content = file.read(limits.pointer_bytes)
    file.seek(position)
    try:
        return content.decode("utf-8").replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
    except UnicodeDecodeError:
        return False


def _parse(path: Path, header: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice = next(name for name, count in counts.items() if count > 1)
            raise _bad(path, f"{shown(twice)} occurs twice in the header")
        return table

    try:
        raw = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"the header is not JSON: {type(error).__name__}") from None
    if not isinstance(raw, dict):
        raise _bad(path, "the header is not a JSON object")
    return raw


def _entry(path: Path, name: str, value: Any, data_start: int) -> TensorEntry:
    if not isinstance(value, dict) or not isinstance(dtype := value.get("dtype"), str) or dtype not in ITEM_BYTES:
        got = value.get("dtype") if isinstance(value, dict) else value
        raise _bad(path, f"tensor {shown(name)} has dtype {shown(got)}; known: {', '.join(ITEM_BYTES)}")
    shape, offsets = value.get("shape"), value.get("data_offsets")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise _bad(path, f"tensor {shown(name)} has shape {shown(shape)} and offsets {shown(offsets)}")
    wanted = math.prod(shape) * ITEM_BYTES[dtype]
    if (got := offsets[1] - offsets[0]) != wanted:
        raise _bad(path, f"tensor {shown(name)} of shape {shown(shape)} needs {shown(wanted)} bytes, has {got}")
    return TensorEntry(name, dtype, tuple(shape), data_start + offsets[0], wanted)


def _counts(value: Any) -> TypeGuard[list[int]]:
    """A list of at most 64 integers that are not negative."""
    return (
        isinstance(value, list)
        and len(value) <= 64
        and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**63 for n in value)
    )


def _beyond(path: Path, what: str, maximum: int) -> WeightsError:
    return WeightsError(f"{path.name}: {what} in this model up to here, at most {maximum} are read")


def _bad(path: Path, message: str) -> WeightsError:
    return WeightsError(f"{path.name}: {message}", remedy="fetch the file again, or ask its publisher")
