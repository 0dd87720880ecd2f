"""How much a normaliser can lengthen text.

A ``tokenizer.json`` may replace each character by a thousand, or double the text thirty times: a short message
would fill the memory. So a tokenizer whose normaliser can grow text beyond a factor is refused when it is loaded.
"""

from __future__ import annotations

import json
from typing import Any

from hyprstream_core.errors import BadObject

MAX_GROWTH = 32.0
"""Characters per character. Unicode's own compatibility forms reach 18; sentencepiece models need 1."""


def check_growth(state: bytes | str | None) -> None:
    """Refuse a normaliser, given as the library's JSON for it (None: there is none).

    Raises:
        BadObject: it can lengthen text by more than :data:`MAX_GROWTH`.
    """
    growth = _growth(json.loads(state)) if state else 1.0
    if growth > MAX_GROWTH:
        raise BadObject(f"tokenizer.json: the normalizer lengthens text up to {growth:g} times, at most {MAX_GROWTH:g}")


def _growth(normalizer: dict[str, Any]) -> float:
    """An upper bound of the factor, by type. Normalisers not named here only drop, fold or compose characters."""
    kind = normalizer.get("type")
    if kind == "Sequence":
        product = 1.0
        for part in normalizer.get("normalizers", ()):
            product *= _growth(part)
        return product
    if kind == "Prepend":  # once per text, which may be a single character
        return 1.0 + len(normalizer["prepend"])
    if kind == "Replace":
        return max(1.0, _replacement(normalizer["pattern"], len(normalizer["content"])))
    if kind == "ByteLevel":
        return 4.0
    return 1.0


def _replacement(pattern: dict[str, str], length: int) -> float:
    if text := pattern.get("String"):
        return length / len(text)
    return 1.0 + length  # a regular expression may match the nothing between any two characters
