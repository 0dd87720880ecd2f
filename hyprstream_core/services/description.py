"""What a snapshot's small files say: context, dtype, sampling defaults, EOS ids, chat template. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyprstream_core import model_files
from hyprstream_core.config import Limits
from hyprstream_core.model_files import MAX_POSITIONS, MAX_VOCAB, bad_config, bad_value
from hyprstream_core.weights.index import WeightIndex, open_index

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""Keys of generation_config.json that are defaults of a request."""
TEMPLATE_FILE = "chat_template.jinja"
MAX_EOS_IDS = 1024


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
        return model_files.architectures(self.config)

    @property
    def model_type(self) -> str:
        """Hugging Face's name of the family, "" when there is none."""
        return model_files.model_type(self.config)

    @property
    def dtype(self) -> str:
        """The checkpoint's dtype by torch's name."""
        return model_files.dtype(self.config)

    @property
    def max_positions(self) -> int:
        """The longest context that the model was made for, in tokens.

        Raises:
            WeightsError: config.json does not say it, or says something else.
        """
        return self._count("max_position_embeddings", MAX_POSITIONS)

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id.

        Raises:
            WeightsError: config.json does not say it, or says something else.
        """
        return self._count("vocab_size", MAX_VOCAB)

    def _count(self, key: str, maximum: int) -> int:
        value = self.config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
            raise bad_value("config.json", key, value, f"an integer from 1 to {maximum}")
        return value

    def index(self) -> WeightIndex:
        """The weight files' tensors."""
        return open_index(self.directory, self.limits)

    def eos_token_ids(self) -> tuple[int, ...]:
        """Every id that ends an answer: generation_config.json's, else config.json's.

        Raises:
            WeightsError: an id outside the vocabulary, or too many of them.
        """
        raw = self.generation.get("eos_token_id")
        raw = self.config.get("eos_token_id") if raw is None else raw
        ids = raw if isinstance(raw, list) else [] if raw is None else [raw]
        vocab = self.vocab_size
        if len(ids) > MAX_EOS_IDS:
            raise bad_value("generation_config.json", "eos_token_id", ids, f"at most {MAX_EOS_IDS} ids")
        for token in ids:
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocab:
                raise bad_value("generation_config.json", "eos_token_id", token, f"an id below {vocab}")
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
            if (number := model_files.finite(value)) is None:
                raise bad_value("generation_config.json", key, value, "a finite number")
            found[key] = number
        if self.generation.get("do_sample") is False:
            found["temperature"] = 0.0
        return found

    def template(self) -> str:
        """The chat template's source, "" when the model has none.

        Raises:
            WeightsError: it is longer than ``limits.template_bytes``, or not Unicode.
        """
        maximum = self.limits.template_bytes
        if source := model_files.read_text(self.directory / TEMPLATE_FILE, maximum):
            return source
        source = _named_template(self.tokenizer.get("chat_template"))
        try:
            size = len(source.encode())
        except UnicodeEncodeError:
            raise bad_config("the chat template in tokenizer_config.json holds a lone surrogate") from None
        if size > maximum:
            raise bad_config(f"the chat template has {size} bytes, at most {maximum} are read")
        return source


def read_model_files(directory: Path, limits: Limits) -> ModelFiles:
    """Read the small files of the model in ``directory``.

    Raises:
        WeightsError: config.json is missing, or a file is not what it should be.
    """

    def read(name: str) -> Mapping[str, Any] | None:
        return model_files.read_object(directory / name, limits.json_file_bytes)

    if (config := read("config.json")) is None:
        raise bad_config("this commit has no config.json, so it is not a model")
    return ModelFiles(
        directory,
        config=config,
        generation=read("generation_config.json") or {},
        tokenizer=read("tokenizer_config.json") or {},
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
