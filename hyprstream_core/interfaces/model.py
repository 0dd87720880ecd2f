"""Model families: what an architecture plugin yields and what its class must do.

Shape suffixes: T tokens of all sequences in a step, D model width, R rows whose logits are wanted,
V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from hyprstream_core.interfaces.device import Step


@dataclass(frozen=True)
class Architecture:
    """A model family by its Hugging Face names. ``load`` names a :class:`Family` subclass; ``model_types`` are looked
    at for a model whose config.json lists no architecture."""

    name: str
    hf_architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    load: str


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding: base frequency and kind of scaling ("default" is none)."""

    theta: float = 10_000.0
    type: str = "default"


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a decoder-only transformer, validated. What the engine needs to know is here; a
    family subclasses it for the rest."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    norm_eps: float
    rope: RopeConfig
    tie_word_embeddings: bool
    dtype: str
    """dtype of the checkpoint: "float32", "bfloat16" or "float16"."""


class Family(ABC):
    """One model family. Stateless: everything follows from the configuration."""

    @classmethod
    @abstractmethod
    def parse_config(cls, config: Mapping[str, Any]) -> DecoderConfig:
        """Validate ``config.json``. Nothing is allocated yet.

        Raises:
            UnsupportedModel: an option this family does not implement, named.
            WeightsError: a value that no model can have, named.
        """

    @classmethod
    @abstractmethod
    def build(cls, config: DecoderConfig) -> CausalLM:
        """The model, also an ``nn.Module``, with parameters on the ``meta`` device under Hugging Face's names."""

    @classmethod
    def tensor_name(cls, config: DecoderConfig, parameter: str) -> str:  # noqa: ARG003 - for families that need it
        """The checkpoint's name for ``parameter``; the same unless the family's files differ."""
        return parameter


class CausalLM(Protocol):
    """What :meth:`Family.build` returns: an ``nn.Module`` that answers these calls."""

    config: DecoderConfig

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Every parameter by its Hugging Face name, a shared one once."""

    def get_submodule(self, target: str) -> torch.nn.Module:
        """The module called ``target``."""

    def tie(self) -> None:
        """Make shared parameters one again, after loading replaced the parameter objects."""

    def forward(self, ids_T: torch.Tensor, step: Step) -> torch.Tensor:
        """Final normalised hidden states ``[T, D]`` of token ids ``[T]``."""

    def logits(self, hidden_RD: torch.Tensor, step: Step) -> torch.Tensor:
        """Logits ``[R, V]`` of the chosen rows."""
