"""The model object."""

import pytest

from hyprstream_api.models import model_record
from hyprstream_core.interfaces.inference import ModelInfo

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def record(status):
    return model_record(ModelInfo("m:main", "m", "main", "branch", COMMIT, "u", 0, status=status), (), 60.0)["meta"]


@pytest.mark.parametrize(
    ("status", "state", "problem"),
    [
        ("", "ok", None),
        ("tokenizer.json is not UTF-8 at byte 7", "unservable", "tokenizer.json is not UTF-8 at byte 7"),
        ("no space left in /home/someone/models", "unservable", "no space left in …"),
    ],
)
def test_its_state_is_one_of_two_words_and_the_sentence_is_beside_it(status, state, problem):
    meta = record(status)
    assert (meta["status"], meta["problem"]) == (state, problem)
