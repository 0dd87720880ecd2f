"""Token ids to text, piece by piece.

Whatever the pieces are, joined they are what decoding all ids at once gives; none ends in half a
character. Two ways, by the tokenizer's decoder:

- byte level (GPT-2, Qwen, Llama 3): each token is bytes, so an incremental UTF-8 decoder is exact, for any ids;
- anything else (sentencepiece styles): the library decodes a short window of the latest tokens, since what
  a token looks like depends on its neighbours (a first space is dropped, byte tokens join into characters).
  This is the algorithm of text-generation-inference's ``decode_token``. The one difference from decoding at
  once: when byte tokens form invalid UTF-8, the number of U+FFFD may differ.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Protocol

from hyprstream_core.text.tokenizer import Tokenizer

REPLACEMENT = "\ufffd"
LONGEST_HOLD = 8
"""Tokens that may wait for the rest of a character. One character is at most four byte tokens."""


class Detokeniser(Protocol):
    """Turns one answer's tokens into text. One instance per answer."""

    def feed(self, ids: Iterable[int]) -> str:
        """Text that ``ids`` complete."""

    def finish(self) -> str:
        """The rest: U+FFFD for a character that was never completed."""


def detokeniser(tokenizer: Tokenizer) -> Detokeniser:
    """The right detokeniser for ``tokenizer``. Special tokens have no text."""
    return ByteDetokeniser(tokenizer) if tokenizer.byte_level else WindowDetokeniser(tokenizer)


class ByteDetokeniser:
    """For tokenizers whose tokens are bytes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, ids: Iterable[int]) -> str:
        """Text that ``ids`` complete."""
        special = self._tokenizer.special_ids
        data = b"".join(self._tokenizer.token_bytes(index) for index in ids if index not in special)
        return self._decoder.decode(data)

    def finish(self) -> str:
        """U+FFFD when a character is incomplete."""
        return self._decoder.decode(b"", final=True)


class WindowDetokeniser:
    """For any tokenizer.

    ``_ids[:_read]`` has been given out; decoding it again with what follows shows what is new::

        _ids:   a  b  c │ d  e
                        └ _read
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._read = 0

    def feed(self, ids: Iterable[int]) -> str:
        """Text that ``ids`` complete."""
        return "".join(self._step(index) for index in ids)

    def finish(self) -> str:
        """What was held back."""
        before, now = self._decode()
        self._ids, self._read = [], 0
        return now[len(before) :]

    def _step(self, index: int) -> str:
        if index in self._tokenizer.special_ids or self._tokenizer.token(index) is None:
            return ""
        self._ids.append(index)
        before, now = self._decode()
        incomplete = now.endswith(REPLACEMENT) or len(now) <= len(before)
        if incomplete and len(self._ids) - self._read < LONGEST_HOLD:
            return ""
        # The new tokens are the next window's context; the old context is no longer needed.
        self._ids, self._read = self._ids[self._read :], len(self._ids) - self._read
        return now[len(before) :]

    def _decode(self) -> tuple[str, str]:
        before = self._tokenizer.decode(self._ids[: self._read])
        return before, self._tokenizer.decode(self._ids)
