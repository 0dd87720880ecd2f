"""Text to token ids and back, from the ``tokenizer.json`` of a model.

No code of a model ever runs: only the data files are read, each with a maximum size and never through
a symbolic link.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import tokenizers

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, HyprstreamError, InvalidRequest, UnsupportedModel
from hyprstream_core.model_files import read_object, read_text
from hyprstream_core.text.normaliser_growth import check_growth

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Names under which templates know special tokens, as in transformers."""


class Tokenizer:
    """One model's tokenizer. Immutable after loading; may be used from several threads.

    ``special_tokens`` maps the names of :data:`SPECIAL_TOKENS` to their texts, as far as the model has them;
    ``specials`` are the texts of all special tokens. ``byte_level`` says that tokens are bytes and nothing else.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        self._tokenizer = _parse(source)
        self.special_tokens = dict(special_tokens or {})
        added = self._tokenizer.get_added_tokens_decoder()
        self._added = {index: token.content for index, token in added.items()}
        self.special_ids = frozenset(index for index, token in added.items() if token.special)
        self.specials = tuple(token.content for token in added.values() if token.special)
        # A sequence may hold more than the one decoder: only the plain form is known to be just bytes.
        self.byte_level = isinstance(self._tokenizer.decoder, tokenizers.decoders.ByteLevel)
        self._bytes = byte_alphabet() if self.byte_level else {}

    @classmethod
    def load(cls, directory: str | Path, limits: Limits) -> Tokenizer:
        """Read ``tokenizer.json`` and, where they exist, the files that name the special tokens.

        Raises:
            UnsupportedModel: there is no ``tokenizer.json``.
            BadObject: a file is too large, a symbolic link, or not what it should be.
        """
        folder = Path(directory)
        source = read_text(folder / "tokenizer.json", limits.json_file_bytes, BadObject)
        if source is None:
            raise UnsupportedModel(
                "the model has no tokenizer.json",
                remedy="write one with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
            )
        return cls(source, special_tokens(folder, limits))

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return max(self._tokenizer.get_vocab_size(), max(self._added, default=-1) + 1)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of ``text``. Special tokens that occur in it become their ids.

        ``add_special_tokens`` adds what the model wants around any text, such as a BOS token.

        Raises:
            InvalidRequest: the text is not Unicode (it holds a lone surrogate).
        """
        return self.encode_all([text], add_special_tokens=add_special_tokens)[0]

    def encode_all(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]:
        """Token ids of each text, as :meth:`encode`."""
        with _library("the model's tokenizer failed"):
            try:
                # PERF: the batch call releases the GIL while it works; the library's `encode` does not.
                encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
            except TypeError as error:
                raise InvalidRequest("the text holds a lone surrogate, expected valid Unicode") from error
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``. Special tokens and ids outside the vocabulary have no text."""
        known = [index for index in ids if 0 <= index < 2**32]
        with _library("the model's tokenizer failed"):
            return str(self._tokenizer.decode(known, skip_special_tokens=True))

    def token(self, index: int) -> str | None:
        """The token as the vocabulary writes it; None for an id outside the vocabulary."""
        known = self._added.get(index)
        if known is None and 0 <= index < 2**32:
            known = self._tokenizer.id_to_token(index)
        return known

    def token_bytes(self, index: int) -> bytes:
        """The bytes that one token stands for; only for a ``byte_level`` tokenizer. Unknown ids have none."""
        token = self.token(index) or ""
        try:
            return bytes(self._bytes[char] for char in token)
        except KeyError:  # a token that is not written in the byte alphabet stands for itself
            return token.encode()


def special_tokens(directory: str | Path, limits: Limits) -> dict[str, str]:
    """The named special tokens of ``tokenizer_config.json``, completed by ``special_tokens_map.json``."""
    folder = Path(directory)
    found: dict[str, str] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        record = read_object(folder / name, limits.json_file_bytes, BadObject) or {}
        for key in SPECIAL_TOKENS:
            value = record.get(key)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found.setdefault(key, text)
    return found


def _parse(source: str) -> tokenizers.Tokenizer:
    # PERF: the library checks the JSON; reading a file of 10 MB twice would hold up everything else for 0.2 s more.
    with _library("tokenizer.json is not a tokenizer"):
        tokenizer = tokenizers.Tokenizer.from_str(source)
        check_growth(tokenizer.normalizer.__getstate__() if tokenizer.normalizer else None)
        tokenizer.no_truncation()
        tokenizer.no_padding()
    return tokenizer


@contextmanager
def _library(what: str) -> Iterator[None]:
    """Turns what the library raises into BadObject: bare Exception, and for a panic of its Rust code (a regular
    expression that backtracks without end, for instance) something that is not even an Exception."""
    try:
        yield
    except (HyprstreamError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise BadObject(f"{what}: {error}") from error


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable characters for bytes, each with its byte (``bytes_to_unicode`` in openai/gpt-2 ``encoder.py``,
    reversed)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in plain)
    return table | {chr(256 + offset): byte for offset, byte in enumerate(others)}
