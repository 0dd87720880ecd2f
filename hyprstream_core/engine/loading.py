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
from hyprstream_core.nn.rope import RopeTable
from hyprstream_core.weights.index import open_index, read_json
from hyprstream_core.weights.loader import load_into

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """An engine and what must be given back when it is unloaded."""

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
    """Read, map, pack and warm up the model in ``directory``.

    Raises:
        WeightsError: files that lie, miss tensors or do not fit the configuration.
        UnsupportedModel: the family does not implement an option, or the dtype does not fit the device.
    """
    config = family.parse_config(read_json(directory / "config.json", limits))
    dtype_name = config.dtype if settings.dtype == "auto" else settings.dtype
    dtype = DTYPES[dtype_name]
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
    num_blocks = plan_blocks(config, dtype, backend, settings)
    kv = backend.allocate_kv(config, dtype, num_blocks, settings.block_size)
    rope = RopeTable(config.rope, config.head_dim, backend.device)
    warm_up(model, ops, backend, config, dtype, rope)
    engine = Engine(
        Runner(model, ops, kv, rope, backend),
        BlockPool(num_blocks, settings.block_size),
        settings,
        max_len=max_len(config, settings),
        vocab_size=config.vocab_size,
    )
    return LoadedModel(engine, config, dtype_name, index.num_bytes, lambda: backend.release(ops))


def max_len(config: DecoderConfig, settings: EngineSettings) -> int:
    """Longest prompt plus answer: the model's limit, or ``engine.max_context`` when that is lower."""
    limit = settings.max_context or config.max_position_embeddings
    return min(limit, config.max_position_embeddings)


def plan_blocks(config: DecoderConfig, dtype: torch.dtype, backend: Backend, settings: EngineSettings) -> int:
    """How many KV blocks: what ``max_running`` sequences of full length need, bounded by ``kv_memory``.

    Raises:
        UnsupportedModel: not even one block fits.
    """
    block_bytes = backend.kv_block_bytes(config, dtype, settings.block_size)
    wanted = settings.max_running * -(-max_len(config, settings) // settings.block_size)
    allowed = settings.kv_memory or backend.free_memory() // 3
    num_blocks = min(wanted, allowed // block_bytes)
    if num_blocks < 1:
        raise UnsupportedModel(
            f"one KV block needs {block_bytes} bytes, {allowed} may be used",
            remedy="raise engine.kv_memory, lower engine.block_size, or free memory",
        )
    return num_blocks


@torch.inference_mode()
def warm_up(
    model: CausalLM, ops: Ops, backend: Backend, config: DecoderConfig, dtype: torch.dtype, rope: RopeTable
) -> None:
    """Compute one token on a scratch cache, so that everything lazy is done before the first request.

    Raises:
        WeightsError: the logits are not finite.
    """
    kv = backend.allocate_kv(config, dtype, 1, 4)
    ids_T, step = backend.stage(ops, kv, [Chunk((0,), 0, (0,))], rope.upto(1))
    logits_RV = model.logits(model.forward(ids_T, step), step)
    if not torch.isfinite(logits_RV).all():
        raise WeightsError("the model's logits are not finite: its weights hold NaN or infinite values")
    backend.sample(logits_RV, [SamplingRow(temperature=0.0)])


__all__ = ["DTYPES", "LoadedModel", "load_model", "max_len", "plan_blocks", "warm_up"]
