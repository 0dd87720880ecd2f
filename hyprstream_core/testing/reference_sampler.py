"""Sampling as it is defined, one row and one token at a time in Python's own numbers: what backends are compared with.

It shares nothing with :mod:`hyprstream_core.engine.sampler`, which it checks like any other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from hyprstream_core.interfaces.device import SamplingRow

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def reference_token(logits: Sequence[float], row: SamplingRow) -> int:
    """The token of one row of logits ``[V]``: penalties → temperature → top-k → top-p → min-p → draw."""
    scores = _penalised(logits, row)
    best = max(scores)
    if row.temperature == 0:
        return scores.index(best)
    scaled = [(score - best) / row.temperature for score in scores]
    kept = _kept(scaled, row)
    return max(kept, key=lambda token: scaled[token] + gumbel(row.seed, row.position, token))


def _penalised(logits: Sequence[float], row: SamplingRow) -> list[float]:
    scores = [float(logit) for logit in logits]
    for token in {*row.prompt, *row.output}:
        factor = row.repetition_penalty
        scores[token] = scores[token] / factor if scores[token] > 0 else scores[token] * factor
    for token, count in Counter(row.output).items():
        scores[token] -= row.presence_penalty + row.frequency_penalty * count
    for token in row.banned:
        scores[token] = -math.inf
    return scores


def _kept(scaled: list[float], row: SamplingRow) -> list[int]:
    """The tokens that may be drawn, the most likely first."""
    order = sorted(range(len(scaled)), key=lambda token: -scaled[token])[: row.top_k or None]
    total = sum(math.exp(scaled[token]) for token in order)
    kept: list[int] = []
    mass = 0.0
    for token in order:
        if kept and mass >= row.top_p:
            break
        kept.append(token)
        mass += math.exp(scaled[token]) / total
    least = math.log(row.min_p) if row.min_p else -math.inf
    return [token for token in kept if scaled[token] >= scaled[kept[0]] + least]


def gumbel(seed: int, position: int, token: int) -> float:
    """The noise of one token: splitmix64 (Steele et al. 2014) keyed by seed and position, at counter ``token``."""
    key = _finish((_finish((seed + _GOLDEN) & _MASK) ^ (position & _MASK)) + _GOLDEN)
    uniform = ((_finish(token * _GOLDEN + key) >> 11) + 0.5) * 2.0**-53
    return -math.log(-math.log(uniform))


def _finish(x: int) -> int:
    """splitmix64's output function."""
    x &= _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
