"""Qwen's markup: thinking in ``<think>``, tool calls as JSON in ``<tool_call>`` (the Hermes convention).

::

    <think>                                      ┐ Reasoning; the template may have opened it already
    The user asks …                              │
    </think>                                     ┘

    Let me look.                                   Content
    <tool_call>                                  ┐
    {"name": "weather", "arguments": {"a": 1}}   │ ToolCallStart, ToolCallArguments
    </tool_call>                                 ┘

Rules:

- Thinking is only at the start of an answer. Newlines next to a tag belong to the markup.
- What was given out cannot be taken back, and a call that breaks off or turns out to be malformed has to come
  back as content. So a call is held until its JSON object is complete, and then given out whole. Its
  arguments are the model's own text, not written anew.
- A call to a tool that was not offered, and JSON that is not as above, is content, tags included.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any, NoReturn

from hyprstream_core.interfaces.response import (
    Content,
    Reasoning,
    ResponseEvent,
    ResponseParser,
    ToolCallArguments,
    ToolCallStart,
)

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
SPACE = re.compile(r"[ \t\r\n]*")
SIGNS = re.compile(r"""\\(?:.|\Z)|["{}<\x00-\x1f]""", re.DOTALL)
"""What can change the state of a JSON scanner; an escape with the character after it, if that is there."""


class HermesParser(ResponseParser):
    """The parser for Qwen2.5, Qwen3, QwQ and Hermes-style fine-tunes.

    ``_mode`` consumes text from a position on and returns the next position; it sets another mode at a tag.
    What a mode leaves unread (always less than a tag) waits in ``_held`` for more.
    """

    def __init__(self, prompt_tail: str = "", tools: tuple[str, ...] = ()) -> None:
        super().__init__(prompt_tail, tools)
        thinking = prompt_tail.rstrip().endswith(THINK)
        self._mode: Callable[[str, int], int] = self._in_reasoning if thinking else self._at_start
        self._events: list[ResponseEvent] = []
        self._held = ""
        self._fresh = thinking  # right after a tag: newlines belong to it
        self._newlines = 0  # read but not given out: they are markup when a tag follows
        self._object = JsonObject()
        self._num_calls = 0

    @property
    def in_reasoning(self) -> bool:
        """Whether the thinking block is open."""
        return self._mode == self._in_reasoning

    def feed(self, text: str) -> list[ResponseEvent]:
        """Events that ``text`` completes."""
        text = self._held + text
        position = 0
        while position < len(text):
            mode, before = self._mode, position
            position = mode(text, position)
            if position == before and self._mode == mode:
                break
        self._held = text[position:]
        return self._taken()

    def finish(self) -> list[ResponseEvent]:
        """What was held back, as content (as thinking, while that is open)."""
        if self._mode == self._in_call:
            self._give_broken_call()
        if self._mode == self._after_call:
            self._held = ""  # the beginning of a closing tag
        kind = Reasoning if self.in_reasoning else Content
        self._give(kind, self._held)
        if self._newlines:
            self._events.append(kind("\n" * self._newlines))
        self._held, self._newlines = "", 0
        return self._taken()

    def _at_start(self, text: str, position: int) -> int:
        start = _skip_newlines(text, position)
        self._newlines += start - position
        beginning = text[start : start + len(THINK)]
        if beginning == THINK:
            self._enter(self._in_reasoning)
            return start + len(THINK)
        if not THINK.startswith(beginning):
            self._mode = self._in_content
        return start

    def _in_reasoning(self, text: str, position: int) -> int:
        position, found = self._give_until(END_THINK, Reasoning, text, position)
        if found:
            self._enter(self._in_content)
        return position

    def _in_content(self, text: str, position: int) -> int:
        if not self.tools:
            self._give(Content, text[position:])
            return len(text)
        position, found = self._give_until(CALL, Content, text, position)
        if found:
            self._mode, self._object = self._in_call, JsonObject()
        return position

    def _in_call(self, text: str, position: int) -> int:
        position = self._object.feed(text, position)
        if self._object.complete:
            call = parse_call(self._object.text)
            if call is not None and call[0] in self.tools:
                self._give_call(*call)
                self._enter(self._after_call)
            else:
                self._give_broken_call()
        elif self._object.broken:
            self._give_broken_call()
        return position

    def _after_call(self, text: str, position: int) -> int:
        start = _skip(text, position)
        beginning = text[start : start + len(END_CALL)]
        if beginning == END_CALL:
            self._mode = self._in_content
            return start + len(END_CALL)
        if not END_CALL.startswith(beginning):
            self._mode = self._in_content
        return start

    def _enter(self, mode: Callable[[str, int], int]) -> None:
        """Go on after a tag that was markup."""
        self._mode, self._fresh, self._newlines = mode, True, 0

    def _give_until(
        self, tag: str, kind: type[Content] | type[Reasoning], text: str, position: int
    ) -> tuple[int, bool]:
        """Give out the text before ``tag``, or all that cannot be its beginning."""
        at = text.find(tag, position)
        if at >= 0:
            self._give(kind, text[position:at])
            return at + len(tag), True
        longest = min(len(tag) - 1, len(text) - position)
        held = next((n for n in range(longest, 0, -1) if tag.startswith(text[len(text) - n :])), 0)
        self._give(kind, text[position : len(text) - held])
        return len(text) - held, False

    def _give(self, kind: type[Content] | type[Reasoning], text: str) -> None:
        """Give out ``text`` without the newlines that may turn out to be markup."""
        if self._fresh:
            text = text.lstrip("\n")
        body = text.rstrip("\n")
        if body:
            self._events.append(kind("\n" * self._newlines + body))
            self._fresh, self._newlines = False, 0
        self._newlines += len(text) - len(body)

    def _give_call(self, name: str, arguments: str) -> None:
        index, self._num_calls = self._num_calls, self._num_calls + 1
        self._events.append(ToolCallStart(index, f"call_{secrets.token_hex(12)}", name))
        self._events.append(ToolCallArguments(index, arguments))

    def _give_broken_call(self) -> None:
        self._mode = self._in_content
        self._give(Content, CALL + self._object.text)

    def _taken(self) -> list[ResponseEvent]:
        events, self._events = self._events, []
        return events


class JsonObject:
    """Finds the end of one JSON object in text that comes in pieces, without parsing it.

    ``broken`` is set as soon as the text cannot be an object any more.
    """

    def __init__(self) -> None:
        self.complete = False
        self.broken = False
        self._pieces: list[str] = []
        self._depth = 0
        self._in_string = False

    @property
    def text(self) -> str:
        """What was read up to now."""
        return "".join(self._pieces)

    def feed(self, text: str, position: int) -> int:
        """Read from ``position`` up to the object's end, a break, or the end of the text; returns where that is."""
        start = position
        if self._depth == 0:
            position = _skip(text, position)
            if position < len(text) and text[position] != "{":
                self.broken = True
                return start
        end = self._scan(text, position)
        self._pieces.append(text[start:end])
        return end

    def _scan(self, text: str, position: int) -> int:
        for match in SIGNS.finditer(text, position):
            sign = match.group()
            if sign == "\\":  # what it escapes has not come yet
                return match.start()
            self._take(sign)
            if self.broken:
                return match.start()
            if self.complete:
                return match.end()
        return len(text)

    def _take(self, sign: str) -> None:
        if sign == '"':
            self._in_string = not self._in_string
        elif self._in_string:
            self.broken = sign < " "
        elif sign == "{":
            self._depth += 1
        elif sign == "}":
            self._depth -= 1
            self.complete = self._depth == 0
        else:
            self.broken = sign not in "\t\r\n"


def parse_call(text: str) -> tuple[str, str] | None:
    """Name and arguments (JSON text of an object) of a call; None when it is not a well-formed one."""
    try:
        members = _members(text)
        name, _ = members["name"]
        arguments, source = members.get("arguments", ({}, "{}"))
        if isinstance(arguments, str):  # some fine-tunes write OpenAI's form, JSON within a string
            arguments, source = _DECODER.decode(arguments), arguments
    except (ValueError, KeyError, IndexError, RecursionError):
        return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return name, source


def _members(text: str) -> dict[str, tuple[Any, str]]:
    """Members of the JSON object ``text``: value, and the text of the value."""
    members: dict[str, tuple[Any, str]] = {}
    position = _skip(text, text.index("{") + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, position)
        if not isinstance(key, str) or key in members or text[position] != ":":
            raise ValueError(key)
        start = _skip(text, position + 1)
        value, end = _DECODER.raw_decode(text, start)
        members[key] = value, text[start:end]
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
            if text[position] == "}":
                raise ValueError("a comma before the end")
        elif text[position] != "}":
            raise ValueError(text[position])
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _skip(text: str, position: int) -> int:
    match = SPACE.match(text, position)
    return match.end() if match else position


def _skip_newlines(text: str, position: int) -> int:
    while position < len(text) and text[position] == "\n":
        position += 1
    return position
