"""From a directory with a model's files to a running engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from hyprstream_core.config import EngineSettings, Limits
from hyprstream_core.engine.blocks import BlockPool
from hyprstream_core.engine.engine import Engine
from hyprstream_core.engine.runner import Runner
from hyprstream_core.errors import UnsupportedModel, WeightsError
from hyprstream_core.interfaces.device import Backend, Chunk, Ops, SamplingRow
from hyprstream_core.interfaces.model import CausalLM, DecoderConfig, Family
from hyprstream_core.model_files import read_object
from hyprstream_core.nn.rope import RopeTable
from hyprstream_core.weights.index import open_index
from hyprstream_core.weights.loader import load_into


@dataclass(frozen=True)
class LoadedModel:
    """An engine and what must be given back when it is unloaded. ``dtype`` is what it is computed in, ``num_bytes``
    what its tensors take in the weight files (not what they take packed, nor the KV cache)."""

    engine: Engine
    config: DecoderConfig
    dtype: str
    num_bytes: int
    _release: Callable[[], None]

    def unload(self) -> None:
        """Free weights and KV memory; the engine must be idle."""
        self._release()


def load_model(
    directory: Path, family: type[Family], backend: Backend, settings: EngineSettings, limits: Limits
) -> LoadedModel:
    """Read, map, pack and warm up the model in ``directory``; a load that fails leaves nothing in the backend.

    Raises:
        WeightsError: files that lie, miss tensors or do not fit the configuration.
        UnsupportedModel: the family does not implement an option, or the dtype does not fit the device.
    """
    config = family.parse_config(read_object(directory / "config.json", limits.json_file_bytes) or {})
    dtype_name = settings.dtype_of(config.dtype)
    dtype: torch.dtype = getattr(torch, dtype_name)
    index = open_index(directory, limits)
    model = family.build(config)
    load_into(
        model,
        index,
        tensor_name=lambda name: family.tensor_name(config, name),
        tied=config.tie_word_embeddings,
        dtype=dtype,
    )
    model.tie()
    ops = backend.prepare(model, config)
    try:
        engine = _start(model, ops, backend, settings, dtype)
    except BaseException:
        backend.release(ops)
        raise
    return LoadedModel(engine, config, dtype_name, index.num_bytes, lambda: backend.release(ops))


def _start(model: CausalLM, ops: Ops, backend: Backend, settings: EngineSettings, dtype: torch.dtype) -> Engine:
    """Warm the model up, then plan its KV cache: what the warm-up packs is not free any more."""
    config = model.config
    rope = RopeTable(config.rope, config.head_dim, backend.device)
    warm_up(model, ops, backend, dtype, rope)
    num_blocks = plan_blocks(config, dtype, backend, settings)
    kv = backend.allocate_kv(config, dtype, num_blocks, settings.block_size)
    return Engine(
        Runner(model, ops, kv, rope, backend),
        BlockPool(num_blocks, settings.block_size),
        settings,
        max_len=settings.context_of(config.max_position_embeddings),
        vocab_size=config.vocab_size,
    )


def plan_blocks(config: DecoderConfig, dtype: torch.dtype, backend: Backend, settings: EngineSettings) -> int:
    """How many KV blocks: what ``max_running`` sequences of full length need, bounded by ``kv_memory``.

    Raises:
        UnsupportedModel: not even one block fits.
    """
    block_bytes = backend.kv_block_bytes(config, dtype, settings.block_size)
    longest = settings.context_of(config.max_position_embeddings)
    wanted = settings.max_running * -(-longest // settings.block_size)
    allowed = settings.kv_memory or backend.free_memory() // 3
    num_blocks = min(wanted, allowed // block_bytes)
    if num_blocks < 1:
        raise UnsupportedModel(
            f"one KV block needs {block_bytes} bytes, {allowed} may be used",
            remedy="raise engine.kv_memory, lower engine.block_size, or free memory",
        )
    return num_blocks


@torch.inference_mode()
def warm_up(model: CausalLM, ops: Ops, backend: Backend, dtype: torch.dtype, rope: RopeTable) -> None:
    """Compute one token on a scratch cache, so that everything lazy is done before the first request.

    Raises:
        WeightsError: the logits are not finite.
    """
    kv = backend.allocate_kv(model.config, dtype, 1, 4)
    ids_T, step = backend.stage(ops, kv, [Chunk((0,), 0, (0,))], rope.upto(1))
    logits_RV = model.logits(model.forward(ids_T, step), step)
    if not torch.isfinite(logits_RV).all():
        raise WeightsError("the model's logits are not finite: its weights hold NaN or infinite values")
    backend.sample(logits_RV, [SamplingRow(temperature=0.0)])


__all__ = ["LoadedModel", "load_model", "plan_blocks", "warm_up"]
