"""The portable CPU backend: torch alone, linears prepacked by oneDNN where it can, paged attention by gathering.

Native kernels are another distribution's business; this one runs wherever torch does.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hyprstream_core.builtin.cpu_attention import CpuKVCache, PagedStep, paged_attention, stage_step
from hyprstream_core.builtin.memory import free_memory
from hyprstream_core.engine.sampler import sample
from hyprstream_core.interfaces.device import Backend, Chunk, KVCache, Ops, Probe, SamplingRow, Step
from hyprstream_core.nn.ops import TorchOps

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hyprstream_core.config import EngineSettings
    from hyprstream_core.interfaces.model import CausalLM, DecoderConfig


@dataclass(frozen=True)
class PackedLinear:
    """A weight in oneDNN's own layout; ``sizes`` are the widths of the linears stacked in it."""

    weight: Tensor
    bias: Tensor | None
    sizes: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor have oneDNN linears for ``dtype``."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return dtype == torch.float32


class CpuOps(TorchOps):
    """Inference operations on the CPU. Weights are packed when first used: the engine's warm-up step uses all."""

    def __init__(self, batch_hint: int) -> None:
        self._packed: dict[tuple[int, ...], PackedLinear] = {}
        self._batch_hint = batch_hint

    def linear(self, module: nn.Module, x: Tensor) -> Tensor:
        """``module(x)`` through the packed weight."""
        if not self._packable(module, x):
            return super().linear(module, x)
        return self._pack((module,))(x)

    def linears(self, modules: tuple[nn.Module, ...], x: Tensor) -> tuple[Tensor, ...]:
        """One product with the stacked weights."""
        if not all(self._packable(module, x) for module in modules):
            return super().linears(modules, x)
        packed = self._pack(modules)
        return torch.split(packed(x), list(packed.sizes), dim=-1)

    def attention(self, layer: int, q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, step: Step) -> Tensor:
        """Write the new keys and values into their blocks, then attend over the blocks."""
        if not isinstance(step, PagedStep):
            return super().attention(layer, q_THE, k_TKE, v_TKE, step)
        return paged_attention(layer, q_THE, k_TKE, v_TKE, step)

    def clear(self) -> None:
        """Forget the packed weights."""
        self._packed.clear()

    def _packable(self, module: nn.Module, x: Tensor) -> bool:
        """Only a plain linear of a dtype that oneDNN knows; anything injected in or around it runs as it is."""
        return (
            isinstance(module, torch.nn.Linear)
            and type(module).forward is torch.nn.Linear.forward
            and "forward" not in vars(module)
            and not module._forward_hooks
            and not module._forward_pre_hooks
            and can_pack(x.dtype)
        )

    def _pack(self, modules: tuple[nn.Module, ...]) -> PackedLinear:
        key = tuple(id(module) for module in modules)
        if (packed := self._packed.get(key)) is None:
            weight, bias, sizes = _stack([m for m in modules if isinstance(m, torch.nn.Linear)])
            reordered = torch.ops.mkldnn._reorder_linear_weight(weight, self._batch_hint)
            packed = self._packed[key] = PackedLinear(reordered, bias, sizes)
        return packed


def _stack(linears: list[nn.Linear]) -> tuple[Tensor, Tensor | None, tuple[int, ...]]:
    sizes = tuple(m.out_features for m in linears)
    weight = linears[0].weight.detach().contiguous() if len(linears) == 1 else torch.cat([m.weight for m in linears])
    biases: list[Tensor | None] = [m.bias for m in linears]
    if all(bias is None for bias in biases):
        return weight, None, sizes
    zeros = [weight.new_zeros(size) for size in sizes]
    return weight, torch.cat([zero if bias is None else bias for bias, zero in zip(biases, zeros, strict=True)]), sizes


class CpuBackend(Backend):
    """The processor as a device."""

    name = "cpu"

    def __init__(self, threads: int = 0) -> None:
        torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
        # Without a count: collected caches leave the set by themselves, on whatever thread and at whatever moment.
        self._caches: weakref.WeakSet[CpuKVCache] = weakref.WeakSet()
        self._lock = threading.Lock()

    @classmethod
    def create(cls, settings: EngineSettings) -> CpuBackend:
        """With ``engine.threads`` compute threads, 0 for one per core that this process may use."""
        return cls(settings.threads)

    @property
    def device(self) -> torch.device:
        """Always ``cpu``."""
        return torch.device("cpu")

    def free_memory(self) -> int:
        """What the kernel and the control groups leave, less the pages of KV caches that will be taken when written.
        (Pages that were written are not in what the kernel leaves.)"""
        with self._lock:
            caches = list(self._caches)
        return max(0, free_memory() - sum(cache.unwritten_bytes for cache in caches))

    def prepare(self, model: CausalLM, config: DecoderConfig) -> Ops:
        """Operations with an empty packing cache."""
        del model, config
        return CpuOps(batch_hint=16)

    def release(self, ops: Ops) -> None:
        """Drop the packed weights."""
        if isinstance(ops, CpuOps):
            ops.clear()

    def kv_block_bytes(self, config: DecoderConfig, dtype: torch.dtype, block_size: int) -> int:
        """Keys and values of one block over all layers."""
        return 2 * config.num_layers * config.num_kv_heads * config.head_dim * block_size * dtype.itemsize

    def allocate_kv(self, config: DecoderConfig, dtype: torch.dtype, num_blocks: int, block_size: int) -> KVCache:
        """Zero pages, which take memory only once written; promised to this cache as long as it lives."""
        kv = CpuKVCache(config, dtype, num_blocks, block_size)
        with self._lock:
            self._caches.add(kv)
        return kv

    def stage(self, ops: Ops, kv: KVCache, chunks: Sequence[Chunk], rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Step]:
        """Token ids and their places."""
        if not isinstance(kv, CpuKVCache):
            raise TypeError(f"the CPU backend was given a {type(kv).__name__}")
        return stage_step(ops, kv, chunks, rope)

    def sample(self, logits_RV: Tensor, rows: Sequence[SamplingRow]) -> list[int]:
        """One token id per row."""
        return sample(logits_RV, rows)


def probe() -> Probe:
    """The CPU always works; it scores below every accelerator."""
    return Probe(10, (f"cpu ({len(os.sched_getaffinity(0))} cores)",), "always available")


__all__ = ["CpuBackend", "CpuOps", "can_pack", "probe"]
