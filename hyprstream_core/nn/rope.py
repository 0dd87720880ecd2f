"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864), half-split convention as in transformers.

Legend: P positions, E head dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hyprstream_core.errors import UnsupportedModel

if TYPE_CHECKING:
    from torch import Tensor

    from hyprstream_core.interfaces.model import RopeConfig

SCALINGS = ("default",)
"""Kinds of rope scaling that :class:`RopeTable` computes."""


def check(rope: RopeConfig, key: str = "rope_scaling") -> None:
    """Refuse a kind of scaling that is not implemented; ``key`` of config.json asks for it.

    Raises:
        UnsupportedModel: names the kind and those that are known.
    """
    if rope.type not in SCALINGS:
        raise UnsupportedModel(
            f"config.json: {key} asks for {rope.type!r}, which is not implemented; known: {', '.join(SCALINGS)}",
            param=key,
        )


class RopeTable:
    """Cosines and sines in fp32, computed up to the longest position asked for and grown on demand."""

    def __init__(self, rope: RopeConfig, head_dim: int, device: torch.device | None = None) -> None:
        check(rope)
        exponent_E = torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim
        self._inverse_frequency = (1.0 / rope.theta**exponent_E).float()
        self._cos = self._sin = torch.empty(0, head_dim, device=device)

    def upto(self, length: int) -> tuple[Tensor, Tensor]:
        """``(cos_PE, sin_PE)`` with at least ``length`` positions."""
        if length > self._cos.shape[0]:
            size = max(1024, 1 << (length - 1).bit_length())
            position_P = torch.arange(size, dtype=torch.float32, device=self._inverse_frequency.device)
            angle_PE = torch.outer(position_P, self._inverse_frequency).repeat(1, 2)
            self._cos, self._sin = angle_PE.cos(), angle_PE.sin()
        return self._cos, self._sin


def rotate(x_THE: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
    """Rotate each head of ``x`` by its token's angles: ``x·cos + rotate_half(x)·sin``."""
    first, second = x_THE.chunk(2, dim=-1)
    return x_THE * cos_TE.unsqueeze(1) + torch.cat((-second, first), dim=-1) * sin_TE.unsqueeze(1)
