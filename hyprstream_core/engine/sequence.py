"""One answer being generated: its tokens and how far they have been computed."""

from __future__ import annotations

import enum
from collections.abc import Sequence as Tokens

from hyprstream_core.interfaces.inference import SamplingParams


class Status(enum.Enum):
    """Where a sequence stands. Preemption takes it from RUNNING back to WAITING."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class Sequence:
    """Prompt and answer so far. ``num_computed`` of its ``num_tokens`` tokens have keys and values in the cache;
    the tokens that remain are what a step may compute. ``blocks`` is its KV block table.

        tokens   | prompt ............ | output ...... |
        computed | ================ ^ num_computed
    """

    def __init__(
        self,
        request_id: str,
        prompt_ids: Tokens[int],
        params: SamplingParams,
        *,
        seed: int,
        stop_ids: frozenset[int] = frozenset(),
        salt: bytes = b"",
    ) -> None:
        self.request_id = request_id
        self.tokens = list(prompt_ids)
        self.num_prompt = len(self.tokens)
        self.params = params
        self.seed = seed
        self.stop_ids = stop_ids
        self.salt = salt
        self.status = Status.WAITING
        self.blocks: list[int] = []
        self.block_hashes: list[bytes] = []
        self.num_computed = 0
        self.was_admitted = False
        self.num_cached = 0
        """Prompt tokens that the prefix cache supplied when the sequence was first admitted."""
        self.finish_reason: str | None = None

    @property
    def num_tokens(self) -> int:
        """Prompt and answer together."""
        return len(self.tokens)

    @property
    def num_output(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.num_prompt

    @property
    def num_uncomputed(self) -> int:
        """Tokens that the cache does not hold yet; never 0 while the sequence lives."""
        return len(self.tokens) - self.num_computed

    def append(self, token: int) -> None:
        """Take a sampled token and decide whether the answer ends. A stop token is not part of the answer."""
        may_stop = self.num_output >= self.params.min_tokens
        if may_stop and token in self.stop_ids:
            self.finish("stop")
            return
        self.tokens.append(token)
        if self.num_output >= self.params.max_tokens:
            self.finish("length")

    def finish(self, reason: str) -> None:
        """End the answer."""
        self.status, self.finish_reason = Status.FINISHED, reason
