"""The KV block pool: reference counts, and a prefix cache over blocks that are full.

    free list (least recently used first)         in use (reference count ≥ 1)
    ┌────┐   ┌────┐   ┌────┐                       ┌────┐ ┌────┐ ┌────┐
    │ 7  │ ⇄ │ 3 #│ ⇄ │ 9 #│    allocate ──▶        │ 1 #│ │ 4 #│ │ 6  │
    └────┘   └────┘   └────┘    ◀── release         └────┘ └────┘ └────┘
    # keeps its content under a hash: a later prompt that begins alike takes it back from either side.

A block is hashed when all its tokens are computed: a 128-bit chain over the salt (tenant, commit, adapter) and all
tokens up to its end, so equal hashes mean equal prefixes. Every operation is O(1) per block.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from hyprstream_core.errors import InternalError


def chain_hash(parent: bytes, tokens: Sequence[int]) -> bytes:
    """Hash of a block of ``tokens`` after ``parent`` (the previous block's hash, or the salt)."""
    return hashlib.blake2b(array("I", tokens).tobytes(), digest_size=16, key=parent[:64]).digest()


def root_hash(*parts: str) -> bytes:
    """The chain's start: what must be equal besides the tokens."""
    text = "".join(f"{len(p)}:{p}" for p in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclass
class Block:
    """One block. ``older`` and ``newer`` link it into the free list while ``num_refs`` is 0."""

    index: int
    num_refs: int = 0
    hash: bytes | None = None
    older: Block | None = None
    newer: Block | None = None


class BlockPool:
    """All KV blocks of one loaded model."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self._blocks = [Block(i) for i in range(num_blocks)]
        self._by_hash: dict[bytes, Block] = {}
        self._head, self._tail = Block(-1), Block(-2)
        self._head.newer, self._tail.older = self._tail, self._head
        self.num_free = 0
        for block in self._blocks:
            self._push(block)

    def allocate(self) -> int | None:
        """The least recently used free block, its old content forgotten; None when all are in use."""
        block = self._head.newer
        if block is None or block is self._tail:
            return None
        self._unlink(block)
        if block.hash is not None:
            del self._by_hash[block.hash]
            block.hash = None
        block.num_refs = 1
        return block.index

    def match(self, hashes: Sequence[bytes]) -> list[int]:
        """The cached blocks of the longest prefix of ``hashes``. Nothing is acquired yet."""
        found: list[int] = []
        for digest in hashes:
            if (block := self._by_hash.get(digest)) is None:
                break
            found.append(block.index)
        return found

    def acquire(self, indices: Sequence[int]) -> None:
        """Take one reference to each block (cached ones that :meth:`match` found)."""
        for index in indices:
            block = self._blocks[index]
            if block.num_refs == 0:
                self._unlink(block)
            block.num_refs += 1

    def num_unused(self, indices: Sequence[int]) -> int:
        """How many of ``indices`` sit in the free list (acquiring them makes it shorter)."""
        return sum(self._blocks[i].num_refs == 0 for i in indices)

    def release(self, indices: Sequence[int]) -> None:
        """Give up one reference to each. The end of a table is freed first, so it is evicted first."""
        for index in reversed(indices):
            block = self._blocks[index]
            if block.num_refs < 1:
                raise InternalError(f"KV block {index} is released but not in use")
            block.num_refs -= 1
            if block.num_refs == 0:
                self._push(block)

    def seal(self, index: int, digest: bytes) -> None:
        """Block ``index`` is full and computed: offer it under ``digest``, unless another already is."""
        block = self._blocks[index]
        if block.hash is None and digest not in self._by_hash:
            block.hash = digest
            self._by_hash[digest] = block

    def check_integrity(self) -> None:
        """Raise :class:`InternalError` unless counts, links and hashes agree. Takes time for each block: for tests, and
        after a step that failed."""
        linked, block = [], self._head.newer
        while block is not None and block is not self._tail:
            if block.num_refs or block.newer is None or block.newer.older is not block:
                raise InternalError(f"KV block {block.index} is wrongly in the free list")
            linked.append(block.index)
            block = block.newer
        unused = [b.index for b in self._blocks if b.num_refs == 0]
        if sorted(linked) != unused or len(linked) != self.num_free:
            raise InternalError(
                f"{len(unused)} KV blocks are unused, {len(linked)} in the free list, {self.num_free} counted"
            )
        hashed = {b.hash: b for b in self._blocks if b.hash is not None}
        if hashed != self._by_hash:
            raise InternalError("the prefix cache's table and the blocks' hashes differ")

    def _push(self, block: Block) -> None:
        """Append to the free list as most recently used; blocks without content go to the front."""
        after = self._tail.older if block.hash is not None else self._head
        if after is None or after.newer is None:
            raise InternalError("the KV free list is broken")
        block.older, block.newer = after, after.newer
        after.newer.older = block
        after.newer = block
        self.num_free += 1

    def _unlink(self, block: Block) -> None:
        if block.older is None or block.newer is None:
            raise InternalError(f"KV block {block.index} is not in the free list")
        block.older.newer, block.newer.older = block.newer, block.older
        block.older = block.newer = None
        self.num_free -= 1
