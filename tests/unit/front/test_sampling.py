import math

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import ContextLengthExceeded, InvalidRequest
from hyprstream_core.front import Options
from hyprstream_core.front.sampling import check_options, sampling_params
from hyprstream_core.interfaces.inference import Description, SamplingParams


def described(**generation) -> Description:
    return Description("m", "c" * 40, "/", "", generation_config=generation, max_model_len=100, vocab_size=50)


def params(options: Options, **generation) -> SamplingParams:
    check_options(options, Limits())
    return sampling_params(options, described(**generation), 10, 0)


def test_the_request_wins_over_the_model_and_the_model_over_the_server():
    assert params(Options(), temperature=0.6, top_k=20.0).temperature == 0.6
    assert params(Options(), top_k=20.0).top_k == 20
    assert params(Options(temperature=0.0, top_k=0), temperature=0.6, top_k=20) == SamplingParams(0, temperature=0.0)
    assert params(Options()) == SamplingParams(max_tokens=0)


def test_both_spellings_of_no_top_k_are_off():
    assert params(Options(top_k=-1), top_k=20).top_k == 0


def test_everything_arrives():
    options = Options(
        max_tokens=20, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, repetition_penalty=1.1, presence_penalty=-1.5,
        frequency_penalty=2, seed=-3, stop_token_ids=[1, 49], ignore_eos=True, min_tokens=5,
    )  # fmt: skip
    assert params(options) == SamplingParams(
        max_tokens=20, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, repetition_penalty=1.1, presence_penalty=-1.5,
        frequency_penalty=2, seed=-3, stop_token_ids=(1, 49), ignore_eos=True, min_tokens=5,
    )  # fmt: skip


BAD = [
    *(("temperature", v) for v in (math.nan, math.inf, -math.inf, -0.1, 2.1, "1", True, 10**400)),
    *(("top_p", v) for v in (0, 0.0, 1.01, math.nan, -1)),
    *(("min_p", v) for v in (-0.1, 1.1, math.nan)),
    *(("top_k", v) for v in (-2, 1.5, 2**31, 3.0)),
    *(("repetition_penalty", v) for v in (0, -1, 11, math.inf)),
    *(("presence_penalty", v) for v in (-2.1, 2.1, math.nan)),
    *(("frequency_penalty", v) for v in (-2.1, 2.1)),
    *(("n", v) for v in (0, -1, 33, 10**6, 1.0, True)),
    *(("max_tokens", v) for v in (0, -1, 1.5, 2**31)),
    *(("min_tokens", v) for v in (-1, 0.5)),
    *(("seed", v) for v in (2**63, -(2**63) - 1, 1.5)),
    *(("stop", v) for v in ([""], ["x"] * 5, ["x" * 257], "text", ["x"] * 100_000)),
    *(("stop_token_ids", v) for v in ([-1], [2**31], list(range(65)), ["1"])),
]


@pytest.mark.parametrize(("field", "value"), BAD, ids=[f"{f}={v!r:.20}" for f, v in BAD])
def test_case_038_values_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(InvalidRequest, match=field) as caught:
        check_options(Options(**{field: value}), Limits())
    assert caught.value.param == field


def test_values_that_contradict_each_other_or_the_model_are_refused():
    with pytest.raises(InvalidRequest, match="min_tokens"):
        params(Options(max_tokens=5, min_tokens=6))
    with pytest.raises(InvalidRequest, match="stop_token_ids"):
        params(Options(stop_token_ids=[50]))


@pytest.mark.parametrize("bad", [math.nan, -1.0, 3.0])
def test_a_bad_default_of_the_model_is_reported_and_can_be_overridden(bad):
    with pytest.raises(InvalidRequest, match=r"generation_config\.json sets temperature"):
        params(Options(), temperature=bad)
    assert params(Options(temperature=1.0), temperature=bad).temperature == 1.0


@pytest.mark.parametrize("bad", [0.9, 20.5, -0.5, math.inf, 2.0**31])
def test_a_top_k_of_the_model_that_is_no_integer_is_not_rounded(bad):
    with pytest.raises(InvalidRequest, match=r"generation_config\.json sets top_k"):
        params(Options(), top_k=bad)
    assert params(Options(top_k=7), top_k=bad).top_k == 7


def test_what_does_not_fit_names_both_numbers():
    with pytest.raises(ContextLengthExceeded) as caught:
        params(Options(max_tokens=91))
    assert caught.value.details == {"prompt_tokens": 10, "max_tokens": 91, "max_model_len": 100}
    assert "100" in caught.value.message
    assert "101" in caught.value.message
    assert params(Options(max_tokens=90)).max_tokens == 90
