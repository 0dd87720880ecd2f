"""Conformance suite for device backends. Subclass it and name the backend::

    class TestCuda(DeviceSuite):
        backend = "hyprstream_cuda.backend:Cuda"

Everything is compared with plain torch: :class:`~hyprstream_core.nn.ops.TorchOps` over whole documents without a
cache; sampling with :mod:`~hyprstream_core.testing.reference_sampler`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
import torch

from hyprstream_core.config import EngineSettings
from hyprstream_core.interfaces.device import Backend, Chunk, Ops, SamplingRow, Step
from hyprstream_core.interfaces.model import DecoderConfig, RopeConfig
from hyprstream_core.nn.layers import Attention, DecoderLayer, DecoderLM, GatedMLP, Linear
from hyprstream_core.nn.ops import TorchOps, packed_step
from hyprstream_core.nn.rope import RopeTable
from hyprstream_core.plugins import load
from hyprstream_core.testing.reference_sampler import reference_token

BLOCK_SIZE = 8
SAMPLED = 88


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


def wrapped(owner: torch.nn.Module, name: str) -> None:
    """Another module in its place, around it, as peft does."""

    class Doubled(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.inner(x)  # type: ignore[no-any-return]

    setattr(owner, name, Doubled(owner.get_submodule(name)))


def subclassed(owner: torch.nn.Module, name: str) -> None:
    """A linear with a forward of its own."""

    class Doubled(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    owner.get_submodule(name).__class__ = Doubled


def replaced_forward(owner: torch.nn.Module, name: str) -> None:
    """The method of one instance, replaced."""
    linear: Any = owner.get_submodule(name)
    forward = linear.forward
    linear.forward = lambda x: 2 * forward(x)


def hooked(owner: torch.nn.Module, name: str) -> None:
    """A hook on what comes out."""
    owner.get_submodule(name).register_forward_hook(lambda _, __, out: 2 * out)


def hooked_before(owner: torch.nn.Module, name: str) -> None:
    """A hook on what goes in."""
    owner.get_submodule(name).register_forward_pre_hook(lambda _, inputs: (2 * inputs[0],))


INJECTIONS = (wrapped, subclassed, replaced_forward, hooked, hooked_before)
"""Ways to change a linear of one module, each so that the model's logits change."""


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

    @pytest.mark.parametrize("inject", INJECTIONS, ids=lambda f: f.__name__)
    def test_what_is_injected_in_or_around_a_linear_is_not_bypassed(
        self, device: Backend, inject: Callable[[torch.nn.Module, str], None]
    ) -> None:
        """However it is injected, it takes part in inference: alone, and among linears of one input."""
        model = small_model(torch.float32, device.device)
        documents = [[1, 2, 3, 4, 5]]
        plain = self.expected(model, documents)[0]
        for owner, name in (("model.layers.0.mlp", "down_proj"), ("model.layers.1.self_attn", "q_proj")):
            inject(model.get_submodule(owner), name)
        ops = device.prepare(model, model.config)
        with torch.inference_mode():
            got, want = self.run(device, ops, model, documents, [5])[0], self.expected(model, documents)[0]
        device.release(ops)
        assert (want - plain).abs().max() > self.tolerance(torch.float32), "the injection changes nothing"
        assert (got - want).abs().max() < self.tolerance(torch.float32)

    def test_models_load_and_run_beside_each_other(self, device: Backend) -> None:
        """Loading happens on threads of its own while the engine thread computes: nobody gets anything else."""
        documents = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 8, 7]]
        want = self.expected(small_model(torch.float32, device.device), documents)

        def load_and_run(_: int) -> float:
            model = small_model(torch.float32, device.device)
            ops = device.prepare(model, model.config)
            with torch.inference_mode():
                got = self.run(device, ops, model, documents, [4, 1])
            device.release(ops)
            return max(float((g - w).abs().max()) for g, w in zip(got, want, strict=True))

        with ThreadPoolExecutor(3) as threads:
            assert max(threads.map(load_and_run, range(9))) < self.tolerance(torch.float32)

    def test_a_step_says_where_each_token_stands(self, device: Backend) -> None:
        """Families may look at the positions themselves."""
        model = small_model(torch.float32, device.device)
        ops = device.prepare(model, model.config)
        kv = device.allocate_kv(model.config, torch.float32, 4, BLOCK_SIZE)
        rope = RopeTable(model.config.rope, model.config.head_dim, device.device)
        chunks = [Chunk([5, 6, 7], 9, [2, 0]), Chunk([8], 0, [1])]
        ids_T, step = device.stage(ops, kv, chunks, rope.upto(12))
        device.release(ops)
        assert ids_T.tolist() == [5, 6, 7, 8]
        assert step.positions_T.tolist() == [9, 10, 11, 0]
        torch.testing.assert_close(step.rope_cos_TE.float().cpu(), rope.upto(12)[0].cpu()[[9, 10, 11, 0]])

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
        """Same seed and position, same token, on every device; penalties and bans included."""
        logits = torch.randn(SAMPLED, 96, generator=torch.Generator().manual_seed(2)) * 3
        seen = {"prompt": [1, 2, 3, 4], "output": [3, 3, 5, 8, 8, 8]}
        likely = logits.topk(3).indices.tolist()
        kinds: list[dict[str, Any]] = [
            {"temperature": 0.0},
            {},
            {"top_k": 5},
            {"top_p": 0.7},
            {"min_p": 0.05, "temperature": 0.6},
            {"top_k": 20, "top_p": 0.9, "min_p": 0.01},
            {"repetition_penalty": 1.8, **seen},
            {"temperature": 0.0, "presence_penalty": 1.5, "frequency_penalty": 0.5},
            {"repetition_penalty": 0.6, "presence_penalty": -1.0, "frequency_penalty": 2.0, "top_p": 0.9, **seen},
            {"temperature": 0.0, "banned": True},
            {"top_k": 3, "banned": True},
        ]
        rows = []
        for i in range(SAMPLED):
            kind = {"seed": i * 2**57, "position": 3 * i, **kinds[i % len(kinds)]}
            if "presence_penalty" in kind:
                kind["output"] = [*likely[i], *likely[i][:1], 7]
            if kind.get("banned"):
                kind["banned"] = likely[i][:2]
            rows.append(SamplingRow(**kind))
        got = device.sample(logits.clone().to(device.device), rows)
        assert got == [reference_token(row_logits, row) for row_logits, row in zip(logits.tolist(), rows, strict=True)]
        plain = [SamplingRow(r.temperature, r.top_k, r.top_p, r.min_p, seed=r.seed, position=r.position) for r in rows]
        assert got != device.sample(logits.clone().to(device.device), plain), "no penalty and no ban changes anything"

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
