"""All tensors of a model directory, whether in one safetensors file or in shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hyprstream_core.config import Limits
from hyprstream_core.errors import WeightsError
from hyprstream_core.excerpts import shown
from hyprstream_core.model_files import read_object
from hyprstream_core.weights.header import Spent, TensorEntry, read_header

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
    spent = Spent()
    for name in files:
        path = directory / name
        for tensor, entry in _header(path, limits, spent).items():
            if tensor in tensors:
                raise WeightsError(f"tensor {shown(tensor)} is in {tensors[tensor][0].name} and in {name}")
            if promised is not None and promised.get(tensor) != name:
                raise WeightsError(f"tensor {shown(tensor)} is in {name}, the index says {shown(promised.get(tensor))}")
            tensors[tensor] = (path, entry)
    if promised is not None and (absent := sorted(set(promised) - set(tensors))):
        raise WeightsError(f"the index promises {shown(absent[0])} in {promised[absent[0]]}, which does not hold it")
    return WeightIndex(directory, tensors)


def _header(path: Path, limits: Limits, spent: Spent) -> dict[str, TensorEntry]:
    try:
        return read_header(path, limits, spent)
    except FileNotFoundError:
        raise WeightsError(f"{SHARDED} names {shown(path.name)}, which is not there", code="weights.missing") from None


def _shards(directory: Path, limits: Limits) -> tuple[list[str], dict[str, str]]:
    """The names of the weight files, and which of them holds which tensor."""
    table = (read_object(directory / SHARDED, limits.json_file_bytes) or {}).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise WeightsError(f"{SHARDED}: 'weight_map' is {type(table).__name__}, expected a non-empty object")
    files = sorted({str(name) for name in table.values()})
    if len(files) > limits.shards:
        raise WeightsError(f"{SHARDED}: {len(files)} files, at most {limits.shards} are read")
    for name in files:
        if "/" in name or "\\" in name or "\0" in name or not name.endswith(".safetensors") or len(name) > 255:
            raise WeightsError(f"{SHARDED}: {shown(name)} is not the name of a safetensors file in this folder")
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
