"""Records ↔ Cap'n Proto bytes.

A record is a frozen dataclass; its struct has the same name in the contract's ``.capnp`` file and its
fields in camelCase. ``X | None`` is a group ``{none, value}``, a mapping of texts to numbers a list of entries.
Fields that a dataclass requires must be there: an absent pointer is refused, where Cap'n Proto would make up "".

Rules for foreign bytes, in this order: whole size, segment table (the message must end where the table
says), traversal limit (what is read stays in proportion to what was sent), nesting limit, types, number
of records. Whatever pycapnp raises becomes :class:`InvalidRequest` without its text, which holds addresses.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from hyprstream_core.config import Limits
from hyprstream_core.errors import InternalError, InvalidRequest

R = TypeVar("R")
NESTING = 16
"""Levels of pointers that a message may have; the deepest record of ours has four."""
SEGMENTS = 64
"""Segments of one message; builders double their size, so no honest message comes near."""
COMMON = Path(__file__).parent / "schema" / "common.capnp"


def encode(record: object, schema: Path, limits: Limits) -> bytes:
    """``record`` as bytes.

    Raises:
        InvalidRequest: a value does not fit its field, or the message would be too large.
    """
    codec = _codec(type(record), schema)
    with _typed(codec.name, "does not fit its schema"):
        message = codec.struct.new_message()
        codec.write(message, record)
        data: bytes = message.to_bytes()
    if len(data) > limits.message_bytes:
        raise InvalidRequest(
            f"{codec.name} of {len(data)} bytes is too large for one message (at most {limits.message_bytes})",
            remedy="send less at once, or raise limits.message_bytes",
            code="rpc.too_large",
        )
    return data


def decode(data: bytes, record_type: type[R], schema: Path, limits: Limits) -> R:
    """The record in ``data``.

    Raises:
        InvalidRequest: with code ``rpc.malformed`` (or ``rpc.too_large``): not such a record.
    """
    codec = _codec(record_type, schema)
    check_framing(data, limits)
    words = len(data) // 8
    with (
        _typed(codec.name, "is not a valid message"),
        codec.struct.from_bytes(data, traversal_limit_in_words=4 * words + 64, nesting_limit=NESTING) as message,
    ):
        record: R = codec.read(message, [min(words, limits.message_records)])
    return record


def check_framing(data: bytes, limits: Limits) -> None:
    """Refuse bytes whose size is not exactly what their segment table says.

    Source: https://capnproto.org/encoding.html#serialization-over-a-stream
    """
    if len(data) > limits.message_bytes:
        raise InvalidRequest(
            f"message of {len(data)} bytes, expected at most {limits.message_bytes}", code="rpc.too_large"
        )
    if len(data) < 8 or len(data) % 8:
        raise _malformed(f"message of {len(data)} bytes, expected a positive multiple of 8")
    segments = struct.unpack_from("<I", data)[0] + 1
    if segments > SEGMENTS or len(data) < 4 + 4 * segments:
        raise _malformed(f"message claims {segments} segments, expected at most {SEGMENTS} and all of their sizes")
    table = 4 + 4 * segments
    expected = table + table % 8 + 8 * sum(struct.unpack_from(f"<{segments}I", data, 4))
    if expected != len(data):
        raise _malformed(f"message of {len(data)} bytes, expected {expected} by its segment table")


def _malformed(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="rpc.malformed")


@contextmanager
def _typed(name: str, what: str) -> Iterator[None]:
    """Every failure inside becomes ours; SECURITY: a KjException's text holds addresses, so it is dropped."""
    try:
        yield
    except InvalidRequest:
        raise
    except Exception as error:
        if isinstance(error, (InternalError, MemoryError)):
            raise
        detail = "" if type(error).__name__ == "KjException" else f": {type(error).__name__}"
        raise InvalidRequest(f"{name} {what}{detail}", code="rpc.malformed") from None


Write = Callable[[Any, str, Any], None]
Read = Callable[[Any, str, list[int]], Any]


@dataclasses.dataclass(frozen=True)
class _Field:
    """One field: its Python and wire names, and how to set and get it."""

    python: str
    wire: str
    required: bool
    pointer: bool
    write: Write
    read: Read


@dataclasses.dataclass(frozen=True)
class _Codec:
    """Everything known about one record type. ``read``'s budget is the number of records it may still make."""

    name: str
    struct: Any
    make: Callable[..., Any]
    fields: tuple[_Field, ...]

    def write(self, message: Any, record: object) -> None:
        for f in self.fields:
            f.write(message, f.wire, getattr(record, f.python))

    def read(self, message: Any, budget: list[int]) -> Any:
        budget[0] -= 1
        if budget[0] < 0:
            raise _malformed(f"{self.name}: more records than one message may hold")
        values = {}
        for f in self.fields:
            if f.required and f.pointer and not message._has(f.wire):
                raise _malformed(f"{self.name} without its field {f.wire!r}")
            values[f.python] = f.read(message, f.wire, budget)
        return self.make(**values)


@functools.cache
def _module(schema: Path) -> Any:
    """The compiled schema file; pycapnp is imported here, at the first message (it costs 60 ms)."""
    import capnp

    capnp.remove_import_hook()
    try:
        return capnp.load(str(schema))
    except Exception as error:
        raise InternalError(f"cannot load the schema {schema.name}: {type(error).__name__}") from None


def _codec(record_type: Any, schema: Path) -> _Codec:
    """The codec of a record type, made once."""
    return _compiled(record_type, schema)


@functools.cache
def _compiled(record_type: Any, schema: Path) -> _Codec:
    make: Callable[..., Any] = record_type
    name = record_type.__name__
    struct_type = getattr(_module(schema), name, None) or getattr(_module(COMMON), name, None)
    if struct_type is None or not dataclasses.is_dataclass(record_type):
        raise InternalError(f"{name} is no dataclass with a struct of its name in {schema.name}")
    hints = get_type_hints(record_type)
    wire_names = set(struct_type.schema.fieldnames)
    fields = []
    for f in dataclasses.fields(record_type):
        wire = _camel(f.name)
        if wire not in wire_names:
            raise InternalError(f"{schema.name}: struct {name} lacks the field {wire!r} of its dataclass")
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        write, read = _kind(hints[f.name], schema)
        pointer = hints[f.name] not in (int, float, bool) and not _optional(hints[f.name])
        fields.append(_Field(f.name, wire, required, pointer, write, read))
    return _Codec(name, struct_type, make, tuple(fields))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _optional(hint: Any) -> Any:
    """X of ``X | None``, else None."""
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    rest = [a for a in get_args(hint) if a is not type(None)]
    return rest[0] if len(rest) == 1 and len(get_args(hint)) == 2 else None


def _kind(hint: Any, schema: Path) -> tuple[Write, Read]:
    """How values of the type ``hint`` are written and read."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (str, int, float, bool, bytes):
        return setattr, lambda message, wire, _: getattr(message, wire)
    if inner := _optional(hint):
        return _optional_kind(_kind(inner, schema))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        if arguments[0] in (str, int, float, bool):
            return _write_scalars, lambda message, wire, _: tuple(getattr(message, wire))
        return _records_kind(_codec(arguments[0], schema))
    if origin in (dict, Mapping) and arguments == (str, float):
        return _write_entries, lambda message, wire, budget: dict(_read_entries(message, wire, budget))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        codec = _codec(hint, schema)
        return (
            lambda message, wire, value: codec.write(message.init(wire), value),
            lambda message, wire, budget: codec.read(getattr(message, wire), budget),
        )
    raise InternalError(f"records cannot hold {hint!r}")


def _write_scalars(message: Any, wire: str, values: tuple[Any, ...]) -> None:
    setattr(message, wire, list(values))


def _optional_kind(inner: tuple[Write, Read]) -> tuple[Write, Read]:
    def write(message: Any, wire: str, value: Any) -> None:
        if value is not None:
            inner[0](getattr(message, wire), "value", value)

    def read(message: Any, wire: str, budget: list[int]) -> Any:
        group = getattr(message, wire)
        return inner[1](group, "value", budget) if group.which() == "value" else None

    return write, read


def _records_kind(codec: _Codec) -> tuple[Write, Read]:
    def write(message: Any, wire: str, values: tuple[Any, ...]) -> None:
        for target, value in zip(message.init(wire, len(values)), values, strict=True):
            codec.write(target, value)

    def read(message: Any, wire: str, budget: list[int]) -> tuple[Any, ...]:
        return tuple(codec.read(item, budget) for item in getattr(message, wire))

    return write, read


def _write_entries(message: Any, wire: str, values: Mapping[str, Any]) -> None:
    for target, (key, value) in zip(message.init(wire, len(values)), values.items(), strict=True):
        target.key, target.value = key, value


def _read_entries(message: Any, wire: str, budget: list[int]) -> Iterator[tuple[str, Any]]:
    for entry in getattr(message, wire):
        budget[0] -= 1
        if budget[0] < 0:
            raise _malformed("more entries than one message may hold")
        yield entry.key, entry.value
