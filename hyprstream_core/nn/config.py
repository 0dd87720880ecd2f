"""Reads ``config.json``: every value is range-checked, every option that changes the computation is
either implemented or refused by name, before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyprstream_core import model_files
from hyprstream_core.errors import UnsupportedModel, WeightsError
from hyprstream_core.excerpts import one_line, shown
from hyprstream_core.interfaces.model import RopeConfig
from hyprstream_core.model_files import DTYPES, MAX_POSITIONS, MAX_VOCAB
from hyprstream_core.nn.rope import check

MAX_LAYERS = 1024
MAX_WIDTH = 2**20
ROPE_TABLES = ("rope_parameters", "rope_scaling")
ROPE_KEYS = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})
"""What a table for rope of type "default" may say."""
_THETA = (1.0, 1e12)


class ConfigReader:
    """One ``config.json``. Every method names the key in its error."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def integer(self, key: str, *, default: int | None = None, low: int = 1, high: int = MAX_WIDTH) -> int:
        """An integer in ``low..high``."""
        value = self._config.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(key, value, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, *, default: float, low: float, high: float) -> float:
        """A finite number in ``low..high``."""
        return self._number(self._config, key, default, low, high)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._config.get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self._bad(key, value, "true or false")
        return value

    def refuse(self, *keys: str) -> None:
        """None of ``keys`` may be set to anything that switches something on."""
        for key in keys:
            if self._config.get(key):
                raise UnsupportedModel(f"config.json: {key!r} is not implemented for this family", param=key)

    def only(self, key: str, value: str) -> None:
        """``key`` may only be ``value``, or absent."""
        got = self._config.get(key, value)
        if got != value:
            raise UnsupportedModel(f"config.json: {key!r} is {shown(got)}, only {value!r} is implemented", param=key)

    def only_entries(self, key: str, value: str) -> None:
        """``key``, when present, is a list that holds only ``value``."""
        entries = self._config.get(key) or []
        if not isinstance(entries, list) or (odd := [e for e in entries if e != value]):
            raise UnsupportedModel(
                f"config.json: {key!r} holds {shown(odd[0] if isinstance(entries, list) else entries)}, "
                f"only {value!r} is implemented",
                param=key,
            )

    def decoder(self, *, theta: float, norm_eps: float) -> dict[str, Any]:
        """The fields of :class:`~hyprstream_core.interfaces.model.DecoderConfig`, with a family's defaults."""
        hidden = self.integer("hidden_size")
        heads = self.integer("num_attention_heads", high=4096)
        kv_heads = self.integer("num_key_value_heads", default=heads, high=4096)
        if heads % kv_heads:
            raise self._bad("num_key_value_heads", kv_heads, f"a divisor of num_attention_heads ({heads})")
        if self._config.get("head_dim") is None and hidden % heads:
            raise self._bad("hidden_size", hidden, f"a multiple of num_attention_heads ({heads})")
        head_dim = self.integer("head_dim", default=hidden // heads, low=2, high=4096)
        if head_dim % 2:
            raise self._bad("head_dim", head_dim, "an even number")
        return {
            "vocab_size": self.integer("vocab_size", high=MAX_VOCAB),
            "hidden_size": hidden,
            "intermediate_size": self.integer("intermediate_size"),
            "num_layers": self.integer("num_hidden_layers", high=MAX_LAYERS),
            "num_heads": heads,
            "num_kv_heads": kv_heads,
            "head_dim": head_dim,
            "max_position_embeddings": self.integer("max_position_embeddings", high=MAX_POSITIONS),
            "norm_eps": self.number("rms_norm_eps", default=norm_eps, low=0.0, high=1.0),
            "rope": self._rope(theta),
            "tie_word_embeddings": self.flag("tie_word_embeddings", default=False),
            "dtype": self._dtype(),
        }

    def _rope(self, theta: float) -> RopeConfig:
        """``rope_parameters`` (transformers 5) or ``rope_scaling`` beside ``rope_theta``; both when they agree."""
        self._whole_heads(self._config, "partial_rotary_factor")
        top = self._config.get("rope_theta")
        base = self._number(self._config, "rope_theta", theta, *_THETA)
        found = [self._rope_table(key, base) for key in ROPE_TABLES if self._config.get(key)]
        if not found:
            return RopeConfig(base)
        if any(rope != found[0] for rope in found) or (top is not None and found[0].theta != base):
            raise UnsupportedModel(
                "config.json: rope_theta, rope_parameters and rope_scaling contradict each other", param="rope_scaling"
            )
        return found[0]

    def _rope_table(self, key: str, base: float) -> RopeConfig:
        """One table. What is not understood is refused: ignored, it would change every answer."""
        table = self._config[key]
        if not isinstance(table, Mapping):
            raise self._bad(key, table, "an object")
        kinds = {str(table[name]) for name in ("rope_type", "type") if table.get(name) is not None} or {"default"}
        rope = RopeConfig(self._number(table, "rope_theta", base, *_THETA), one_line("/".join(sorted(kinds)), 40))
        check(rope, key)
        self._whole_heads(table, key)
        if odd := [name for name, value in table.items() if value is not None and name not in ROPE_KEYS]:
            raise UnsupportedModel(f"config.json: {key} has {shown(odd[0])}, which is not implemented", param=key)
        return rope

    def _whole_heads(self, table: Mapping[str, Any], key: str) -> None:
        """All of a head is rotated; ``key`` of config.json says otherwise."""
        if self._number(table, "partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0:
            raise UnsupportedModel(
                f"config.json: {key} asks for a partial_rotary_factor below 1, which is not implemented", param=key
            )

    def _dtype(self) -> str:
        name = model_files.dtype(self._config)
        if name not in DTYPES:
            raise UnsupportedModel(f"config.json: dtype {name!r} is not one of {', '.join(DTYPES)}", param="dtype")
        return name

    def _number(self, table: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
        value = table.get(key)
        number = default if value is None else model_files.finite(value)
        if number is None:
            raise self._bad(key, value, "a finite number")
        if not low <= number <= high:
            raise self._bad(key, value, f"a number from {low} to {high}")
        return number

    def _bad(self, key: str, value: Any, expected: str) -> WeightsError:
        return model_files.bad_value("config.json", key, value, expected)
