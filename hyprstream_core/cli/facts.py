"""What the files of a model say about it, without loading a weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyprstream_core.cli.context import Context
from hyprstream_core.errors import HyprstreamError, WeightsError

FACTS = ("architectures", "family", "dtype", "context", "vocab_size", "parameters", "tensors", "problem")

LONGEST, LONGEST_PROBLEM, MOST = 80, 1000, 16
"""Characters that are told of one text of the file and of what is wrong, and entries of one list."""


def model_facts(context: Context, directory: Path) -> dict[str, Any]:
    """What config.json and the weight headers say; ``problem`` when they cannot be served, else None.

    ``family`` is the name of the plugin record that implements the architecture. Text and lists of the file are
    shortened, and counts are positive integers: whatever is shown of it is of a known size.
    """
    from hyprstream_core.weights.index import open_index, read_json

    limits = context.settings.limits
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    try:
        config = read_json(directory / "config.json", limits) if (directory / "config.json").is_file() else {}
        names = config.get("architectures")
        listed = names[:MOST] if isinstance(names, list) else []
        facts["architectures"] = [_short(name) for name in listed if isinstance(name, str)]
        facts["dtype"] = _text(config, "dtype") or _text(config, "torch_dtype")
        facts["context"] = _count(config, "max_position_embeddings")
        facts["vocab_size"] = _count(config, "vocab_size")
        index = open_index(directory, limits)
        entries = [entry for _, entry in index.tensors.values()]
        facts["parameters"] = index.num_parameters
        facts["tensors"] = {
            "count": len(entries),
            "bytes": index.num_bytes,
            "dtypes": dict(sorted(Counter(e.dtype for e in entries).items())),
        }
        facts["family"] = context.plugins.architecture_for(facts["architectures"]).name
    except HyprstreamError as error:
        facts["problem"] = _short(str(error).replace("\n", " "), LONGEST_PROBLEM)
    return facts


def _text(config: Mapping[str, Any], key: str) -> str | None:
    """A text of config.json, None when it is not there; WeightsError when it is something else."""
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise _wrong(key, value, "text")
    return None if value is None else _short(value)


def _count(config: Mapping[str, Any], key: str) -> int | None:
    """A positive integer of config.json, None when it is not there; WeightsError when it is something else."""
    value = config.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63):
        raise _wrong(key, value, "a positive integer")
    return value


def _wrong(key: str, value: Any, expected: str) -> WeightsError:
    is_short = isinstance(value, str | float | bool) or (isinstance(value, int) and abs(value) < 2**64)
    got = _short(repr(value)) if is_short else f"of type {type(value).__name__}"
    return WeightsError(f"config.json: {key!r} is {got}, expected {expected}", code="weights.bad_config", param=key)


def _short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
