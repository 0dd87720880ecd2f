"""A JSON reader for request bodies that accepts exactly RFC 8259, one meaning per document.

The usual readers let through NaN, infinities by overflow (``1e999``), duplicate keys (the last one wins),
lone surrogates, and nesting that ends in a RecursionError. Here each of them is an :class:`InvalidJson`, and
where the offending value has a place in the document, ``param`` is its path.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import accumulate
from typing import Any

from hyprstream_core.errors import InvalidRequest

MAX_KEY_CHARS = 100
"""How much of one key an error message shows."""
MAX_NUMBER_CHARS = 64
"""Longest number: more digits than any double needs, few enough that converting it costs nothing."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class InvalidJson(InvalidRequest):
    """The body is not the JSON object that was expected."""

    code = "invalid_json"


def read_object(body: bytes, *, max_depth: int) -> dict[str, Any]:
    """The JSON object in ``body``.

    Raises:
        InvalidJson: not UTF-8, not JSON, not an object, deeper than ``max_depth``, a key given twice, a number
            that a double cannot hold, or text that is not Unicode.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJson(f"the body is not UTF-8: invalid byte at offset {error.start}") from None
    _check_depth(body, max_depth)
    reader = _Reader()
    value = reader.read(text)
    if not isinstance(value, dict):
        raise InvalidJson(f"the body is a JSON {_kind(value)}, expected an object")
    reader.check_numbers(value)
    if _SURROGATE.search(body):
        _check_unicode(value)
    return value


def _check_depth(body: bytes, max_depth: int) -> None:
    """Refuse deep nesting before a recursive parser sees it: a running sum of +1 and -1 at memory speed."""
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    steps = _STRING.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)
    if max(accumulate(memoryview(steps).cast("b")), default=0) > max_depth:
        raise InvalidJson(f"the body is nested too deeply: at most {max_depth} levels are allowed")


class _Reader:
    """The standard library's parser with every leniency turned into a finding."""

    def __init__(self) -> None:
        self._suspicious = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._not_a_number,
            parse_float=self._number,
            parse_int=self._integer,
        )

    def read(self, text: str) -> Any:
        try:
            return self._decoder.decode(text)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno} column {error.colno}"
            raise InvalidJson(f"the body is not valid JSON: {error.msg} at {where}") from None
        except RecursionError:
            raise InvalidJson("the body is nested too deeply") from None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = next(key for key, count in counts.items() if count > 1)[:MAX_KEY_CHARS]
            raise InvalidJson(f"the key {twice!r} is given more than once", param=twice)
        return found

    def _not_a_number(self, _: str) -> float:
        self._suspicious = True
        return math.nan

    def _number(self, text: str) -> float:
        value = float(text) if len(text) <= MAX_NUMBER_CHARS else math.inf
        self._suspicious |= math.isinf(value)
        return value

    def _integer(self, text: str) -> int | float:
        if len(text) <= MAX_NUMBER_CHARS:
            return int(text)
        self._suspicious = True
        return math.inf

    def check_numbers(self, value: Any) -> None:
        """Name the number that no JSON number can be; numbers are only walked when one was seen."""
        if self._suspicious and (path := _find_bad_number(value)):
            raise InvalidJson(f"{path}: expected a finite number of at most {MAX_NUMBER_CHARS} characters", param=path)


def _find_bad_number(root: Any) -> str:
    """Path of the first NaN or infinity below ``root``, in order of appearance.

    A place is a link to its parent and one step: paths are long where keys are, and only one of them is written.
    """
    pending: list[tuple[_Place | None, Any]] = [(None, root)]
    while pending:
        place, value = pending.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return _path(place)
        if isinstance(value, dict):
            pending += [((place, key), item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            pending += [((place, i), value[i]) for i in reversed(range(len(value)))]
    return ""


_Place = tuple["_Place | None", str | int]


def _path(place: _Place | None) -> str:
    """``messages[0].content`` for a chain of steps, each key shown up to :data:`MAX_KEY_CHARS`."""
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:MAX_KEY_CHARS]}")
    return "".join(reversed(steps)).removeprefix(".")


def _check_unicode(value: dict[str, Any]) -> None:
    """Refuse lone surrogates: they are no characters and no text that UTF-8 can carry."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidJson("the body has a lone surrogate (\\ud800 to \\udfff) in a string") from None


def _kind(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
