"""The open answers of one worker, and the moment when they must end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hyprstream_api.errors import Notice

T = TypeVar("T")
LAST_WORDS_SECONDS = 2.0
"""Time for clients to take what an ended answer still says."""


class Lifetime:
    """Knows every open answer and can end them all; each then fails with :meth:`error`."""

    def __init__(self) -> None:
        self._open: set[Callable[[], Any]] = set()
        self.ended = False

    @staticmethod
    def error() -> Notice:
        """What an answer fails with when it is ended."""
        return Notice("the server is stopping", remedy="send the request again", code="stopping")

    @contextmanager
    def answering(self, end: Callable[[], Any]) -> Iterator[None]:
        """An answer is open inside the block; ``end`` is called when it must end.

        Raises:
            Notice: the worker has already ended its answers.
        """
        if self.ended:
            raise self.error()
        self._open.add(end)
        try:
            yield
        finally:
            self._open.discard(end)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``'s result; a caller who goes away cancels it.

        Raises:
            Notice: the worker ends its answers.
        """
        task = asyncio.ensure_future(work)
        try:
            with self.answering(task.cancel):
                return await task
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if self.ended and me is not None and not me.cancelling():
                raise self.error() from None
            raise
        finally:
            task.cancel()

    async def end(self) -> None:
        """End every open answer and give their last words time to leave."""
        self.ended = True
        for end in [*self._open]:
            end()
        deadline = asyncio.get_running_loop().time() + LAST_WORDS_SECONDS
        while self._open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
