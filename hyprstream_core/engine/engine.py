"""The engine of one loaded model: submit, step, cancel.

It is driven from one thread; ``step`` is the whole story. A loop one step ahead would launch N+1 between
``schedule`` and ``commit`` of N: the two are separate for that reason.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hyprstream_core.engine.blocks import BlockPool, root_hash
from hyprstream_core.engine.runner import Runner
from hyprstream_core.engine.scheduler import Scheduled, Scheduler
from hyprstream_core.engine.sequence import Sequence, Status
from hyprstream_core.errors import ContextLengthExceeded, InvalidRequest
from hyprstream_core.interfaces.inference import GenerateRequest, SamplingParams, TokenChunk

if TYPE_CHECKING:
    from hyprstream_core.config import EngineSettings


@dataclass
class EngineCounters:
    """Totals since the engine was made."""

    generated_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Engine:
    """Scheduler, block pool and runner of one model."""

    def __init__(
        self, runner: Runner, pool: BlockPool, settings: EngineSettings, *, max_len: int, vocab_size: int
    ) -> None:
        self.runner, self.pool = runner, pool
        self.max_len, self.vocab_size = max_len, vocab_size
        self.scheduler = Scheduler(
            pool,
            max_running=settings.max_running,
            max_waiting=settings.max_waiting,
            token_budget=settings.token_budget,
        )
        self.counters = EngineCounters()
        self._live: dict[str, Sequence] = {}

    @property
    def has_work(self) -> bool:
        """Whether :meth:`step` would compute something."""
        return self.scheduler.has_work

    @property
    def capacity(self) -> int:
        """Most tokens that one request may have: the context, or the KV cache when that is smaller."""
        return min(self.max_len, self.pool.num_blocks * self.pool.block_size)

    def submit(self, request: GenerateRequest) -> None:
        """Queue a request.

        Raises:
            InvalidRequest: an empty prompt, or token ids outside the vocabulary.
            ContextLengthExceeded: prompt plus ``max_tokens`` exceed the context or the KV cache.
            Overloaded: the queue is full.
        """
        p = self._check(request)
        stop_ids = frozenset(p.stop_token_ids) | (frozenset() if p.ignore_eos else frozenset(request.eos_token_ids))
        sequence = Sequence(
            request.request_id,
            request.prompt_ids,
            p,
            seed=secrets.randbits(63) if p.seed is None else p.seed,
            stop_ids=stop_ids,
            salt=root_hash(request.salt, request.commit),
        )
        self.scheduler.add(sequence)
        self._live[request.request_id] = sequence

    def _check(self, request: GenerateRequest) -> SamplingParams:
        """The request's parameters, with ``max_tokens`` 0 resolved to what fits."""
        ids, params = request.prompt_ids, request.params
        if not ids or params.max_tokens < 0:
            raise InvalidRequest("a request needs a prompt token, and max_tokens that is not negative", param="prompt")
        wanted = len(ids) + max(params.max_tokens, 1)
        if wanted > self.capacity:
            kv = f" (its KV cache holds {self.capacity})" if self.capacity < self.max_len else ""
            raise ContextLengthExceeded(
                f"{len(ids)} prompt tokens and {wanted - len(ids)} to generate make {wanted}, "
                f"the context is {self.max_len}{kv}",
                remedy="shorten the prompt, ask for fewer tokens" + (", or raise engine.kv_memory" if kv else ""),
                param="max_tokens",
            )
        for name, tokens in (
            ("prompt", ids),
            ("stop_token_ids", params.stop_token_ids),
            ("eos_token_ids", request.eos_token_ids),
        ):
            if tokens and not 0 <= min(tokens) <= max(tokens) < self.vocab_size:
                bad = next(t for t in tokens if not 0 <= t < self.vocab_size)
                raise InvalidRequest(f"token id {bad} is outside the vocabulary of {self.vocab_size}", param=name)
        if request.request_id in self._live:
            raise InvalidRequest(f"request id {request.request_id!r} is in use", param="request_id")
        return params if params.max_tokens else replace(params, max_tokens=self.capacity - len(ids))

    def step(self) -> list[tuple[str, TokenChunk]]:
        """Compute one step; what it added to each answer."""
        plan = self.scheduler.schedule()
        if not plan:
            return []
        sampled = self.runner.run(plan)
        before = [(entry.sequence, entry.sequence.num_tokens, entry.samples) for entry in plan]
        self.scheduler.commit(plan, sampled)
        self.counters.prompt_tokens += sum(_prompt_share(entry) for entry in plan)
        return [self._emit(sequence, known) for sequence, known, samples in before if samples]

    def _emit(self, sequence: Sequence, known: int) -> tuple[str, TokenChunk]:
        added = tuple(sequence.tokens[known:])
        self.counters.generated_tokens += len(added)
        if known == sequence.num_prompt:
            self.counters.cached_tokens += sequence.num_cached
        if sequence.status is Status.FINISHED:
            del self._live[sequence.request_id]
        return sequence.request_id, TokenChunk(added, sequence.finish_reason, sequence.num_cached)

    def cancel(self, request_id: str) -> None:
        """End a request at once and free its blocks; an unknown id is ignored (it may just have finished)."""
        if sequence := self._live.pop(request_id, None):
            self.scheduler.cancel(sequence)


def _prompt_share(entry: Scheduled) -> int:
    """How many of the tokens that a committed step computed for one sequence belong to its prompt."""
    end = entry.sequence.num_computed
    return max(0, min(end, entry.sequence.num_prompt) - min(end - entry.num_tokens, entry.sequence.num_prompt))
