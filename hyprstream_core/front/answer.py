"""An answer in the making: all its choices, as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from hyprstream_core.front.records import Choice, Delta, Timing, Usage
from hyprstream_core.interfaces.inference import Description


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

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        raise NotImplementedError

    async def collect(self) -> list[Choice]:
        """The whole answer, by index; closes it."""
        raise NotImplementedError

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that the prefix cache supplied, as far as known now."""
        raise NotImplementedError

    @property
    def usage(self) -> Usage:
        """Tokens up to now; final when the iteration has ended."""
        raise NotImplementedError

    @property
    def timing(self) -> Timing:
        """When it was submitted, when the first token came, when it ended."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Cancel what still runs, closing the inference iterators. May be called twice."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
