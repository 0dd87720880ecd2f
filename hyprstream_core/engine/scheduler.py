"""Decides what the next step computes. One rule: a step is ``{sequence: number of tokens}``.

Running sequences come first, oldest first: one token each while decoding, a chunk while their prompt is not
computed; then waiting ones are admitted while budget, rows and blocks allow. Prefill, chunked prefill, decode
and prefix hits are one case: a sequence has ``num_uncomputed`` tokens, and a step computes some of them. When blocks
run out the newest running sequence is preempted: its blocks are freed and it waits to be computed again (its own blocks
are often still cached by then).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hyprstream_core.engine.blocks import BlockPool, chain_hash
from hyprstream_core.engine.sequence import Sequence, Status
from hyprstream_core.errors import Overloaded


@dataclass(frozen=True)
class Scheduled:
    """One sequence's share of a step: its next ``num_tokens`` uncomputed tokens."""

    sequence: Sequence
    num_tokens: int

    @property
    def samples(self) -> bool:
        """Whether this step computes the last known token, so that the next one can be drawn."""
        return self.sequence.num_uncomputed == self.num_tokens


class Scheduler:
    """Waiting and running sequences of one loaded model."""

    def __init__(self, pool: BlockPool, *, max_running: int, max_waiting: int, token_budget: int) -> None:
        self.pool = pool
        self.max_running, self.max_waiting = max_running, max_waiting
        self.token_budget = max(token_budget, max_running)  # so that every running answer gets its next token
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_preemptions = 0

    @property
    def has_work(self) -> bool:
        """Whether :meth:`schedule` would return something."""
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, which must fit into the pool when it is alone (the engine sees to that).

        Raises:
            Overloaded: ``max_waiting`` sequences wait already.
        """
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded(f"{len(self.waiting)} requests are waiting, at most {self.max_waiting} may", retry_after=1)
        self.waiting.append(sequence)

    def schedule(self) -> list[Scheduled]:
        """Choose the next step and reserve its blocks."""
        budget, plan = self.token_budget, list[Scheduled]()
        preempted_before = self.num_preemptions
        queue = deque(self.running)
        while queue and budget:
            sequence = queue.popleft()
            num_tokens = min(sequence.num_uncomputed, budget)
            if not self._reserve(sequence, num_tokens, queue):
                break  # it preempted itself: nothing younger is left
            plan.append(Scheduled(sequence, num_tokens))
            budget -= num_tokens
        if self.num_preemptions > preempted_before:
            return plan  # blocks are short: whoever was preempted would only take them back
        while self.waiting and budget and len(self.running) < self.max_running and (admitted := self._admit(budget)):
            plan.append(admitted)
            budget -= admitted.num_tokens
        return plan

    def commit(self, plan: list[Scheduled], sampled: list[int]) -> None:
        """Record a computed step: ``sampled`` holds one token per entry whose ``samples`` is true, in order."""
        tokens = iter(sampled)
        for entry in plan:
            sequence, draws = entry.sequence, entry.samples
            self._advance(sequence, entry.num_tokens)
            if draws:
                sequence.append(next(tokens))
            if sequence.status is Status.FINISHED:
                self._retire(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence at once and free its blocks; a finished one is left alone."""
        if sequence.status is Status.WAITING:
            self.waiting.remove(sequence)
        elif sequence.status is Status.RUNNING:
            self._retire(sequence)
        if sequence.status is not Status.FINISHED:
            sequence.finish("cancelled")

    def _admit(self, budget: int) -> Scheduled | None:
        """Start the first waiting sequence on top of whatever prefix is cached; None when blocks lack."""
        sequence = self.waiting[0]
        cached = self._match(sequence)
        start = len(cached) * self.pool.block_size
        num_tokens = min(sequence.num_tokens - start, budget)
        needed = self._blocks_for(start + num_tokens) - len(cached)
        if needed > self.pool.num_free - self.pool.num_unused(cached):
            return None
        self.waiting.popleft()
        self.pool.acquire(cached)
        sequence.blocks, sequence.num_computed = list(cached), start
        if not sequence.was_admitted:
            sequence.num_cached, sequence.was_admitted = start, True
        sequence.status = Status.RUNNING
        self.running.append(sequence)
        self._grow(sequence, start + num_tokens)
        return Scheduled(sequence, num_tokens)

    def _match(self, sequence: Sequence) -> list[int]:
        """Cached blocks of its prefix, leaving at least one token to compute."""
        size = self.pool.block_size
        self._extend_hashes(sequence, (sequence.num_tokens - 1) // size)
        return self.pool.match(sequence.block_hashes[: (sequence.num_tokens - 1) // size])

    def _reserve(self, sequence: Sequence, num_tokens: int, younger: deque[Sequence]) -> bool:
        """Blocks for its next tokens, preempting the youngest first. False when it had to go itself."""
        length = sequence.num_computed + num_tokens
        while not self._grow(sequence, length):
            victim = younger.pop() if younger else sequence
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _grow(self, sequence: Sequence, length: int) -> bool:
        while len(sequence.blocks) < self._blocks_for(length):
            if (block := self.pool.allocate()) is None:
                return False
            sequence.blocks.append(block)
        return True

    def _blocks_for(self, length: int) -> int:
        return -(-length // self.pool.block_size)

    def _preempt(self, sequence: Sequence) -> None:
        self._retire(sequence)
        sequence.status, sequence.num_computed = Status.WAITING, 0
        self.waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _retire(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.pool.release(sequence.blocks)
        sequence.blocks = []

    def _advance(self, sequence: Sequence, num_tokens: int) -> None:
        """Count tokens as computed and offer every block that became full to the prefix cache."""
        first_full = sequence.num_computed // self.pool.block_size
        sequence.num_computed += num_tokens
        num_full = sequence.num_computed // self.pool.block_size
        self._extend_hashes(sequence, num_full)
        for i in range(first_full, num_full):
            self.pool.seal(sequence.blocks[i], sequence.block_hashes[i])

    def _extend_hashes(self, sequence: Sequence, count: int) -> None:
        size, hashes = self.pool.block_size, sequence.block_hashes
        while len(hashes) < count:
            i = len(hashes)
            parent = hashes[-1] if hashes else sequence.salt
            hashes.append(chain_hash(parent, sequence.tokens[i * size : (i + 1) * size]))
