"""An answer in the making: all its choices, as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from hyprstream_core.errors import Cancelled, HyprstreamError, InternalError
from hyprstream_core.front.choice import ChoiceStream
from hyprstream_core.front.records import Choice, Delta, Timing, ToolCall, Usage
from hyprstream_core.interfaces.inference import Description, Inference

QUEUED_DELTAS = 64
"""Deltas that may wait for a slow reader, per choice; then the inference service has to wait."""


class Answer(AsyncIterator[Delta]):
    """Iterate for :class:`Delta` of all choices as they come, or ``await collect()``; either one, once.

    The first error ends all choices and is raised. Always ``aclose`` (or ``async with``): it cancels what
    still runs, at once.
    """

    description: Description
    model: str
    """The description's model."""
    commit: str
    created: int
    """Unix seconds."""
    request_id: str
    prompt_ids: tuple[tuple[int, ...], ...]
    """Token ids of each prompt."""
    prompt_tokens: int

    def __init__(
        self,
        inference: Inference,
        description: Description,
        request_id: str,
        prompt_ids: tuple[tuple[int, ...], ...],
        choices: Sequence[ChoiceStream],
    ) -> None:
        self.description = description
        self.model = description.model
        self.commit = description.commit
        self.created = int(time.time())
        self.request_id = request_id
        self.prompt_ids = prompt_ids
        self.prompt_tokens = sum(map(len, prompt_ids))
        self._inference = inference
        self._choices = tuple(choices)
        self._news: asyncio.Queue[Delta | BaseException] = asyncio.Queue(QUEUED_DELTAS * len(self._choices))
        self._tasks: list[asyncio.Task[None]] = []
        self._num_open = len(self._choices)
        self._closed = False
        self._submitted: float | None = None
        self._finished: float | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        if self._closed or self._num_open == 0:
            await self.aclose()
            raise StopAsyncIteration
        if not self._tasks:
            self._submit()
        news = await self._news.get()
        if isinstance(news, BaseException):
            await self.aclose()
            raise news
        if news.finish_reason is not None:
            self._num_open -= 1
            if self._num_open == 0:
                self._finished = time.monotonic()
        return news

    async def collect(self) -> list[Choice]:
        """The whole answer, by index; closes it."""
        wholes = [_Whole(choice.index) for choice in self._choices]
        async with self:
            async for delta in self:
                wholes[delta.index].add(delta)
        return [whole.choice() for whole in wholes]

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that the prefix cache supplied, as far as known now."""
        # Of a prompt's choices the first counts: what others find may be what that one has just computed.
        per_prompt = max(len(self._choices) // max(len(self.prompt_ids), 1), 1)
        return sum(choice.cached_tokens for choice in self._choices[::per_prompt])

    @property
    def usage(self) -> Usage:
        """Tokens up to now; final when the iteration has ended."""
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=sum(choice.num_tokens for choice in self._choices),
            cached_tokens=self.cached_tokens,
            reasoning_tokens=sum(choice.num_reasoning for choice in self._choices),
        )

    @property
    def timing(self) -> Timing:
        """When it was submitted, when the first and the last token came, when it ended."""
        begun = [choice for choice in self._choices if choice.first_token is not None]
        return Timing(
            submitted=self._submitted,
            first_token=min((c.first_token for c in begun if c.first_token is not None), default=None),
            finished=self._finished,
            last_token=max((c.last_token for c in begun if c.last_token is not None), default=None),
            num_tokens=sum(choice.num_tokens for choice in begun),
            num_first=sum(choice.num_first for choice in begun),
            num_chunks=sum(choice.num_chunks for choice in begun),
        )

    async def aclose(self) -> None:
        """Cancel what still runs, closing the inference iterators. May be called twice."""
        self._closed = True
        if self._submitted is not None and self._finished is None:
            self._finished = time.monotonic()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _submit(self) -> None:
        self._submitted = time.monotonic()
        self._tasks = [asyncio.create_task(self._run(choice)) for choice in self._choices]

    async def _run(self, choice: ChoiceStream) -> None:
        """Pass one choice's deltas on; its error, too, since somebody else iterates."""
        try:
            async with aclosing(choice.deltas(self._inference)) as deltas:
                async for delta in deltas:
                    await self._news.put(delta)
        except asyncio.CancelledError:
            if not self._closed:  # from below or at the loop's end: whoever iterates must not wait for ever
                self._interrupt(Cancelled("the answer was cancelled"))
            raise
        except Exception as error:
            await self._news.put(error)

    def _interrupt(self, error: HyprstreamError) -> None:
        """Raise ``error`` at the reader, in place of news when the queue is full: a cancelled task cannot wait."""
        if self._news.full():
            self._news.get_nowait()
        self._news.put_nowait(error)


class _Whole:
    """Puts one choice's deltas together."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._deltas: list[Delta] = []

    def add(self, delta: Delta) -> None:
        self._deltas.append(delta)

    def choice(self) -> Choice:
        reason = self._deltas[-1].finish_reason if self._deltas else None
        if reason is None:
            raise InternalError("an answer was closed while it was collected")
        return Choice(
            index=self._index,
            content="".join(delta.content for delta in self._deltas),
            reasoning="".join(delta.reasoning for delta in self._deltas),
            tool_calls=self._tool_calls(),
            finish_reason=reason,
            token_ids=tuple(token for delta in self._deltas for token in delta.token_ids),
        )

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        pieces = [piece for delta in self._deltas for piece in delta.tool_calls]
        arguments: dict[int, list[str]] = {}
        for piece in pieces:
            arguments.setdefault(piece.index, []).append(piece.arguments)
        return tuple(
            ToolCall(piece.index, piece.id, piece.name or "", "".join(arguments[piece.index]))
            for piece in pieces
            if piece.id is not None
        )
