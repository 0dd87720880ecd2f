"""How much a normaliser can lengthen text.

A ``tokenizer.json`` may replace each character by a thousand, or double the text thirty times: a short message
would fill the memory. So a tokenizer whose normaliser can grow text beyond a factor is refused when it is loaded.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

from hyprstream_core.errors import BadObject
from hyprstream_core.excerpts import shown

MAX_GROWTH = 36.0
"""Characters per character: Unicode's compatibility forms reach 18, and lower case may double a character once more.
Models that people use need 1 to 18."""

FACTORS = {
    "NFC": 3.0,
    "NFD": 4.0,
    "NFKC": 18.0,
    "NFKD": 18.0,
    "Lowercase": 2.0,
    "BertNormalizer": 24.0,
    "ByteLevel": 4.0,
    "Nmt": 1.0,
    "Strip": 1.0,
    "StripAccents": 1.0,
}
"""Largest growth by type, where it does not depend on the normaliser's own values. Of Unicode's forms:
https://www.unicode.org/faq/normalization.html#12; Bert sets Chinese characters apart (3), decomposes (4), lowers (2).
"""

_CONSUMING = re.compile(r"(?:[^\\^$|?*+(){}\[\]]|\\[sSdDwWnrt]|\[[^\\\[\]&]+\])(?:\+|\{[1-9]\d*,?\d*\})?")
"""Regular expressions that match at least one character: one atom, once or more. What else there is may match none."""


def check_growth(state: bytes | str | None) -> None:
    """Refuse a normaliser, given as the library's JSON for it (None: there is none).

    Raises:
        BadObject: it can lengthen text by more than :data:`MAX_GROWTH`, or is of a type that nobody knows here.
    """
    growth = _growth(json.loads(state)) if state else 1.0
    if growth > MAX_GROWTH:
        raise BadObject(f"tokenizer.json: the normalizer lengthens text up to {growth:g} times, at most {MAX_GROWTH:g}")


def _growth(normalizer: dict[str, Any]) -> float:
    """An upper bound of the factor, by type; that of a sequence is the product of its parts' bounds."""
    kind = normalizer.get("type")
    if kind == "Sequence":
        return math.prod(_growth(part) for part in normalizer.get("normalizers", ()))
    if kind == "Prepend":  # once per text, which may be a single character
        return 1.0 + len(normalizer["prepend"])
    if kind == "Replace":
        return max(1.0, _replacement(normalizer["pattern"], len(normalizer["content"])))
    if kind == "Precompiled":
        return max(1.0, _longest(base64.b64decode(normalizer["precompiled_charsmap"])))
    if kind not in FACTORS:
        raise BadObject(f"tokenizer.json: the normalizer {shown(kind)} is not known; known: {', '.join(FACTORS)}")
    return FACTORS[kind]


def _replacement(pattern: dict[str, str], length: int) -> float:
    if text := pattern.get("String"):
        return length / len(text)
    if _CONSUMING.fullmatch(pattern.get("Regex", "")):
        return float(length)
    return 1.0 + length  # it may match the nothing between any two characters


def _longest(charsmap: bytes) -> float:
    """Characters of the longest replacement in sentencepiece's table: the size of a trie, the trie, and texts that end
    with a zero byte (``precompiled_charsmap`` in sentencepiece's ``normalizer.cc``)."""
    texts = charsmap[4 + int.from_bytes(charsmap[:4], "little") :]
    return float(max((len(text.decode("utf-8", "replace")) for text in texts.split(b"\0")), default=0))
