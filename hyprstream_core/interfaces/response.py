"""Response markup: how a model family writes reasoning and tool calls in its text.

One incremental parser serves streaming and non-streaming answers. A parser is fed text as it is
detokenised and emits events; markup never leaks, and what fails to parse comes back as content.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class ResponseFormat:
    """A named markup. It is chosen for a model when every string in ``detect`` occurs in its chat
    template; of several, the one with the most ``detect`` strings wins, then the first by name.
    ``load`` names a :class:`ResponseParser` subclass."""

    name: str
    detect: tuple[str, ...]
    load: str


@dataclass(frozen=True)
class Content:
    """Text for the reader."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Text of the model's thinking."""

    text: str


@dataclass(frozen=True)
class ToolCallStart:
    """A tool call begins. ``index`` counts the calls of one answer from 0."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class ToolCallArguments:
    """A further piece of the JSON text of a call's arguments; the pieces joined are valid JSON."""

    index: int
    text: str


ResponseEvent = Content | Reasoning | ToolCallStart | ToolCallArguments


class ResponseParser(ABC):
    """Splits one answer into events. One instance per answer; not shared, not reused.

    ``prompt_tail`` is the end of the rendered prompt (at most 64 characters), so that a template that opens the
    thinking block itself starts the parser inside it. ``tools`` are the names that may be called: a
    call to anything else is content. Implementations must be linear in the length of the text.
    """

    def __init__(self, prompt_tail: str = "", tools: tuple[str, ...] = ()) -> None:
        self.prompt_tail = prompt_tail
        self.tools = tools

    @property
    def in_reasoning(self) -> bool:
        """Whether the next character belongs to the model's thinking, as far as known. For counting tokens."""
        return False

    @abstractmethod
    def feed(self, text: str) -> list[ResponseEvent]:
        """Events that ``text`` (the next piece, any length) completes. May hold text back."""

    @abstractmethod
    def finish(self) -> list[ResponseEvent]:
        """The answer has ended: whatever was held back, as content when it is not complete."""
