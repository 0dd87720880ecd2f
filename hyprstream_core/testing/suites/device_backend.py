"""Conformance suite for device backends. Subclass it and name the backend::

    class TestCuda(DeviceSuite):
        backend = "hyprstream_cuda.backend:Cuda"

Everything is compared with plain torch: :class:`~hyprstream_core.nn.ops.TorchOps` over whole documents without a cache.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

import pytest
import torch

from hyprstream_core.config import EngineSettings
from hyprstream_core.engine.sampler import sample
from hyprstream_core.interfaces.device import Backend, Chunk, Ops, SamplingRow, Step
from hyprstream_core.interfaces.model import DecoderConfig, RopeConfig
from hyprstream_core.nn.layers import Attention, DecoderLayer, DecoderLM, GatedMLP
from hyprstream_core.nn.ops import TorchOps, packed_step
from hyprstream_core.nn.rope import RopeTable
from hyprstream_core.plugins import load

BLOCK_SIZE = 8


def small_model(dtype: torch.dtype, device: torch.device) -> DecoderLM:
    """A two-layer model with biases, grouped queries and random weights."""
    config = DecoderConfig(
        vocab_size=96,
        hidden_size=64,
        intermediate_size=96,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        norm_eps=1e-6,
        rope=RopeConfig(theta=10_000.0),
        tie_word_embeddings=False,
        dtype="float32",
    )
    layers = [
        DecoderLayer(config, Attention(config, i, qk_norm=True, qkv_bias=True, out_bias=False), GatedMLP(config))
        for i in range(config.num_layers)
    ]
    model = DecoderLM(config, layers)
    generator = torch.Generator().manual_seed(1)
    values = {
        name: (torch.rand(p.shape, generator=generator) + 0.5 if p.ndim == 1 else _normal(p, generator)).to(dtype)
        for name, p in model.named_parameters()
    }
    model.load_state_dict({name: value.to(device) for name, value in values.items()}, assign=True)
    return model.requires_grad_(False)


def _normal(parameter: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(parameter.shape, generator=generator) * 0.15


class DeviceSuite:
    """What every backend must do."""

    backend: ClassVar[str]
    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.float32, torch.bfloat16)

    @pytest.fixture
    def device(self) -> Backend:
        opened: Backend = load(self.backend).create(EngineSettings(threads=1))
        return opened

    def tolerance(self, dtype: torch.dtype) -> float:
        """Largest difference of logits of the small model (they are of order 1 to 5)."""
        return 1e-4 if dtype == torch.float32 else 0.25

    def run(
        self, device: Backend, ops: Ops, model: DecoderLM, documents: list[list[int]], chunk_sizes: list[int]
    ) -> list[torch.Tensor]:
        """Logits of every token of every document, computed over the paged cache in mixed chunks."""
        dtype = model.lm_head.weight.dtype
        num_blocks = sum(-(-len(d) // BLOCK_SIZE) for d in documents) + 2
        kv = device.allocate_kv(model.config, dtype, num_blocks, BLOCK_SIZE)
        rope = RopeTable(model.config.rope, model.config.head_dim, device.device)
        order = list(range(num_blocks))
        random.Random(5).shuffle(order)
        tables = [[order.pop() for _ in range(-(-len(d) // BLOCK_SIZE))] for d in documents]
        done, logits = [0] * len(documents), [list[torch.Tensor]() for _ in documents]
        turn = 0
        while any(n < len(d) for n, d in zip(done, documents, strict=True)):
            chosen = [i for i, d in enumerate(documents) if done[i] < len(d)]
            chunks = []
            for i in chosen:
                size = chunk_sizes[(turn + i) % len(chunk_sizes)]
                chunks.append(Chunk(documents[i][done[i] : done[i] + size], done[i], tables[i]))
            ids_T, step = device.stage(ops, kv, chunks, rope.upto(max(len(d) for d in documents)))
            rows_RV = model.logits(model(ids_T, step), step).float().cpu()
            for i, chunk, part in zip(chosen, chunks, rows_RV.split([len(c.tokens) for c in chunks]), strict=True):
                logits[i].append(part)
                done[i] += len(chunk.tokens)
            turn += 1
        return [torch.cat(parts) for parts in logits]

    def expected(self, model: DecoderLM, documents: list[list[int]]) -> list[torch.Tensor]:
        """The same by plain torch."""
        rope = RopeTable(model.config.rope, model.config.head_dim, model.lm_head.weight.device)
        step: Step = packed_step([len(d) for d in documents], rope, model.lm_head.weight.dtype)
        ids = torch.tensor([t for d in documents for t in d], device=model.lm_head.weight.device)
        logits = model.logits(model(ids, step), step).float().cpu()
        return list(logits.split([len(d) for d in documents]))

    @pytest.mark.parametrize("chunk_sizes", [[1], [64], [1, 7, 16, 3]])
    def test_paged_attention_equals_whole_documents(self, device: Backend, chunk_sizes: list[int]) -> None:
        """Decoding token by token, in one chunk, and in mixed chunks, with shuffled blocks."""
        rng = random.Random(3)
        documents = [[rng.randrange(96) for _ in range(n)] for n in (1, 5, 8, 9, 30, 61)]
        for dtype in self.dtypes:
            model = small_model(dtype, device.device)
            ops = device.prepare(model, model.config)
            with torch.inference_mode():
                got, want = self.run(device, ops, model, documents, chunk_sizes), self.expected(model, documents)
            device.release(ops)
            for g, w in zip(got, want, strict=True):
                assert (g - w).abs().max() < self.tolerance(dtype)

    def test_adapters_around_a_linear_are_not_bypassed(self, device: Backend) -> None:
        """What is injected in place of a linear takes part in inference."""
        model = small_model(torch.float32, device.device)
        documents = [[1, 2, 3, 4, 5]]

        class Doubled(torch.nn.Module):
            def __init__(self, inner: torch.nn.Module) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                doubled: torch.Tensor = 2 * self.inner(x)
                return doubled

        for owner, name in (("model.layers.0.mlp", "down_proj"), ("model.layers.1.self_attn", "q_proj")):
            module = model.get_submodule(owner)
            setattr(module, name, Doubled(module.get_submodule(name)))
        ops = device.prepare(model, model.config)
        with torch.inference_mode():
            got, want = self.run(device, ops, model, documents, [5])[0], self.expected(model, documents)[0]
        assert (got - want).abs().max() < self.tolerance(torch.float32)

    def test_norms_match(self, device: Backend) -> None:
        """Fused addition and norm against the composition."""
        model = small_model(torch.float32, device.device)
        ops, norm = device.prepare(model, model.config), model.model.norm
        x, residual = torch.randn(2, 7, 64, device=device.device).unbind()
        with torch.inference_mode():
            total, normed = ops.add_rms_norm(norm, residual.clone(), x)
            want_total, want = TorchOps().add_rms_norm(norm, residual, x)
        torch.testing.assert_close(total, want_total)
        torch.testing.assert_close(normed, want, atol=1e-5, rtol=1e-5)

    def test_sampling_is_the_reference_samplers(self, device: Backend) -> None:
        """Same seed and position, same token, on every device."""
        logits = torch.randn(40, 96, generator=torch.Generator().manual_seed(2)) * 3
        kinds: list[dict[str, Any]] = [
            {"temperature": 0.0},
            {},
            {"top_k": 5},
            {"top_p": 0.7},
            {"min_p": 0.05, "temperature": 0.6},
        ]
        rows = [SamplingRow(**{"seed": i, "position": 3 * i, **kinds[i % len(kinds)]}) for i in range(40)]
        assert device.sample(logits.clone().to(device.device), rows) == sample(logits.clone(), rows)

    def test_kv_memory_is_what_was_announced(self, device: Backend) -> None:
        """The memory plan is kept."""
        config = small_model(torch.float32, device.device).config
        for dtype in self.dtypes:
            kv = device.allocate_kv(config, dtype, 3, BLOCK_SIZE)
            assert (kv.num_blocks, kv.block_size) == (3, BLOCK_SIZE)
            assert kv.num_bytes == 3 * device.kv_block_bytes(config, dtype, BLOCK_SIZE)

    def test_free_memory_is_plausible(self, device: Backend) -> None:
        """Bytes, more than none."""
        assert 2**20 < device.free_memory() < 2**63
