"""Maps weight files into a model's parameters without copying them.

Each file is mapped once, copy-on-write (``MAP_PRIVATE``): parameters of the checkpoint's own dtype are views into
the page cache, shared by every process that maps the same file.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from hyprstream_core.errors import WeightsError
from hyprstream_core.excerpts import shown
from hyprstream_core.model_files import open_plain

if TYPE_CHECKING:
    from torch import Tensor

    from hyprstream_core.interfaces.model import CausalLM
    from hyprstream_core.weights.header import TensorEntry
    from hyprstream_core.weights.index import WeightIndex

TORCH_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
FLOATING = frozenset(name for name, d in TORCH_DTYPES.items() if d.is_floating_point and d.itemsize > 1)
"""What weights may be stored as; 8-bit floats are of no use without their scales."""
IGNORED = ("rotary_emb.inv_freq",)
"""Endings of tensors that old checkpoints carry and every implementation recomputes."""


def load_into(
    model: CausalLM, index: WeightIndex, *, tensor_name: Callable[[str], str], tied: bool, dtype: torch.dtype
) -> None:
    """Give every parameter of ``model`` (on the meta device) its tensor, converted to ``dtype`` where needed.

    ``tensor_name`` maps a parameter's name to the checkpoint's. With ``tied`` the head is the embedding and
    a separate ``lm_head.weight`` in the files is ignored.

    Raises:
        WeightsError: a tensor is missing, has another shape, is not floating point, or belongs to nothing.
    """
    wanted = {name: p for name, p in model.named_parameters() if not (tied and name == "lm_head.weight")}
    plan = {name: _match(index, tensor_name(name), tuple(p.shape)) for name, p in wanted.items()}
    used = {tensor_name(name) for name in wanted} | ({tensor_name("lm_head.weight")} if tied else set())
    odd = [name for name in sorted(set(index.tensors) - used) if not name.endswith(IGNORED)]
    if odd:
        raise WeightsError(f"tensor {shown(odd[0])} belongs to nothing in this architecture ({len(odd)} such tensors)")
    maps = {path: _map(path) for path in {path for path, _ in plan.values()}}
    for name, (path, entry) in plan.items():
        tensor = _view(maps[path], entry).to(dtype)
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))


def _match(index: WeightIndex, name: str, shape: tuple[int, ...]) -> tuple[Path, TensorEntry]:
    if name not in index.tensors:
        raise WeightsError(f"tensor {name!r} is missing from the weight files", code="weights.missing", tensor=name)
    path, entry = index.tensors[name]
    if entry.shape != shape:
        raise WeightsError(
            f"tensor {name!r} has shape {list(entry.shape)}, the configuration needs {list(shape)}", tensor=name
        )
    if entry.dtype not in FLOATING:
        raise WeightsError(f"tensor {name!r} is {entry.dtype}, expected one of {', '.join(sorted(FLOATING))}")
    return path, entry


def _map(path: Path) -> mmap.mmap:
    with open_plain(path, WeightsError) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _view(mapped: mmap.mmap, entry: TensorEntry) -> Tensor:
    dtype = TORCH_DTYPES[entry.dtype]
    if entry.num_bytes == 0:
        return torch.empty(entry.shape, dtype=dtype)
    if entry.offset % dtype.itemsize:  # a foreign writer's odd header length: rare, so copy
        data = bytearray(mapped[entry.offset : entry.offset + entry.num_bytes])
        return torch.frombuffer(data, dtype=dtype).view(entry.shape)
    return torch.frombuffer(mapped, dtype=dtype, count=entry.num_elements, offset=entry.offset).view(entry.shape)
