"""What the files of a model say about it, without loading a weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hyprstream_core.cli.context import Context
from hyprstream_core.errors import HyprstreamError

FACTS = ("architectures", "family", "dtype", "context", "vocab_size", "parameters", "tensors", "problem")


def model_facts(context: Context, directory: Path) -> dict[str, Any]:
    """What config.json and the weight headers say; a fact that cannot be read is None, and the first such is
    the ``problem`` that keeps the model from being served.

    ``family`` is the name of the plugin record that implements the architecture. Text and lists of the file are
    shortened, and counts are positive integers: whatever is shown of it is of a known size.
    """
    from hyprstream_core.services.description import read_model_files
    from hyprstream_core.weights.index import open_index

    facts: dict[str, Any] = dict.fromkeys(FACTS)
    with _noting(facts):
        index = open_index(directory, context.settings.limits)
        entries = [entry for _, entry in index.tensors.values()]
        facts["parameters"] = index.num_parameters
        facts["tensors"] = {
            "count": len(entries),
            "bytes": index.num_bytes,
            "dtypes": dict(sorted(Counter(e.dtype for e in entries).items())),
        }
    with _noting(facts):
        files = read_model_files(directory, context.settings.limits)
        facts["architectures"], facts["dtype"] = list(files.architectures), files.dtype
        with _noting(facts):
            facts["context"] = files.max_positions
        with _noting(facts):
            facts["vocab_size"] = files.vocab_size
        facts["family"] = context.plugins.architecture_for(files.architectures, files.model_type).name
    return facts


@contextmanager
def _noting(facts: dict[str, Any]) -> Iterator[None]:
    """What fails inside is the problem, unless there is one already."""
    try:
        yield
    except HyprstreamError as error:
        facts["problem"] = facts["problem"] or str(error)
