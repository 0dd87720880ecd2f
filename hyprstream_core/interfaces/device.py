"""Device backends: placement, fused operations, paged attention, sampling.

Shape suffixes: T tokens of all sequences in a step, S sequences, R rows sampled, D model width, H query
heads, K key/value heads, E head dimension, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from hyprstream_core.config import EngineSettings
    from hyprstream_core.interfaces.model import CausalLM, DecoderConfig


@dataclass(frozen=True)
class DeviceBackend:
    """A hardware target. ``probe`` names a function ``() -> Probe`` that must not raise and should not
    import torch when it can avoid it; ``load`` names a :class:`Backend` subclass."""

    name: str
    probe: str
    load: str


@dataclass(frozen=True)
class Probe:
    """What a backend found: ``score`` 0 is unusable, more is better (portable CPU is 10); ``devices`` are
    readable names; ``reason`` says why the score is what it is."""

    score: int
    devices: tuple[str, ...] = ()
    reason: str = ""


class Norm(Protocol):
    """A norm's parameters."""

    @property
    def weight(self) -> Tensor:
        """Scale, ``[D]``."""

    @property
    def eps(self) -> float:
        """Added to the mean square."""


class Ops(Protocol):
    """Operations that a family's modules call with the *module*, never with its weight, so that an
    adapter injected around a linear is never bypassed. Training and inference differ only here."""

    def embedding(self, module: nn.Embedding, ids_T: Tensor) -> Tensor:
        """Rows ``[T, D]`` of the table ``[V, D]``."""

    def linear(self, module: nn.Module, x: Tensor) -> Tensor:
        """``module(x)``: ``[..., in]`` → ``[..., out]``, T or R rows."""

    def linears(self, modules: tuple[nn.Module, ...], x: Tensor) -> tuple[Tensor, ...]:
        """Several linears of one input ``[T, in]``, each ``[T, out]`` with its own width; a backend may stack their
        weights."""

    def rms_norm(self, module: Norm, x: Tensor) -> Tensor:
        """Root mean square norm over the last dimension with ``module.weight`` and ``module.eps``; ``x`` is ``[T, D]``,
        or ``[T, H, E]`` for a norm of each head (the weight is ``[E]`` then), and keeps its shape."""

    def add_rms_norm(self, module: Norm, residual: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(residual + x, rms_norm(residual + x))``, all ``[T, D]``; ``x`` None counts as zero."""

    def rope(self, x_THE: Tensor, step: Step) -> Tensor:
        """Rotate queries or keys ``[T, H, E]`` to their positions (half-split convention)."""

    def silu_mul(self, gate: Tensor, up: Tensor) -> Tensor:
        """``silu(gate) * up``, all of one shape ``[T, width]``."""

    def attention(self, layer: int, q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, step: Step) -> Tensor:
        """Causal attention of each token over its own sequence, ``[T, H, E]``. With a KV cache, the new
        keys and values are written first. Scores are scaled by ``E ** -0.5``."""


@dataclass
class Step:
    """One forward pass: the operations to use and where each token stands. Backends subclass it with
    whatever their attention needs. ``positions_T`` is each token's place in its sequence, from 0: families with
    learned positions index their table with it. The cosines and sines are those of these positions, ``[T, E]``."""

    ops: Ops
    positions_T: Tensor
    rope_cos_TE: Tensor
    rope_sin_TE: Tensor


@dataclass(frozen=True)
class Chunk:
    """One sequence's share of a step: tokens ``start .. start + len(tokens)`` of it, stored in KV blocks
    ``blocks`` (its whole table, in order)."""

    tokens: Sequence[int]
    start: int
    blocks: Sequence[int]


@dataclass(frozen=True)
class SamplingRow:
    """How to choose one token. ``temperature`` 0 is argmax; ``top_k`` 0 and ``top_p`` 1 are off.
    ``seed`` and ``position`` key the random draw, so that it does not depend on the batch.
    ``prompt`` and ``output`` are the sequence's token ids as far as penalties look at them: the repetition penalty at
    both, presence and frequency at ``output``; empty when there is no penalty. ``banned`` ids are never chosen."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    position: int = 0
    prompt: Sequence[int] = ()
    output: Sequence[int] = ()
    banned: Sequence[int] = ()


class KVCache(Protocol):
    """Paged key/value memory of one loaded model."""

    num_blocks: int
    block_size: int
    num_bytes: int


class Backend(ABC):
    """One device. The engine process owns one.

    Calls that concern one model (its ``ops``, its KV caches) come one at a time. Models are loaded on threads of their
    own beside the engine thread, so that streams go on meanwhile: calls that concern different models overlap, and
    what a backend keeps for all of them it has to lock.
    """

    name: str

    @classmethod
    @abstractmethod
    def create(cls, settings: EngineSettings) -> Backend:
        """Open the device. Called once per engine process."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where parameters live."""

    @abstractmethod
    def free_memory(self) -> int:
        """Bytes that may still be allocated; what was allocated and takes memory only when used is not among them."""

    @abstractmethod
    def prepare(self, model: CausalLM, config: DecoderConfig) -> Ops:
        """Pack the loaded parameters for inference and return the operations that use them."""

    @abstractmethod
    def release(self, ops: Ops) -> None:
        """Free what :meth:`prepare` made."""

    @abstractmethod
    def kv_block_bytes(self, config: DecoderConfig, dtype: torch.dtype, block_size: int) -> int:
        """Bytes of one block over all layers."""

    @abstractmethod
    def allocate_kv(self, config: DecoderConfig, dtype: torch.dtype, num_blocks: int, block_size: int) -> KVCache:
        """Memory for ``num_blocks`` blocks."""

    @abstractmethod
    def stage(self, ops: Ops, kv: KVCache, chunks: Sequence[Chunk], rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Step]:
        """Token ids ``[T]`` of all chunks in order, and the step that places them. ``rope`` is cosines and sines in
        fp32, ``[P, E]`` each, with a row for every position that occurs."""

    @abstractmethod
    def sample(self, logits_RV: Tensor, rows: Sequence[SamplingRow]) -> list[int]:
        """One token id per row of ``[R, V]``, which may be overwritten."""
