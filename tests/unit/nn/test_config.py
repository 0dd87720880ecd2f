"""Every option of config.json that changes the computation is implemented, or refused by name."""

import pytest

from hyprstream_core.errors import HyprstreamError, UnsupportedModel, WeightsError
from hyprstream_core.nn.config import ConfigReader
from hyprstream_core.testing.checkpoints import TINY_QWEN3


def rope(**options):
    config = {k: v for k, v in TINY_QWEN3.items() if k != "rope_theta"}
    return ConfigReader({**config, **options}).decoder(theta=5.0, norm_eps=1e-6)["rope"]


@pytest.mark.parametrize(
    ("options", "theta"),
    [
        ({}, 5.0),
        ({"rope_theta": 7.0}, 7.0),
        ({"rope_theta": 7, "rope_scaling": None, "rope_parameters": None}, 7.0),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 9.0}}, 9.0),
        ({"rope_scaling": {"type": "default"}, "rope_theta": 7.0}, 7.0),
        ({"rope_parameters": {"rope_theta": 9.0, "factor": None}, "rope_scaling": {"rope_theta": 9}}, 9.0),
        ({"partial_rotary_factor": 1.0}, 5.0),
    ],
)
def test_plain_rotary_positions_in_every_spelling(options, theta):
    assert rope(**options).theta == theta
    assert rope(**options).type == "default"


@pytest.mark.parametrize(
    "options",
    [
        {"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0}}},
        {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        {"rope_scaling": {"rope_type": "default", "factor": 4.0}},
        {"rope_scaling": {"type": "yarn", "rope_type": "default"}},
        {"rope_scaling": {"rope_type": {"a": 1}}},
        {"partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_theta": 9.0, "partial_rotary_factor": 0.25}},
        {"rope_parameters": {"rope_theta": 9.0}, "rope_scaling": {"rope_theta": 8.0}},
        {"rope_parameters": {"rope_theta": 9.0}, "rope_theta": 8.0},
        {"rope_parameters": {"short_factor": [1.0], "rope_theta": 9.0}},
    ],
)
def test_rotary_options_that_are_not_implemented_are_refused_by_name(options):
    with pytest.raises(UnsupportedModel) as caught:
        rope(**options)
    assert any(key in f"{caught.value.message} {caught.value.param}" for key in options)


@pytest.mark.parametrize("key", ["rope_theta", "rms_norm_eps", "partial_rotary_factor"])
@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), "1", True])
def test_numbers_that_no_float_can_hold_are_refused_by_name(key, value):
    with pytest.raises(WeightsError) as caught:
        rope(**{key: value})
    assert caught.value.param == key


@pytest.mark.parametrize("value", ["x" * 10**6, ["x" * 10**6], 10**4000, "\ud800"])
def test_what_a_file_says_does_not_fill_the_message(value):
    for key in ("hidden_size", "rope_theta", "rope_scaling", "dtype", "tie_word_embeddings"):
        with pytest.raises(HyprstreamError) as caught:
            rope(**{key: value})
        assert len(caught.value.message) < 400
        caught.value.message.encode()
