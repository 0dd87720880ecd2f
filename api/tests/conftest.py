"""A scripted answer: what the front would give, without one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from hyprstream_core.front import Answer, Choice, Delta, Usage
from hyprstream_core.interfaces.inference import Description

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ScriptedAnswer(Answer):
    """Gives ``steps`` in order: a delta, a pause in seconds, or an error to raise."""

    def __init__(self, steps: Sequence[Delta | float | BaseException], choices: Sequence[Choice] = ()) -> None:
        self.description = Description(model="m", commit=COMMIT, directory="", template="", dtype="float32")
        self.model, self.commit, self.created, self.request_id = "m", COMMIT, 1700000000, "r1"
        self.prompt_ids, self.prompt_tokens = ((1, 2, 3),), 3
        self.steps = list(steps)
        self.choices = list(choices)
        self.completion_tokens = 0
        self.closed = 0

    async def __anext__(self) -> Delta:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, Delta):
                self.completion_tokens += len(step.token_ids)
                return step
            await asyncio.sleep(step)
        raise StopAsyncIteration

    async def collect(self) -> list[Choice]:
        async for _ in self:
            pass
        return self.choices

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.completion_tokens, 2, 1)

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def scripted() -> type[ScriptedAnswer]:
    return ScriptedAnswer
