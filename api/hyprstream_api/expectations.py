"""What a field was given and what it takes, in the words of whoever writes a request.

msgspec says where a value is wrong; what is allowed there is read from the types themselves, so that both can
never differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, inspect

SHOWN_CHARS = 60
_STEP = re.compile(r"\.?([^.\[\]]+)|\[([0-9]+)\]")


def complaint(struct: type[Struct], raw: Any, path: str) -> str:
    """``got …, expected …`` for the value at ``path`` (``messages[0].role``) of ``raw``, a ``struct`` to be."""
    allowed: list[inspect.Type] = [inspect.type_info(struct)]
    value = raw
    for name, index in _STEP.findall(path):
        allowed = _items(allowed) if index else _fields(allowed, name, value)
        value = value[int(index)] if index else value.get(name)
    return f"got {_shown(value)}, expected {_any_of(allowed)}"


def _flat(types: Sequence[inspect.Type]) -> list[inspect.Type]:
    """``types`` with unions taken apart."""
    return [part for kind in types for part in (kind.types if isinstance(kind, inspect.UnionType) else [kind])]


def _items(types: Sequence[inspect.Type]) -> list[inspect.Type]:
    return _flat([kind.item_type for kind in types if isinstance(kind, inspect.ListType)])


def _fields(types: Sequence[inspect.Type], name: str, value: Any) -> list[inspect.Type]:
    """What field ``name`` may be in those of ``types`` that ``value`` says to be."""
    structs = [kind for kind in types if isinstance(kind, inspect.StructType)]
    if any(kind.tag_field == name for kind in structs):
        return [inspect.LiteralType(tuple(str(kind.tag) for kind in structs))]
    meant = [kind for kind in structs if kind.tag_field is None or value.get(kind.tag_field, kind.tag) == kind.tag]
    return _flat([field.type for kind in meant for field in kind.fields if field.encode_name == name])


def _shown(value: Any) -> str:
    """``value`` in JSON's terms, short."""
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN_CHARS else f"a string of {len(value)} characters"
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {_count(len(value))}" if value else f"{kind} with nothing in it"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)[:SHOWN_CHARS]


def _count(number: int) -> str:
    return f"{number} item{'' if number == 1 else 's'}"


def _any_of(types: Sequence[inspect.Type]) -> str:
    """The alternatives; null is not worth a word where there is another."""
    words = list(dict.fromkeys(_one(kind) for kind in types if not isinstance(kind, inspect.NoneType)))
    return " or ".join(words) or "null"


def _one(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return str((kind.extra_json_schema or {}).get("description") or _one(kind.type))
        case inspect.LiteralType():
            words = [repr(value) for value in kind.values]
            return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
        case inspect.IntType() | inspect.FloatType():
            return f"{'an integer' if isinstance(kind, inspect.IntType) else 'a number'}{_range(kind)}"
        case inspect.StrType():
            return f"a string{_length(kind, 'characters')}"
        case inspect.BoolType():
            return "true or false"
        case inspect.ListType(max_length=0):
            return "an empty list"
        case inspect.ListType():
            return f"a list{_length(kind, 'items')}"
        case inspect.DictType():
            return _object(kind)
        case _:
            return "an object"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    top = kind.lt - 1 if isinstance(kind, inspect.IntType) and kind.lt is not None else kind.le
    if kind.ge is not None:
        return f" from {kind.ge}{' up' if top is None else f' to {top}'}"
    low = "" if kind.gt is None else f" above {kind.gt}"
    return low if top is None else f"{low}, at most {top}"


def _length(kind: inspect.StrType | inspect.ListType | inspect.DictType, what: str) -> str:
    low, top = kind.min_length, kind.max_length
    if low and top:
        return f" of {low} to {top} {what}"
    if low:
        return f" of at least {low} {what.removesuffix('s') if low == 1 else what}"
    return f" of at most {top} {what}" if top is not None else ""


def _object(kind: inspect.DictType) -> str:
    """Named in full only where the values are not arbitrary."""
    if isinstance(kind.value_type, inspect.AnyType):
        return "an object"
    return f"an object{_length(kind, 'items')}, each key {_one(kind.key_type)} and each value {_one(kind.value_type)}"
