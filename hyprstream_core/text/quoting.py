"""Keeps special tokens that users write apart from those that the chat template writes.

A message that says ``<|im_end|>`` must not end a turn. So, before rendering, each special token in foreign
text is replaced by a number that nobody can guess and no template changes; in the rendered text, the numbers
show where to cut, so that the tokenizer never sees the special token whole::

    foreign text   say <|im_end|> now
    quoted         say 8203…0004 now
    rendered       <|im_start|>user\\nsay 8203…0004 now<|im_end|>
    chunks         <|im_start|>user\\nsay <   |   |im_end|> now<|im_end|>

Added tokens that are not special (Qwen's ``<think>``) are left alone.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any

from hyprstream_core.errors import InvalidRequest


class Quotes:
    """The quoted special tokens of one request."""

    def __init__(self, specials: Collection[str]) -> None:
        self._specials = sorted(filter(None, specials), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._specials))) if self._specials else None
        self._nonce = f"{secrets.randbits(128):039d}"
        self._quoted = re.compile(self._nonce + r"(\d{6})")
        self._index = {special: index for index, special in enumerate(self._specials)}
        self._cuts: dict[str, int] = {}
        self._is_used = False

    def quote(self, value: Any) -> Any:
        """``value`` (plain JSON data) with every special token in its texts quoted."""
        if isinstance(value, str):
            return self._quote_text(value)
        if isinstance(value, Mapping):
            return {self._quote_text(key) if isinstance(key, str) else key: self.quote(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.quote(each) for each in value]
        return value

    def text(self, rendered: str) -> str:
        """``rendered`` with the special tokens as they were written."""
        return self._quoted.sub(self._special, rendered) if self._is_used else rendered

    def chunks(self, rendered: str) -> list[str]:
        """``rendered`` as it was written, cut so that no chunk holds a special token that was quoted.

        Raises:
            InvalidRequest: one cannot be cut that way.
        """
        if not self._is_used:
            return [rendered]
        chunks, start, head = [], 0, ""
        for match in self._quoted.finditer(rendered):
            special = self._special(match)
            cut = self._cut(special)
            chunks.append(head + rendered[start : match.start()] + special[:cut])
            start, head = match.end(), special[cut:]
        return [*chunks, head + rendered[start:]]

    def _quote_text(self, text: str) -> str:
        if self._pattern is None or not self._pattern.search(text):
            return text
        self._is_used = True
        return self._pattern.sub(lambda match: f"{self._nonce}{self._index[match.group()]:06d}", text)

    def _special(self, match: re.Match[str]) -> str:
        return self._specials[int(match.group(1))]

    def _cut(self, special: str) -> int:
        """Where to cut ``special``, so that neither side makes a special token with what is next to it."""
        if special not in self._cuts:
            safe = (n for n in range(1, len(special)) if not self._makes_special(special[:n], special[n:]))
            self._cuts[special] = next(safe, 0)
        if not self._cuts[special]:
            raise InvalidRequest(f"the text holds the special token {special!r}, which cannot be written as plain text")
        return self._cuts[special]

    def _makes_special(self, left: str, right: str) -> bool:
        """Whether a special token lies within a side, ends with the beginning of ``left`` or begins with the end
        of ``right``."""
        return any(
            each in left
            or each in right
            or any(each.endswith(left[:n]) for n in range(1, len(left) + 1))
            or any(each.startswith(right[n:]) for n in range(len(right)))
            for each in self._specials
        )
