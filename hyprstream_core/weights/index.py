"""All tensors of a model directory, whether in one safetensors file or in shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyprstream_core.config import Limits
from hyprstream_core.errors import WeightsError
from hyprstream_core.weights.header import TensorEntry, read_header

SINGLE = "model.safetensors"
SHARDED = "model.safetensors.index.json"
UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npz")


@dataclass(frozen=True)
class WeightIndex:
    """Where each tensor of a model lies: ``tensors[name] = (file, entry)``."""

    directory: Path
    tensors: Mapping[str, tuple[Path, TensorEntry]]

    @property
    def num_parameters(self) -> int:
        """Elements of all tensors."""
        return sum(entry.num_elements for _, entry in self.tensors.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.num_bytes for _, entry in self.tensors.values())

    @property
    def files(self) -> list[Path]:
        """Weight files, by name."""
        return sorted({path for path, _ in self.tensors.values()})


def open_index(directory: Path, limits: Limits) -> WeightIndex:
    """Read the headers of all weight files in ``directory``. No weight is read.

    Raises:
        WeightsError: no safetensors weights (``weights.missing``), only pickled ones
            (``weights.unsafe_format``), or files that contradict their index.
    """
    if (directory / SHARDED).exists():
        files, promised = _shards(directory, limits)
    elif (directory / SINGLE).exists():
        files, promised = [SINGLE], None
    else:
        raise _no_weights(directory)
    tensors: dict[str, tuple[Path, TensorEntry]] = {}
    for name in files:
        path = directory / name
        if not path.is_file():
            raise WeightsError(f"{SHARDED} names {name!r}, which is not there", code="weights.missing")
        for tensor, entry in read_header(path, limits).items():
            if tensor in tensors:
                raise WeightsError(f"tensor {tensor!r} is in {tensors[tensor][0].name} and in {name}")
            if promised is not None and promised.get(tensor) != name:
                raise WeightsError(f"tensor {tensor!r} is in {name}, the index says {promised.get(tensor)!r}")
            tensors[tensor] = (path, entry)
    if promised is not None and (absent := sorted(set(promised) - set(tensors))):
        raise WeightsError(f"the index promises {absent[0]!r} in {promised[absent[0]]}, which does not hold it")
    return WeightIndex(directory, tensors)


def read_json(path: Path, limits: Limits) -> dict[str, Any]:
    """A JSON object from a model's file, bounded in size.

    Raises:
        WeightsError: too large, not JSON, or not an object.
    """
    if (size := path.stat().st_size) > limits.json_file_bytes:
        raise WeightsError(f"{path.name}: {size} bytes, at most {limits.json_file_bytes} are read")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path.name} is not JSON: {type(error).__name__}", code="weights.bad_config") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path.name}: got {type(value).__name__}, expected an object", code="weights.bad_config")
    return value


def _shards(directory: Path, limits: Limits) -> tuple[list[str], dict[str, str]]:
    table = read_json(directory / SHARDED, limits).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise WeightsError(f"{SHARDED}: 'weight_map' is {type(table).__name__}, expected a non-empty object")
    files = sorted({str(name) for name in table.values()})
    if len(files) > limits.shards:
        raise WeightsError(f"{SHARDED}: {len(files)} files, at most {limits.shards} are read")
    for name in files:
        if "/" in name or "\\" in name or "\0" in name or not name.endswith(".safetensors"):
            raise WeightsError(f"{SHARDED}: {name!r} is not the name of a safetensors file in this folder")
    return files, {str(tensor): str(name) for tensor, name in table.items()}


def _no_weights(directory: Path) -> WeightsError:
    unsafe = sorted(p.name for p in directory.iterdir() if p.suffix in UNSAFE)
    if unsafe:
        return WeightsError(
            f"{unsafe[0]} is a pickle, which can run code; only safetensors files are loaded",
            remedy="ask the publisher for safetensors, or convert it in a sandbox",
            code="weights.unsafe_format",
        )
    return WeightsError(f"no {SINGLE} and no {SHARDED} in this model", code="weights.missing")
