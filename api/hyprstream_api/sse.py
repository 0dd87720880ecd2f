"""Server-sent events: what a stream's bytes are, and how a stream begins, stays alive and ends.

data: <json>\\n\\n            one chunk
: ping\\n\\n                  silence of `PING_SECONDS` (queue, prefill), so that nobody on the way hangs up
data: {"error": {…}}\\n\\n    the answer failed after it began; nothing follows
data: [DONE]\\n\\n            the answer is complete; nothing follows
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import msgspec

from hyprstream_api.draining import Lifetime
from hyprstream_api.errors import problem_of

PING_SECONDS = 15.0
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
_LINE_ENDS = tuple((chr(c).encode(), b"\\u%04x" % c) for c in (0x85, 0x2028, 0x2029))


def event(data: Any) -> bytes:
    """One event that carries ``data`` as JSON, on one line even for readers that split at Unicode's line ends."""
    text = msgspec.json.encode(data)
    for raw, escaped in _LINE_ENDS:
        text = text.replace(raw, escaped)
    return b"data: " + text + b"\n\n"


class EventStream:
    """The body of a streamed response.

    ``begin`` waits for the first event, so that what fails before it is a plain HTTP error; after
    ``ping_seconds`` the response begins without it. ``close`` (Falcon calls it, however the stream ends)
    cancels the answer.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]],
        lifetime: Lifetime,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self._events = events
        self._close_answer = close
        self._lifetime = lifetime
        self._ping_seconds = ping_seconds
        self._next: asyncio.Task[bytes | None] | None = None
        self._ended = False
        self._cut = False
        self._scope = ExitStack()

    async def begin(self) -> None:
        """Wait until there is something to send.

        Raises:
            HyprstreamError: whatever kept the answer from beginning.
        """
        try:
            self._scope.enter_context(self._lifetime.answering(self._cancel))
            if await self._wait():
                self._result()
        except BaseException:
            await self.close()
            raise

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        if not await self._wait():
            return PING
        try:
            data = self._result()
        except Exception as error:
            data, self._ended = event({"error": problem_of(error).record()}), True
        self._next = None
        if data is None:
            raise StopAsyncIteration
        return data

    async def _wait(self) -> bool:
        """Whether the next event, or the end, came within the ping interval."""
        if self._next is None:
            if self._cut:
                return True
            self._next = asyncio.create_task(self._step())
        done, _ = await asyncio.wait({self._next}, timeout=self._ping_seconds)
        return bool(done)

    async def _step(self) -> bytes | None:
        return await anext(self._events, None)

    def _result(self) -> bytes | None:
        """The event that came; None is the end. Raises what the answer failed with."""
        if self._next is None or self._next.cancelled():
            raise self._lifetime.error()
        return self._next.result()

    def _cancel(self) -> None:
        """End the answer; also when nobody waits for its next event, because the client still reads the last one."""
        self._cut = True
        if self._next is not None:
            self._next.cancel()

    async def close(self) -> None:
        """Cancel what still runs."""
        self._ended = True
        self._scope.close()
        if self._next is not None and not self._next.done():
            self._next.cancel()
            await asyncio.wait({self._next})
        await self._close_answer()
