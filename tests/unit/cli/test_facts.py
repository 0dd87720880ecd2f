"""What is told of a model's files is of known types and sizes, whatever they hold."""

import json

import pytest

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.facts import LONGEST, LONGEST_PROBLEM, MOST, model_facts
from hyprstream_core.cli.inspect import _for_people
from hyprstream_core.cli.output import emit_fields


def facts(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))
    return model_facts(Context({"HOME": str(folder)}), folder)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"dtype": ["bfloat16"]}, "config.json: 'dtype' is of type list, expected text"),
        ({"torch_dtype": {}}, "config.json: 'torch_dtype' is of type dict, expected text"),
        ({"max_position_embeddings": "x" * 10**6}, "config.json: 'max_position_embeddings' is 'xxx"),
        ({"max_position_embeddings": True}, "is True, expected a positive integer"),
        ({"vocab_size": 0}, "config.json: 'vocab_size' is 0, expected a positive integer"),
        ({"vocab_size": 10**4000}, "expected a positive integer"),
        ({"vocab_size": [[[]]]}, "is of type list, expected a positive integer"),
    ],
)
def test_a_value_of_another_type_is_the_problem_and_no_fact(tmp_path, config, problem):
    found = facts(tmp_path, **config)
    assert problem in found["problem"]
    assert len(json.dumps(found)) < 1000
    assert found["dtype"] is found["context"] is found["vocab_size"] is None


def test_text_and_lists_are_shortened(tmp_path):
    found = facts(tmp_path, architectures=["A" * 10**6, 3, *["B"] * 10**5], dtype="d" * 10**6, vocab_size=8)
    assert found["architectures"] == ["A" * LONGEST + "…", *["B"] * (MOST - 2)]
    assert found["dtype"] == "d" * LONGEST + "…"
    assert found["vocab_size"] == 8
    assert len(found["problem"]) <= LONGEST_PROBLEM + 1


def test_a_config_cannot_write_lines_of_inspect(tmp_path, capsys):
    found = facts(tmp_path, architectures=["X\nproblem       none"], dtype="float32\nfamily        qwen3")
    emit_fields({k: v for k, v in _for_people({**IDENTITY, **found}).items() if v is not None})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("problem", "family"))] == ["problem"]
    assert "no model.safetensors" in next(line for line in lines if line.startswith("problem"))


IDENTITY = {
    "name": "m",
    "ref": "refs/heads/main",
    "kind": "branch",
    "commit": "0" * 40,
    "uuid": "u",
    "url": "file:///m",
    "branches": {},
    "worktrees": {},
    "tags": {},
    "files": [],
}
