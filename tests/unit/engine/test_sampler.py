"""Draws follow their distribution, and depend on seed and position only."""

import math

import pytest
import torch

from hyprstream_core.engine.sampler import sample
from hyprstream_core.interfaces.device import SamplingRow

VOCAB = 50


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def logits(rows=1, seed=0):
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 2


def draws(row_logits, count, **params):
    rows = [SamplingRow(seed=11, position=i, **params) for i in range(count)]
    return torch.tensor(sample(row_logits.expand(count, -1).clone(), rows))


def test_temperature_zero_is_argmax():
    scores = logits(4)
    assert sample(scores.clone(), [SamplingRow(temperature=0)] * 4) == scores.argmax(-1).tolist()


@pytest.mark.parametrize("params", [{}, {"temperature": 0.5}, {"top_p": 0.8}, {"top_k": 7}, {"min_p": 0.1}])
def test_frequencies_match_the_probabilities(params):
    scores = logits()
    expected = (scores[0] / params.get("temperature", 1.0)).softmax(-1)
    order = expected.argsort(descending=True)
    if "top_k" in params:
        expected[order[params["top_k"] :]] = 0
    if "top_p" in params:
        cumulative = expected[order].cumsum(-1) - expected[order]
        expected[order[cumulative >= params["top_p"]]] = 0
    if "min_p" in params:
        expected[expected < params["min_p"] * expected.max()] = 0
    expected /= expected.sum()
    count = 20_000
    got = draws(scores, count, **params).bincount(minlength=VOCAB) / count
    tolerance = 4 * math.sqrt(0.25 / count)
    assert (got[expected == 0] == 0).all(), "a truncated token was drawn"
    assert (got - expected).abs().max() < tolerance


def test_a_draw_does_not_depend_on_the_batch():
    scores = logits(6, seed=3)
    rows = [
        SamplingRow(seed=i, position=9, temperature=0.9, top_k=(0, 5)[i % 2], top_p=(1.0, 0.9)[i % 3 > 0])
        for i in range(6)
    ]
    together = sample(scores.clone(), rows)
    alone = [sample(scores[i : i + 1].clone(), [rows[i]])[0] for i in range(6)]
    assert together == alone


def test_seed_and_position_both_matter():
    scores = torch.zeros(1, VOCAB)
    by_seed = {sample(scores.clone(), [SamplingRow(seed=s, position=0)])[0] for s in range(200)}
    by_position = {sample(scores.clone(), [SamplingRow(seed=0, position=p)])[0] for p in range(200)}
    assert min(len(by_seed), len(by_position)) > 40


def test_repetition_penalty_is_transformers():
    from transformers import RepetitionPenaltyLogitsProcessor

    scores = logits(seed=5)
    seen = [1, 2, 3, 3]
    want = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([seen]), scores.clone())
    row = SamplingRow(temperature=0, repetition_penalty=1.7, prompt=seen[:2], output=seen[2:])
    assert sample(scores.clone(), [row]) == want.argmax(-1).tolist()
    forced = torch.full((1, VOCAB), -1.0)
    forced[0, 3], forced[0, 4] = 2.0, 1.5
    assert sample(forced, [row]) == [4]


def test_presence_and_frequency_count_the_answer_only():
    scores = torch.zeros(1, VOCAB)
    scores[0, 7], scores[0, 8] = 1.0, 0.8
    row = SamplingRow(temperature=0, presence_penalty=0.1, frequency_penalty=0.1, prompt=[7] * 9, output=[7])
    assert sample(scores.clone(), [row]) == [7]
    row = SamplingRow(temperature=0, presence_penalty=0.1, frequency_penalty=0.1, output=[7, 7])
    assert sample(scores.clone(), [row]) == [8]


def test_banned_tokens_never_come():
    scores = logits()
    best = int(scores.argmax())
    assert best not in draws(scores, 500, banned=(best,)).tolist()


@pytest.mark.parametrize("params", [{}, {"top_k": 5}, {"top_p": 0.5}])
def test_a_tiny_temperature_is_argmax(params):
    scores = logits() * 50
    assert set(draws(scores, 20, temperature=1e-40, **params).tolist()) == {int(scores.argmax())}
