"""Reads ``config.json``: every value is range-checked, every option that changes the computation is
either implemented or refused by name, before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hyprstream_core.errors import UnsupportedModel, WeightsError
from hyprstream_core.interfaces.model import RopeConfig
from hyprstream_core.nn.rope import check

DTYPES = ("float32", "bfloat16", "float16")
MAX_LAYERS = 1024
MAX_WIDTH = 2**20
MAX_VOCAB = 2**24
MAX_POSITIONS = 2**26


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
            raise UnsupportedModel(f"config.json: {key!r} is {got!r}, only {value!r} is implemented", param=key)

    def only_entries(self, key: str, value: str) -> None:
        """``key``, when present, is a list that holds only ``value``."""
        entries = self._config.get(key) or []
        if not isinstance(entries, list) or (odd := [e for e in entries if e != value]):
            raise UnsupportedModel(
                f"config.json: {key!r} holds {odd[0] if isinstance(entries, list) else entries!r}, "
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
        """``rope_parameters`` (transformers 5) or ``rope_theta`` with ``rope_scaling``."""
        table = self._config.get("rope_parameters") or self._config.get("rope_scaling") or {}
        if not isinstance(table, Mapping):
            raise self._bad("rope_parameters", table, "an object")
        top = self._number(self._config, "rope_theta", theta, 1.0, 1e12)
        kind = table.get("rope_type") or table.get("type") or "default"
        rope = RopeConfig(self._number(table, "rope_theta", top, 1.0, 1e12), str(kind), dict(table))
        check(rope)
        return rope

    def _dtype(self) -> str:
        name = str(self._config.get("dtype") or self._config.get("torch_dtype") or "float32")
        if name not in DTYPES:
            raise UnsupportedModel(f"config.json: dtype {name!r} is not one of {', '.join(DTYPES)}", param="dtype")
        return name

    def _number(self, table: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
        value = table.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._bad(key, value, "a finite number")
        if not low <= value <= high:
            raise self._bad(key, value, f"a number from {low} to {high}")
        return float(value)

    def _bad(self, key: str, value: Any, expected: str) -> WeightsError:
        return WeightsError(
            f"config.json: {key!r} is {value!r}, expected {expected}", code="weights.bad_config", param=key
        )
