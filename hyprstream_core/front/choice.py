"""One choice of an answer: from token chunks to deltas.

TokenChunk ─► detokenise ─► stop strings ─► parse markup ─► Delta
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import cast

from hyprstream_core.errors import Cancelled, InternalError, Unavailable
from hyprstream_core.front.records import Delta, FinishReason, ToolCallDelta
from hyprstream_core.interfaces.inference import GenerateRequest, Inference, TokenChunk
from hyprstream_core.interfaces.response import (
    Content,
    Reasoning,
    ResponseEvent,
    ResponseParser,
    ToolCallArguments,
    ToolCallStart,
)
from hyprstream_core.text.detokenise import Detokeniser
from hyprstream_core.text.stop import StopStrings


class ChoiceStream:
    """Generates one choice. ``num_tokens`` and ``num_reasoning`` count what was used up to now, ``num_chunks``
    those that held tokens, ``num_first`` the tokens of the first of them."""

    def __init__(
        self,
        index: int,
        request: GenerateRequest,
        detokeniser: Detokeniser,
        stops: StopStrings,
        parser: ResponseParser,
    ) -> None:
        self.index = index
        self.request = request
        self.num_tokens = 0
        self.num_reasoning = 0
        self.cached_tokens = 0
        self.first_token: float | None = None
        self.last_token: float | None = None
        self.num_chunks = 0
        self.num_first = 0
        self._detokeniser = detokeniser
        self._stops = stops
        self._parser = parser
        self._has_calls = False

    async def deltas(self, inference: Inference) -> AsyncGenerator[Delta, None]:
        """Submit, and yield one delta per chunk; the last has a finish reason. Closing it cancels the request."""
        chunks = inference.generate(self.request)
        try:
            async for chunk in chunks:
                delta = self._delta(chunk)
                if delta.token_ids or delta.finish_reason:
                    yield delta
                if delta.finish_reason:
                    return
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        raise Unavailable("the inference service ended the answer before it was finished", service="inference")

    def _delta(self, chunk: TokenChunk) -> Delta:
        if chunk.finish_reason == "cancelled":
            raise Cancelled("the inference service cancelled the request")
        self.cached_tokens = max(self.cached_tokens, chunk.cached_tokens)
        events: list[ResponseEvent] = []
        used = 0
        for token in chunk.token_ids:
            used += 1
            self._count()
            events += self._parser.feed(self._text(token))
            if self._stops.matched is not None:
                break
        self._clock(used)
        reason = self._reason(chunk)
        if reason is not None:
            events += self._ending()
        self._has_calls = self._has_calls or any(isinstance(event, ToolCallStart) for event in events)
        if reason == "stop" and self._has_calls:
            reason = "tool_calls"
        return _joined(self.index, events, chunk.token_ids[:used], reason)

    def _clock(self, used: int) -> None:
        """Note when ``used`` tokens of one chunk came."""
        if not used:
            return
        self.last_token = time.monotonic()
        self.num_chunks += 1
        if self.first_token is None:
            self.first_token, self.num_first = self.last_token, used

    def _count(self) -> None:
        self.num_tokens += 1
        if self._parser.in_reasoning:
            self.num_reasoning += 1

    def _text(self, token: int) -> str:
        """What one more token lets out."""
        return self._stops.feed(self._detokeniser.feed((token,)), may_end=self._may_stop)

    @property
    def _may_stop(self) -> bool:
        """Whether the latest token may complete a stop string: the first ``min_tokens`` may only begin one."""
        return self.num_tokens > self.request.params.min_tokens

    def _reason(self, chunk: TokenChunk) -> FinishReason | None:
        if self._stops.matched is not None:
            return "stop"
        if chunk.finish_reason not in (None, "stop", "length"):
            raise InternalError(f"the inference service ended an answer with {chunk.finish_reason!r}")
        return cast("FinishReason | None", chunk.finish_reason)

    def _ending(self) -> list[ResponseEvent]:
        """What was held back on the way."""
        text = ""
        if self._stops.matched is None:
            text = self._stops.feed(self._detokeniser.finish(), may_end=self._may_stop) + self._stops.finish()
        return [*self._parser.feed(text), *self._parser.finish()]


def _joined(index: int, events: list[ResponseEvent], token_ids: tuple[int, ...], reason: FinishReason | None) -> Delta:
    return Delta(
        index,
        content="".join(event.text for event in events if isinstance(event, Content)),
        reasoning="".join(event.text for event in events if isinstance(event, Reasoning)),
        tool_calls=_call_deltas(events),
        token_ids=token_ids,
        finish_reason=reason,
    )


def _call_deltas(events: list[ResponseEvent]) -> tuple[ToolCallDelta, ...]:
    deltas: list[ToolCallDelta] = []
    for event in events:
        if isinstance(event, ToolCallStart):
            deltas.append(ToolCallDelta(event.index, event.id, event.name))
        elif isinstance(event, ToolCallArguments):
            deltas.append(ToolCallDelta(event.index, arguments=event.text))
    return tuple(deltas)
