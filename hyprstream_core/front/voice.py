"""What the front holds per commit: the tokenizer and the parser, loaded once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hyprstream_core.config import Limits
from hyprstream_core.interfaces.inference import Description
from hyprstream_core.interfaces.response import ResponseFormat, ResponseParser
from hyprstream_core.text.response import parser_for
from hyprstream_core.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Voice:
    """How one commit reads and speaks."""

    tokenizer: Tokenizer
    parser: type[ResponseParser]


class Voices:
    """The latest commits' voices. A voice that several requests want at once is loaded once, in a thread."""

    def __init__(
        self, formats: Sequence[ResponseFormat], load: Callable[[str], Any], limits: Limits, size: int = 8
    ) -> None:
        self._formats = tuple(formats)
        self._load = load
        self._limits = limits
        self._size = size
        self._voices: OrderedDict[str, Voice] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Voice]] = {}

    async def get(self, description: Description) -> Voice:
        """The voice of a commit.

        Raises:
            UnsupportedModel, BadObject: its tokenizer cannot be used.
            PluginError: its response format cannot be loaded.
        """
        commit = description.commit
        if commit in self._voices:
            self._voices.move_to_end(commit)
            return self._voices[commit]
        if commit not in self._loading:
            task = asyncio.create_task(asyncio.to_thread(self._read, description))
            task.add_done_callback(lambda done: self._loaded(commit, done))
            self._loading[commit] = task
        return await asyncio.shield(self._loading[commit])

    def _read(self, description: Description) -> Voice:
        tokenizer = Tokenizer.load(description.directory, self._limits)
        return Voice(tokenizer, parser_for(self._formats, description.template, self._load))

    def _loaded(self, commit: str, task: asyncio.Task[Voice]) -> None:
        self._loading.pop(commit, None)
        if task.cancelled() or task.exception() is not None:
            return
        self._voices[commit] = task.result()
        while len(self._voices) > self._size:
            self._voices.popitem(last=False)
