"""One forward pass: from the scheduler's plan to one sampled token per finished chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hyprstream_core.interfaces.device import Backend, Chunk, KVCache, Ops, SamplingRow
from hyprstream_core.interfaces.model import CausalLM

if TYPE_CHECKING:
    from hyprstream_core.engine.scheduler import Scheduled
    from hyprstream_core.engine.sequence import Sequence
    from hyprstream_core.nn.rope import RopeTable


class Runner:
    """Binds a model to its device: parameters, operations, KV memory."""

    def __init__(self, model: CausalLM, ops: Ops, kv: KVCache, rope: RopeTable, backend: Backend) -> None:
        self._model, self._ops, self._kv, self._rope, self._backend = model, ops, kv, rope, backend
        self.num_forward_passes = 0

    @torch.inference_mode()
    def run(self, plan: list[Scheduled]) -> list[int]:
        """Compute ``plan``; one token id for each entry that samples, in order."""
        chunks = [_chunk(entry) for entry in plan]
        longest = max(chunk.start + len(chunk.tokens) for chunk in chunks)
        ids_T, step = self._backend.stage(self._ops, self._kv, chunks, self._rope.upto(longest))
        hidden_TD = self._model.forward(ids_T, step)
        self.num_forward_passes += 1
        last, rows, end = [], [], 0
        for entry in plan:
            end += entry.num_tokens
            if entry.samples:
                last.append(end - 1)
                rows.append(_sampling_row(entry.sequence))
        if not rows:
            return []
        hidden_RD = hidden_TD if len(rows) == hidden_TD.shape[0] else hidden_TD[last]
        return self._backend.sample(self._model.logits(hidden_RD, step), rows)


def _chunk(entry: Scheduled) -> Chunk:
    sequence = entry.sequence
    start = sequence.num_computed
    return Chunk(sequence.tokens[start : start + entry.num_tokens], start, sequence.blocks)


def _sampling_row(sequence: Sequence) -> SamplingRow:
    """How to draw ``sequence``'s next token. The history is only passed when a penalty looks at it."""
    p = sequence.params
    penalised = p.repetition_penalty != 1.0 or p.presence_penalty or p.frequency_penalty
    return SamplingRow(
        temperature=p.temperature,
        top_k=p.top_k,
        top_p=p.top_p,
        min_p=p.min_p,
        repetition_penalty=p.repetition_penalty,
        presence_penalty=p.presence_penalty,
        frequency_penalty=p.frequency_penalty,
        seed=sequence.seed,
        position=sequence.num_tokens,
        prompt=sequence.tokens[: sequence.num_prompt] if penalised else (),
        output=sequence.tokens[sequence.num_prompt :] if penalised else (),
        banned=tuple(sequence.stop_ids) if sequence.num_output < p.min_tokens else (),
    )
