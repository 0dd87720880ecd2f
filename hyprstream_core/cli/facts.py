"""What the files of a model say about it, without loading a weight."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from hyprstream_core.cli.context import Context
from hyprstream_core.errors import HyprstreamError

FACTS = ("architectures", "family", "dtype", "context", "vocab_size", "parameters", "tensors", "problem")


def model_facts(context: Context, directory: Path) -> dict[str, Any]:
    """What config.json and the weight headers say; ``problem`` when they cannot be served, else None.

    ``family`` is the record of the plugin that implements the architecture.
    """
    from hyprstream_core.weights.index import open_index, read_json

    limits = context.settings.limits
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    try:
        config = read_json(directory / "config.json", limits) if (directory / "config.json").is_file() else {}
        names = config.get("architectures")
        facts["architectures"] = [str(n) for n in names] if isinstance(names, list) else []
        for fact, key in (("dtype", "dtype"), ("context", "max_position_embeddings"), ("vocab_size", "vocab_size")):
            facts[fact] = config.get(key)
        facts["dtype"] = facts["dtype"] or config.get("torch_dtype")
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
        facts["problem"] = str(error)
    return facts
