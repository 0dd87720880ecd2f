"""Qwen3 dense (Qwen Team 2025, arXiv:2505.09388): grouped-query attention with a norm on each head of queries
and keys, no biases by default, SwiGLU, RMSNorm, rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyprstream_core.interfaces.model import DecoderConfig, Family
from hyprstream_core.nn.config import ConfigReader
from hyprstream_core.nn.layers import Attention, DecoderLayer, DecoderLM, GatedMLP


@dataclass(frozen=True)
class Qwen3Config(DecoderConfig):
    """What Qwen3 adds: biases on the attention projections."""

    attention_bias: bool = False


class Qwen3(Family):
    """The family behind ``Qwen3ForCausalLM``."""

    @classmethod
    def parse_config(cls, config: Mapping[str, Any]) -> Qwen3Config:
        """Validate a Qwen3 ``config.json``."""
        read = ConfigReader(config)
        read.refuse("quantization_config", "num_experts", "use_sliding_window")
        read.only("hidden_act", "silu")
        read.only_entries("layer_types", "full_attention")
        base = read.decoder(theta=1_000_000.0, norm_eps=1e-6)
        return Qwen3Config(**base, attention_bias=read.flag("attention_bias", default=False))

    @classmethod
    def build(cls, config: DecoderConfig) -> DecoderLM:
        """The model on the meta device."""
        bias = isinstance(config, Qwen3Config) and config.attention_bias
        return DecoderLM(
            config,
            [
                DecoderLayer(
                    config,
                    Attention(config, layer, qk_norm=True, qkv_bias=bias, out_bias=bias),
                    GatedMLP(config),
                )
                for layer in range(config.num_layers)
            ],
        )
