"""The operations of :class:`~hyprstream_core.interfaces.device.Ops` in plain, differentiable torch.

Training uses :class:`TorchOps` as it is; a device backend subclasses it and overrides what it does
better. Legend: T tokens, S one sequence's tokens, B sequences, H query heads, K key/value heads, E head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F

from hyprstream_core.interfaces.device import Step
from hyprstream_core.nn.rope import RopeTable, rotate

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hyprstream_core.interfaces.device import Norm


@dataclass
class PackedStep(Step):
    """A step without a KV cache: whole documents, one after the other. ``lengths`` sum to T."""

    lengths: list[int] = field(default_factory=list)


class TorchOps:
    """Each operation as one or two torch calls; every one has a gradient."""

    def embedding(self, module: nn.Embedding, ids_T: Tensor) -> Tensor:
        """Rows of the table."""
        return F.embedding(ids_T, module.weight)

    def linear(self, module: nn.Module, x: Tensor) -> Tensor:
        """The module's own forward, so that whatever is injected around it takes part."""
        return cast("Tensor", module(x))

    def linears(self, modules: tuple[nn.Module, ...], x: Tensor) -> tuple[Tensor, ...]:
        """One after the other."""
        return tuple(self.linear(module, x) for module in modules)

    def rms_norm(self, module: Norm, x: Tensor) -> Tensor:
        """Normalised in fp32, scaled in ``x``'s dtype (as transformers does)."""
        if x.dtype == torch.float32:
            return F.rms_norm(x, x.shape[-1:], module.weight, module.eps)
        return module.weight * F.rms_norm(x.float(), x.shape[-1:], None, module.eps).to(x.dtype)

    def add_rms_norm(self, module: Norm, residual: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(residual + x, norm(residual + x))``; with ``x`` None the residual is normalised as it is."""
        total = residual if x is None else residual + x
        return total, self.rms_norm(module, total)

    def rope(self, x_THE: Tensor, step: Step) -> Tensor:
        """Rotate to ``step``'s positions."""
        return rotate(x_THE, step.rope_cos_TE, step.rope_sin_TE)

    def silu_mul(self, gate: Tensor, up: Tensor) -> Tensor:
        """``silu(gate) * up``."""
        return F.silu(gate) * up

    def attention(self, layer: int, q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, step: Step) -> Tensor:  # noqa: ARG002
        """Causal attention inside each document of a :class:`PackedStep` (no cache: ``layer`` does not matter); runs
        of equally long documents are computed as one batch."""
        if not isinstance(step, PackedStep):
            raise TypeError(f"TorchOps.attention needs a PackedStep, got {type(step).__name__}")
        group = q_THE.shape[1] // k_TKE.shape[1]
        k_THE, v_THE = (t.repeat_interleave(group, dim=1) for t in (k_TKE, v_TKE))
        parts, start = [], 0
        for length, run in groupby(step.lengths):
            stop = start + length * len(list(run))
            q, k, v = (t[start:stop].unflatten(0, (-1, length)).transpose(1, 2) for t in (q_THE, k_THE, v_THE))
            out_BHSE = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            parts.append(out_BHSE.transpose(1, 2).flatten(0, 1))
            start = stop
        return torch.cat(parts)


def packed_step(lengths: Sequence[int], rope: RopeTable, dtype: torch.dtype) -> PackedStep:
    """A step over whole documents of ``lengths`` tokens, each from position 0, for training and evaluation."""
    device = rope.upto(1)[0].device
    position_T = torch.cat([torch.arange(n, device=device) for n in lengths])
    cos_PE, sin_PE = rope.upto(max(lengths))
    return PackedStep(TorchOps(), position_T, cos_PE[position_T].to(dtype), sin_PE[position_T].to(dtype), list(lengths))
