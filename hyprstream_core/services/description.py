"""What a snapshot's small files say: context, dtype, sampling defaults, EOS ids, chat template. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyprstream_core.config import Limits
from hyprstream_core.errors import WeightsError
from hyprstream_core.weights.index import WeightIndex, open_index, read_json

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""Keys of generation_config.json that are defaults of a request."""
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True)
class ModelFiles:
    """The small files of one commit, parsed."""

    directory: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    limits: Limits

    @property
    def architectures(self) -> tuple[str, ...]:
        """Hugging Face's names of the model's classes."""
        names = self.config.get("architectures")
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    @property
    def dtype(self) -> str:
        """The checkpoint's dtype by torch's name."""
        return str(self.config.get("dtype") or self.config.get("torch_dtype") or "float32")

    def count(self, key: str) -> int:
        """A positive integer of config.json.

        Raises:
            WeightsError: it is missing or something else.
        """
        value = self.config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise _bad("config.json", key, value, "a positive integer")
        return value

    def index(self) -> WeightIndex:
        """The weight files' tensors."""
        return open_index(self.directory, self.limits)

    def eos_token_ids(self) -> tuple[int, ...]:
        """Every id that ends an answer: generation_config.json's, else config.json's.

        Raises:
            WeightsError: an id outside the vocabulary.
        """
        raw = self.generation.get("eos_token_id")
        raw = self.config.get("eos_token_id") if raw is None else raw
        ids = raw if isinstance(raw, list) else [] if raw is None else [raw]
        vocab = self.count("vocab_size")
        for token in ids:
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocab:
                raise _bad("generation_config.json", "eos_token_id", token, f"an id below {vocab}")
        return tuple(ids)

    def sampling_defaults(self) -> dict[str, float]:
        """The sampling values of generation_config.json, ``do_sample: false`` as temperature 0.

        Raises:
            WeightsError: a value that is no finite number.
        """
        found: dict[str, float] = {}
        for key in SAMPLING:
            value = self.generation.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise _bad("generation_config.json", key, value, "a finite number")
            found[key] = float(value)
        if self.generation.get("do_sample") is False:
            found["temperature"] = 0.0
        return found

    def template(self) -> str:
        """The chat template's source, "" when the model has none.

        Raises:
            WeightsError: it is longer than ``limits.template_bytes``.
        """
        path = self.directory / TEMPLATE_FILE
        size = path.stat().st_size if path.is_file() else 0
        source = path.read_text("utf-8", errors="replace") if 0 < size <= self.limits.template_bytes else ""
        if not size:
            source = _named_template(self.tokenizer.get("chat_template"))
            size = len(source.encode())
        if size > self.limits.template_bytes:
            raise WeightsError(f"the chat template has {size} bytes, at most {self.limits.template_bytes} are read")
        return source

    def special_tokens(self) -> dict[str, str]:
        """The tokens that templates know by name."""
        values = {key: self.tokenizer.get(key) for key in SPECIAL_TOKENS}
        texts = {k: v.get("content") if isinstance(v, dict) else v for k, v in values.items()}
        return {k: v for k, v in texts.items() if isinstance(v, str)}


def read_model_files(directory: Path, limits: Limits) -> ModelFiles:
    """Read the small files of the model in ``directory``.

    Raises:
        WeightsError: config.json is missing, or a file is not what it should be.
    """
    if not (directory / "config.json").is_file():
        raise WeightsError("this commit has no config.json, so it is not a model", code="weights.bad_config")

    def optional(name: str) -> Mapping[str, Any]:
        return read_json(directory / name, limits) if (directory / name).is_file() else {}

    return ModelFiles(
        directory,
        config=read_json(directory / "config.json", limits),
        generation=optional("generation_config.json"),
        tokenizer=optional("tokenizer_config.json"),
        limits=limits,
    )


def _named_template(value: Any) -> str:
    """A template as text, or the one called "default" of a list of named ones."""
    if isinstance(value, str):
        return value
    named = (
        {str(t.get("name")): t.get("template") for t in value if isinstance(t, dict)} if isinstance(value, list) else {}
    )
    default = named.get("default")
    return default if isinstance(default, str) else ""


def _bad(file: str, key: str, value: Any, expected: str) -> WeightsError:
    return WeightsError(f"{file}: {key!r} is {value!r}, expected {expected}", code="weights.bad_config", param=key)
