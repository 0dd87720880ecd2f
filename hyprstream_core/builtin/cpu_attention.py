"""Paged attention in plain torch: gather each sequence's blocks, then scaled dot product attention.

The query heads that share a key/value head are folded into the query length, which on CPUs is several times faster than
``enable_gqa``. Decoding rows of similar length are computed as one batch, prompt chunks one by one.
Legend: T tokens, B rows of a group, K key/value heads, G query heads per key/value head, E head dimension, S cached
tokens, N blocks.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from hyprstream_core.builtin.memory import resident_bytes
from hyprstream_core.interfaces.device import Chunk, Ops, Step

if TYPE_CHECKING:
    from torch import Tensor

    from hyprstream_core.interfaces.model import DecoderConfig


class CpuKVCache:
    """Keys and values per layer as ``[K, N, block_size · E]``: one block of one head is one stretch of memory."""

    def __init__(self, config: DecoderConfig, dtype: torch.dtype, num_blocks: int, block_size: int) -> None:
        self.num_blocks, self.block_size, self.head_dim = num_blocks, block_size, config.head_dim
        shape = (config.num_kv_heads, num_blocks, block_size * config.head_dim)
        self.keys = [_lazy_zeros(shape, dtype) for _ in range(config.num_layers)]
        self.values = [_lazy_zeros(shape, dtype) for _ in range(config.num_layers)]
        self.num_bytes = 2 * config.num_layers * self.keys[0].nbytes
        self._is_lazy = self._resident() == 0

    @property
    def unwritten_bytes(self) -> int:
        """What this cache may still take: pages that nothing was written to. (All, where the kernel does not tell.)"""
        return max(0, self.num_bytes - self._resident()) if self._is_lazy else self.num_bytes

    def _resident(self) -> int:
        return sum(resident_bytes(store.data_ptr(), store.nbytes) for store in (*self.keys, *self.values))

    def write(self, layer: int, slots_T: Tensor, k_TKE: Tensor, v_TKE: Tensor) -> None:
        """Store the new tokens at ``slots_T`` (block · block_size + offset)."""
        for store, new_TKE in ((self.keys[layer], k_TKE), (self.values[layer], v_TKE)):
            store.view(store.shape[0], -1, self.head_dim).index_copy_(1, slots_T, new_TKE.transpose(0, 1))

    def gather(self, store: Tensor, blocks_BN: Tensor) -> Tensor:
        """``[B, K, N·block_size, E]`` (strided) for block tables ``[B, N]``."""
        flat = store.index_select(1, blocks_BN.flatten())
        return flat.view(store.shape[0], blocks_BN.shape[0], -1, self.head_dim).transpose(0, 1)


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros in anonymous pages, which take memory and time only once they are written.

    NOTE: not ``torch.empty``: what stands in a block that a mask hides is multiplied by 0, and 0 · NaN is NaN.
    """
    size = math.prod(shape) * dtype.itemsize
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


@dataclass(frozen=True)
class DecodeGroup:
    """Rows with one new token each and block tables padded to one length; ``mask_B11S`` hides the padding."""

    rows_B: Tensor
    blocks_BN: Tensor
    mask_B11S: Tensor


@dataclass(frozen=True)
class PromptChunk:
    """Tokens ``first .. last`` of the step are one sequence's next ones; ``mask_TS`` is None when they start it."""

    first: int
    last: int
    blocks_1N: Tensor
    mask_TS: Tensor | None


@dataclass
class PagedStep(Step):
    """A step over the paged cache."""

    kv: CpuKVCache | None = None
    slots_T: Tensor = field(default_factory=lambda: torch.empty(0))
    decodes: list[DecodeGroup] = field(default_factory=list)
    prompts: list[PromptChunk] = field(default_factory=list)


def stage_step(
    ops: Ops, kv: CpuKVCache, chunks: Sequence[Chunk], rope: tuple[Tensor, Tensor]
) -> tuple[Tensor, PagedStep]:
    """Lay out ``chunks`` one after the other."""
    ids = [token for chunk in chunks for token in chunk.tokens]
    positions = [p for chunk in chunks for p in range(chunk.start, chunk.start + len(chunk.tokens))]
    slots = [slot for chunk in chunks for slot in _slots(chunk, kv.block_size)]
    position_T = torch.tensor(positions)
    dtype = kv.keys[0].dtype
    cos_TE, sin_TE = (table[position_T].to(dtype) for table in rope)
    decodes, prompts = _split(chunks, kv.block_size)
    step = PagedStep(ops, position_T, cos_TE, sin_TE, kv, torch.tensor(slots), decodes, prompts)
    return torch.tensor(ids), step


def _slots(chunk: Chunk, block_size: int) -> list[int]:
    places = (divmod(p, block_size) for p in range(chunk.start, chunk.start + len(chunk.tokens)))
    return [chunk.blocks[block] * block_size + offset for block, offset in places]


def _split(chunks: Sequence[Chunk], block_size: int) -> tuple[list[DecodeGroup], list[PromptChunk]]:
    """Single-token chunks grouped by the power of two of their length, the others as they are."""
    groups: dict[int, list[tuple[int, Chunk]]] = {}
    prompts, first = [], 0
    for chunk in chunks:
        if len(chunk.tokens) == 1:
            groups.setdefault((chunk.start // block_size).bit_length(), []).append((first, chunk))
        else:
            prompts.append(_prompt(chunk, first, block_size))
        first += len(chunk.tokens)
    return [_decode_group(rows, block_size) for rows in groups.values()], prompts


def _decode_group(rows: list[tuple[int, Chunk]], block_size: int) -> DecodeGroup:
    lengths = [chunk.start + 1 for _, chunk in rows]
    width = -(-max(lengths) // block_size)
    tables = [list(c.blocks[:width]) + [c.blocks[0]] * (width - len(c.blocks[:width])) for _, c in rows]
    mask_BS = torch.arange(width * block_size) < torch.tensor(lengths).unsqueeze(1)
    return DecodeGroup(torch.tensor([row for row, _ in rows]), torch.tensor(tables), mask_BS[:, None, None])


def _prompt(chunk: Chunk, first: int, block_size: int) -> PromptChunk:
    stop = chunk.start + len(chunk.tokens)
    table = torch.tensor([list(chunk.blocks[: -(-stop // block_size)])])
    mask = None
    if chunk.start:
        mask = torch.arange(stop) <= torch.arange(chunk.start, stop).unsqueeze(1)
    return PromptChunk(first, first + len(chunk.tokens), table, mask)


def paged_attention(layer: int, q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, step: PagedStep) -> Tensor:
    """Write this step's keys and values, then attend, ``[T, H, E]``."""
    kv = step.kv
    if kv is None:
        raise TypeError("a PagedStep without a KV cache")
    kv.write(layer, step.slots_T, k_TKE, v_TKE)
    out_THE = torch.empty_like(q_THE)
    for prompt in step.prompts:
        here = slice(prompt.first, prompt.last)
        out_THE[here] = _attend_prompt(kv, layer, q_THE[here], k_TKE[here], v_TKE[here], prompt)
    for group in step.decodes:
        out_THE[group.rows_B] = _attend_decode(kv, layer, q_THE[group.rows_B], group)
    return out_THE


def _attend_decode(kv: CpuKVCache, layer: int, q_BHE: Tensor, group: DecodeGroup) -> Tensor:
    key_BKSE = kv.gather(kv.keys[layer], group.blocks_BN)
    value_BKSE = kv.gather(kv.values[layer], group.blocks_BN)
    q_BKGE = q_BHE.unflatten(1, (key_BKSE.shape[1], -1))
    out_BKGE = F.scaled_dot_product_attention(q_BKGE, key_BKSE, value_BKSE, attn_mask=group.mask_B11S)
    return out_BKGE.flatten(1, 2)


def _attend_prompt(
    kv: CpuKVCache, layer: int, q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, prompt: PromptChunk
) -> Tensor:
    """A chunk that starts its sequence is plainly causal; a later one also sees what is cached."""
    heads = k_TKE.shape[1]
    if prompt.mask_TS is None:
        k_1KSE, v_1KSE = (t.transpose(0, 1).unsqueeze(0) for t in (k_TKE, v_TKE))
        parts = [
            F.scaled_dot_product_attention(q_1KTE, k_1KSE, v_1KSE, is_causal=True)
            for q_1KTE in q_THE.unflatten(1, (heads, -1)).permute(2, 1, 0, 3).unsqueeze(1)
        ]
        return torch.stack(parts).squeeze(1).permute(2, 1, 0, 3).flatten(1, 2)
    stop = prompt.mask_TS.shape[1]
    k_1KSE = kv.gather(kv.keys[layer], prompt.blocks_1N)[:, :, :stop]
    v_1KSE = kv.gather(kv.values[layer], prompt.blocks_1N)[:, :, :stop]
    q_1KGTE = q_THE.unflatten(1, (heads, -1)).permute(1, 2, 0, 3).unsqueeze(0)
    group = q_1KGTE.shape[2]
    folded = q_1KGTE.flatten(2, 3)
    mask_GTS = prompt.mask_TS.repeat(group, 1)
    out = F.scaled_dot_product_attention(folded, k_1KSE, v_1KSE, attn_mask=mask_GTS)
    return out.view(heads, group, -1, q_THE.shape[-1]).permute(2, 0, 1, 3).flatten(1, 2)
