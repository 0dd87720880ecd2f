"""Chooses tokens from logits, reproducibly: a row's draw depends on its seed and position, not on the batch.

Order: penalties → temperature → top-k → top-p and min-p → draw. The draw is Gumbel-max: ``argmax(logit + g)``, where
``g`` comes from a counter-based generator keyed (seed, position, token id), so that it needs no state and gives
the same text for a seed whatever else runs. Legend: R rows, V vocabulary, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from hyprstream_core.interfaces.device import SamplingRow

_MASK = 2**64 - 1


def sample(logits_RV: Tensor, rows: Sequence[SamplingRow]) -> list[int]:
    """One token id per row."""
    scores_RV = logits_RV.float()
    for i, row in enumerate(rows):
        if row.banned or row.output or row.repetition_penalty != 1.0:
            _penalise(scores_RV[i], row)
    chosen = scores_RV.argmax(-1)
    drawn = [i for i, row in enumerate(rows) if row.temperature > 0]
    for group in (
        [i for i in drawn if rows[i].top_k],
        [i for i in drawn if not rows[i].top_k and rows[i].top_p < 1],
        [i for i in drawn if not rows[i].top_k and rows[i].top_p >= 1],
    ):
        if group:
            chosen[group] = _draw(scores_RV[group], [rows[i] for i in group])
    ids: list[int] = chosen.tolist()
    return ids


def _penalise(scores_V: Tensor, row: SamplingRow) -> None:
    """Apply a row's penalties and bans in place.

    Repetition (Keskar et al. 2019, arXiv:1909.05858) looks at prompt and answer; presence and frequency
    (OpenAI's definition) at the answer only.
    """
    if row.repetition_penalty != 1.0:
        seen = torch.tensor(list({*row.prompt, *row.output}), dtype=torch.long, device=scores_V.device)
        old = scores_V[seen]
        scores_V[seen] = torch.where(old > 0, old / row.repetition_penalty, old * row.repetition_penalty)
    if row.output and (row.presence_penalty or row.frequency_penalty):
        ids, counts = torch.tensor(list(row.output), device=scores_V.device).unique(return_counts=True)
        scores_V[ids] -= row.presence_penalty + row.frequency_penalty * counts
    if row.banned:
        scores_V[list(row.banned)] = -torch.inf


def _draw(scores_RV: Tensor, rows: list[SamplingRow]) -> Tensor:
    """Draw one id per row; all rows of a call use top-k, or all use only top-p, or none truncates."""
    device = scores_RV.device
    temperature_R1 = torch.tensor([[row.temperature] for row in rows], device=device)
    scaled_RV = (scores_RV - scores_RV.amax(-1, keepdim=True)) / temperature_R1  # the best is 0 at any temperature
    vocab = scaled_RV.shape[-1]
    if any(row.top_k for row in rows) or any(row.top_p < 1 for row in rows):
        width = min(vocab, max(row.top_k or vocab for row in rows))
        values_RC, ids_RC = scaled_RV.topk(width, sorted=True)
        values_RC = _truncate(values_RC, rows)
    else:
        values_RC, ids_RC = scaled_RV, torch.arange(vocab, device=device).expand_as(scaled_RV)
    values_RC = _drop_unlikely(values_RC, rows)
    best_R1 = (values_RC + _gumbel(ids_RC, rows)).argmax(-1, keepdim=True)
    return ids_RC.gather(1, best_R1).squeeze(1)


def _truncate(values_RC: Tensor, rows: list[SamplingRow]) -> Tensor:
    """Keep each row's ``top_k`` highest and of these the fewest that hold ``top_p`` of the probability."""
    device, width = values_RC.device, values_RC.shape[1]
    top_k_R1 = torch.tensor([[row.top_k or width] for row in rows], device=device)
    top_p_R1 = torch.tensor([[row.top_p] for row in rows], device=device)
    values_RC = values_RC.masked_fill(torch.arange(width, device=device) >= top_k_R1, -torch.inf)
    probability_RC = values_RC.softmax(-1)
    before_RC = probability_RC.cumsum(-1) - probability_RC
    drop_RC = before_RC >= top_p_R1
    drop_RC[:, 0] = False
    return values_RC.masked_fill(drop_RC, -torch.inf)


def _drop_unlikely(values_RC: Tensor, rows: list[SamplingRow]) -> Tensor:
    """Drop what is less than ``min_p`` times as likely as the most likely."""
    if not any(row.min_p for row in rows):
        return values_RC
    min_p_R1 = torch.tensor([[row.min_p] for row in rows], device=values_RC.device)
    return values_RC.masked_fill(values_RC < values_RC.amax(-1, keepdim=True) + min_p_R1.log(), -torch.inf)


def _gumbel(ids_RC: Tensor, rows: list[SamplingRow]) -> Tensor:
    """Gumbel noise of each (seed, position, token id): splitmix64 (Steele et al. 2014) as a counter RNG."""
    keys = [_mix(_mix(row.seed & _MASK) ^ (row.position & _MASK)) for row in rows]
    key_R1 = torch.tensor([[k - 2**64 if k >= 2**63 else k] for k in keys], device=ids_RC.device)
    x = ids_RC * _signed(0x9E3779B97F4A7C15) + key_R1
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    x = x ^ _shift(x, 31)
    uniform = (_shift(x, 11).double() + 0.5) * 2.0**-53
    return -(-uniform.log()).log().float()


def _mix(x: int) -> int:
    """splitmix64's output function on Python integers."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - 2**64 if x >= 2**63 else x


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
