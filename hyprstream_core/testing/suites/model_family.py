"""Conformance suite for model families. Subclass it, name the family, give a reference::

    class TestQwen3(ArchitectureSuite):
        family = "hyprstream_qwen.qwen3:Qwen3"
        config = TINY_QWEN3

        def reference(self, directory):
            model = AutoModelForCausalLM.from_pretrained(directory).eval()
            return lambda ids: model(torch.tensor([ids])).logits[0]

        unsupported = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}

The reference is any callable from token ids to logits ``[T, V]``, computed independently of hyprstream.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from hyprstream_core.builtin.cpu import CpuBackend
from hyprstream_core.config import EngineSettings, Limits
from hyprstream_core.engine.loading import LoadedModel, load_model
from hyprstream_core.errors import HyprstreamError, UnsupportedModel, WeightsError
from hyprstream_core.interfaces.inference import GenerateRequest, SamplingParams
from hyprstream_core.interfaces.model import Family
from hyprstream_core.nn.ops import packed_step
from hyprstream_core.nn.rope import RopeTable
from hyprstream_core.plugins import load
from hyprstream_core.testing.checkpoints import random_tensors, write_checkpoint
from hyprstream_core.weights.index import open_index
from hyprstream_core.weights.loader import load_into

Reference = Callable[[Sequence[int]], torch.Tensor]
PROMPT_LENGTHS = (1, 2, 15, 16, 17, 33, 70, 150)


def greedy(reference: Reference, prompt: Sequence[int], count: int) -> tuple[list[int], float]:
    """``count`` greedy tokens of a reference, and the smallest gap between the best two logits on the way."""
    ids, gap = list(prompt), float("inf")
    for _ in range(count):
        best = reference(ids)[-1].float().topk(2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[len(prompt) :], gap


def engine_tokens(model: LoadedModel, prompts: Sequence[Sequence[int]], count: int, **params: Any) -> list[list[int]]:
    """Tokens of ``prompts`` generated together."""
    for i, prompt in enumerate(prompts):
        request = GenerateRequest(
            str(i), "m", "0" * 40, tuple(prompt), SamplingParams(count, **{"temperature": 0.0, **params})
        )
        model.engine.submit(request)
    answers: list[list[int]] = [[] for _ in prompts]
    while model.engine.has_work:
        for request_id, chunk in model.engine.step():
            answers[int(request_id)] += chunk.token_ids
    model.engine.pool.check_integrity()
    return answers


class ArchitectureSuite:
    """What every family must do. ``config`` is a small config.json in float32."""

    family: ClassVar[str]
    config: ClassVar[Mapping[str, Any]]
    unsupported: ClassVar[Mapping[str, Any]]
    """Keys of config.json, each set to something that the family must refuse by name."""

    def reference(self, directory: Path) -> Reference:
        """The independent implementation, loaded from a checkpoint's directory."""
        raise NotImplementedError

    @pytest.fixture
    def implementation(self) -> type[Family]:
        loaded: type[Family] = load(self.family)
        return loaded

    @pytest.fixture(params=["tied", "untied"])
    def checkpoint(self, request: pytest.FixtureRequest, implementation: type[Family], tmp_path: Path) -> Path:
        torch.set_num_threads(1)
        config = {**self.config, "tie_word_embeddings": request.param == "tied"}
        return write_checkpoint(tmp_path / "model", config, random_tensors(implementation, config), num_shards=3)

    def serve(self, directory: Path, implementation: type[Family], **settings: Any) -> LoadedModel:
        """The checkpoint in an engine on the portable CPU backend."""
        values = {"kv_memory": 2**25, "max_running": 16, "token_budget": 64, **settings}
        return load_model(directory, implementation, CpuBackend(1), EngineSettings(**values), Limits())

    def prompts(self, vocab_size: int) -> list[list[int]]:
        """Random prompts of different lengths."""
        rng = random.Random(7)
        return [[rng.randrange(2, vocab_size) for _ in range(n)] for n in PROMPT_LENGTHS]

    def test_logits_equal_the_reference(self, checkpoint: Path, implementation: type[Family]) -> None:
        """Teacher-forced logits of whole sequences, by the differentiable operations that training uses."""
        config = implementation.parse_config({**self.config, "tie_word_embeddings": self._tied(checkpoint)})
        model = implementation.build(config)
        index = open_index(checkpoint, Limits())
        load_into(
            model,
            index,
            tensor_name=lambda name: implementation.tensor_name(config, name),
            tied=config.tie_word_embeddings,
            dtype=torch.float32,
        )
        model.tie()
        reference = self.reference(checkpoint)
        prompts = self.prompts(config.vocab_size)
        step = packed_step([len(p) for p in prompts], RopeTable(config.rope, config.head_dim), torch.float32)
        with torch.inference_mode():
            got = model.logits(model.forward(torch.tensor([t for p in prompts for t in p]), step), step)
            want = torch.cat([reference(p) for p in prompts])
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)

    def test_cached_batched_decode_equals_the_reference(self, checkpoint: Path, implementation: type[Family]) -> None:
        """Greedy tokens of prompts of different lengths in one batch, with chunked prefill."""
        model = self.serve(checkpoint, implementation)
        prompts = self.prompts(model.config.vocab_size)
        answers = engine_tokens(model, prompts, 24)
        reference = self.reference(checkpoint)
        with torch.inference_mode():
            expected = [greedy(reference, prompt, 24) for prompt in prompts]
        assert len({tuple(tokens) for tokens, _ in expected}) == len(prompts), "the reference does not vary"
        for (tokens, gap), answer in zip(expected, answers, strict=True):
            assert answer == tokens or gap < 1e-3, f"diverged although the smallest top-2 gap is {gap}"
        assert sum(a == t for (t, _), a in zip(expected, answers, strict=True)) >= len(prompts) - 1

    def test_a_cached_prefix_changes_nothing(self, checkpoint: Path, implementation: type[Family]) -> None:
        """The same prompt again: most of it comes from the prefix cache, the answer stays."""
        model = self.serve(checkpoint, implementation)
        prompt = self.prompts(model.config.vocab_size)[-1]
        first = engine_tokens(model, [prompt], 12)
        second = engine_tokens(model, [prompt], 12)
        assert first == second
        assert model.engine.counters.cached_tokens >= len(prompt) - 2 * model.engine.pool.block_size

    def test_preemption_changes_nothing(self, checkpoint: Path, implementation: type[Family]) -> None:
        """With a KV cache that is too small for all, each still gets what it gets alone."""
        roomy, tight = self.serve(checkpoint, implementation), None
        prompts = self.prompts(roomy.config.vocab_size)[:6]
        expected = [engine_tokens(roomy, [prompt], 40)[0] for prompt in prompts]
        block = CpuBackend(1).kv_block_bytes(roomy.config, torch.float32, 16)
        tight = self.serve(checkpoint, implementation, kv_memory=10 * block)
        assert engine_tokens(tight, prompts, 40) == expected
        assert tight.engine.scheduler.num_preemptions > 0

    def test_bfloat16_stays_close(self, checkpoint: Path, implementation: type[Family]) -> None:
        """Computed in bf16 the first tokens are the reference's, except where its choice is close."""
        model = load_model(
            checkpoint, implementation, CpuBackend(1), EngineSettings(dtype="bfloat16", kv_memory=2**25), Limits()
        )
        prompts = self.prompts(model.config.vocab_size)
        answers = engine_tokens(model, prompts, 1)
        reference = self.reference(checkpoint)
        with torch.inference_mode():
            expected = [greedy(reference, prompt, 1) for prompt in prompts]
        wrong = [gap for (tokens, gap), answer in zip(expected, answers, strict=True) if tokens != answer]
        assert all(gap < 0.5 for gap in wrong)
        assert len(wrong) <= len(prompts) // 2

    def test_unsupported_options_are_refused_by_name(self, implementation: type[Family]) -> None:
        """Nothing that changes the computation is silently ignored."""
        for key, value in self.unsupported.items():
            with pytest.raises(HyprstreamError) as caught:
                implementation.parse_config({**self.config, key: value})
            assert isinstance(caught.value, UnsupportedModel | WeightsError)
            assert key in f"{caught.value.message} {caught.value.param}"

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("num_hidden_layers", 10**9),
            ("vocab_size", -1),
            ("rope_theta", float("nan")),
            ("head_dim", 0),
            ("hidden_size", "64"),
            ("num_key_value_heads", 3),
            ("rms_norm_eps", True),
            ("dtype", "int4"),
        ],
    )
    def test_lying_configurations_are_refused(self, implementation: type[Family], key: str, value: Any) -> None:
        """The field is named, and nothing is allocated."""
        with pytest.raises(HyprstreamError) as caught:
            implementation.parse_config({**self.config, key: value})
        assert key in str(caught.value)

    @pytest.mark.parametrize("damage", ["missing", "transposed", "extra", "integer"])
    def test_wrong_tensors_are_refused_by_name(self, implementation: type[Family], tmp_path: Path, damage: str) -> None:
        """A checkpoint that does not fit its configuration."""
        tensors = random_tensors(implementation, self.config)
        name = next(n for n, t in tensors.items() if t.ndim == 2 and t.shape[0] != t.shape[1])
        if damage == "missing":
            del tensors[name]
        elif damage == "transposed":
            tensors[name] = tensors[name].t().contiguous()
        elif damage == "integer":
            tensors[name] = tensors[name].to(torch.int32)
        else:
            name = "model.surprise.weight"
            tensors[name] = torch.zeros(2, 2)
        directory = write_checkpoint(tmp_path / "damaged", self.config, tensors)
        with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
            self.serve(directory, implementation)

    def _tied(self, checkpoint: Path) -> bool:
        return "lm_head.weight" not in open_index(checkpoint, Limits()).tensors


__all__ = ["ArchitectureSuite", "Reference", "engine_tokens", "greedy"]
