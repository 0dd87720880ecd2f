"""The blocks of a decoder-only transformer, under Hugging Face's module names.

Every block calls ``step.ops`` with its modules, never with their weights. Parameters are made on the
``meta`` device: the loader supplies them. Legend: T tokens, R rows, D model width, H query heads, K key/value heads,
E head dimension, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from hyprstream_core.interfaces.model import DecoderConfig

if TYPE_CHECKING:
    from torch import Tensor

    from hyprstream_core.interfaces.device import Step


class Linear(nn.Linear):
    """A linear whose weights are not initialised; a subclass of ``nn.Linear``, so that peft can inject into it."""

    def __init__(self, num_in: int, num_out: int, *, bias: bool = False) -> None:
        super().__init__(num_in, num_out, bias=bias, device="meta")


class RMSNorm(nn.Module):
    """Scale of a root mean square norm (Zhang & Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, device="meta"))
        self.eps = eps


class Attention(nn.Module):
    """Grouped-query attention with rotary positions; ``qk_norm`` normalises each head of queries and keys."""

    def __init__(self, config: DecoderConfig, layer: int, *, qk_norm: bool, qkv_bias: bool, out_bias: bool) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, width, bias=qkv_bias)
        self.k_proj = Linear(config.hidden_size, kv_width, bias=qkv_bias)
        self.v_proj = Linear(config.hidden_size, kv_width, bias=qkv_bias)
        self.o_proj = Linear(width, config.hidden_size, bias=out_bias)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if qk_norm else None

    def forward(self, x_TD: Tensor, step: Step) -> Tensor:
        """``[T, D]`` → ``[T, D]``."""
        ops = step.ops
        projected = ops.linears((self.q_proj, self.k_proj, self.v_proj), x_TD)
        q_THE, k_TKE, v_TKE = (p.unflatten(-1, (-1, self.head_dim)) for p in projected)
        if self.q_norm is not None and self.k_norm is not None:
            q_THE, k_TKE = ops.rms_norm(self.q_norm, q_THE), ops.rms_norm(self.k_norm, k_TKE)
        q_THE, k_TKE = ops.rope(q_THE, step), ops.rope(k_TKE, step)
        out_THE = ops.attention(self.layer, q_THE, k_TKE, v_TKE, step)
        return ops.linear(self.o_proj, out_THE.flatten(1))


class GatedMLP(nn.Module):
    """SwiGLU feed-forward (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x_TD: Tensor, step: Step) -> Tensor:
        """``[T, D]`` → ``[T, D]``."""
        gate, up = step.ops.linears((self.gate_proj, self.up_proj), x_TD)
        return step.ops.linear(self.down_proj, step.ops.silu_mul(gate, up))


class DecoderLayer(nn.Module):
    """Pre-norm residual layer. It takes and returns ``(residual, delta)``: the sum of the two is the hidden
    state, left unsummed so that the next norm can add and normalise in one pass."""

    def __init__(self, config: DecoderConfig, attention: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.self_attn, self.mlp = attention, mlp
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)

    def forward(self, residual_TD: Tensor, delta_TD: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        """``residual_TD`` and ``delta_TD`` ``[T, D]`` (None in the first layer: zero) → the next layer's two."""
        residual_TD, x_TD = step.ops.add_rms_norm(self.input_layernorm, residual_TD, delta_TD)
        residual_TD, x_TD = step.ops.add_rms_norm(
            self.post_attention_layernorm, residual_TD, self.self_attn(x_TD, step)
        )
        return residual_TD, self.mlp(x_TD, step)


class Decoder(nn.Module):
    """Embedding, layers, final norm: what checkpoints call ``model``."""

    def __init__(self, config: DecoderConfig, layers: list[DecoderLayer]) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, device="meta")
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)

    def forward(self, ids_T: Tensor, step: Step) -> Tensor:
        """Token ids ``[T]`` → normalised hidden states ``[T, D]``."""
        residual_TD, delta_TD = step.ops.embedding(self.embed_tokens, ids_T), None
        for layer in self.layers:
            residual_TD, delta_TD = layer(residual_TD, delta_TD, step)
        return step.ops.add_rms_norm(self.norm, residual_TD, delta_TD)[1]


class DecoderLM(nn.Module):
    """A decoder with its head. With tied embeddings ``lm_head.weight`` *is* ``model.embed_tokens.weight``."""

    def __init__(self, config: DecoderConfig, layers: list[DecoderLayer]) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config, layers)
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.tie()

    def tie(self) -> None:
        """Share the embedding with the head when the configuration says so; called again after loading."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, ids_T: Tensor, step: Step) -> Tensor:
        """``[T]`` → ``[T, D]``."""
        hidden_TD: Tensor = self.model(ids_T, step)
        return hidden_TD

    def logits(self, hidden_RD: Tensor, step: Step) -> Tensor:
        """``[R, D]`` → ``[R, V]``."""
        return step.ops.linear(self.lm_head, hidden_RD)
