"""What is told of a model's files is of known types and sizes, whatever they hold."""

import json

import pytest

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.facts import model_facts
from hyprstream_core.cli.inspect import _for_people
from hyprstream_core.cli.output import emit_fields
from hyprstream_core.model_files import MAX_NAMES, NAME_CHARS


def facts(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))
    return model_facts(Context({"HOME": str(folder)}), folder)


@pytest.mark.parametrize("value", ["x" * 10**6, True, 0, -1, 10**4000, [[[]]], {}, 1.5, "\ud800"])
@pytest.mark.parametrize("key", ["max_position_embeddings", "vocab_size"])
def test_a_count_of_another_type_is_no_fact(tmp_path, key, value):
    found = facts(tmp_path, **{key: value})
    assert found["context"] is found["vocab_size"] is None
    assert len(json.dumps(found)) < 1000


def test_text_and_lists_are_shortened(tmp_path):
    found = facts(tmp_path, architectures=["A" * 10**6, *["B"] * 10**5], dtype="d" * 10**6, vocab_size=8)
    assert len(found["architectures"]) == MAX_NAMES
    assert all(len(name) <= NAME_CHARS for name in [*found["architectures"], found["dtype"]])
    assert found["vocab_size"] == 8


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
