"""Conformance suite for response formats. Subclass it, give the record and texts in its markup::

class TestMine(ResponseFormatSuite):
    record = ResponseFormat("mine", detect=("<call>",), load="my_plugin:MyParser")
    samples = ("<call>{}</call> and text",)
    broken = ("<call>{",)
    calls = (('<call>{"name": "weather", "arguments": {"city": "Kiel"}}</call>', "weather", {"city": "Kiel"}),)
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from hyprstream_core.interfaces.response import (
    Content,
    Reasoning,
    ResponseEvent,
    ResponseFormat,
    ResponseParser,
    ToolCallArguments,
    ToolCallStart,
)
from hyprstream_core.plugins import load

TOOLS = ("weather", "search")
Joined = list[tuple[Any, ...]]


def parse(
    parser: type[ResponseParser], pieces: Iterable[str], prompt_tail: str = "", tools: tuple[str, ...] = TOOLS
) -> list[ResponseEvent]:
    """The events of one answer that comes in ``pieces``."""
    made = parser(prompt_tail, tools)
    return [*itertools.chain.from_iterable(map(made.feed, pieces)), *made.finish()]


def joined(events: Iterable[ResponseEvent]) -> Joined:
    """``("content", text)``, ``("reasoning", text)`` and ``("call", index, name, arguments)``: neighbours of one kind
    in one, ids left out."""
    result: Joined = []
    for event in events:
        match event:
            case ToolCallStart(index, _, name):
                result.append(("call", index, name, ""))
            case ToolCallArguments(index, text):
                kind, last, name, before = result.pop()
                assert (kind, last) == ("call", index)
                result.append(("call", index, name, before + text))
            case Content(text) | Reasoning(text):
                kind = type(event).__name__.lower()
                before = result.pop()[1] if result and result[-1][0] == kind else ""
                result.append((kind, before + text))
    return result


class ResponseFormatSuite:
    """What every parser of markup must do."""

    record: ClassVar[ResponseFormat]
    samples: ClassVar[Sequence[str]]
    """Answers in this markup: whole, cut off, nested, odd."""
    broken: ClassVar[Sequence[str]] = ()
    """Answers whose markup fails to parse: they are content, to the last character."""
    calls: ClassVar[Sequence[tuple[str, str, Mapping[str, Any]]]] = ()
    """Answers that are one call of a tool of :data:`TOOLS`: the text, the name, the arguments."""

    @pytest.fixture
    def parser(self) -> type[ResponseParser]:
        loaded: type[ResponseParser] = load(self.record.load)
        assert issubclass(loaded, ResponseParser)
        return loaded

    def texts(self) -> list[str]:
        """Everything that was given, and all of it after one another."""
        each = [*self.samples, *self.broken, *(text for text, _, _ in self.calls)]
        return [*each, "\n".join(each)]

    def test_it_can_be_detected(self) -> None:
        assert self.record.detect
        assert all(self.record.detect)

    def test_plain_text_is_content(self, parser: type[ResponseParser]) -> None:
        text = "Hello,\n\n```json\n{}\n```\nwörld < 3\n"
        assert joined(parse(parser, [text])) == [("content", text)]
        assert joined(parse(parser, [])) == []

    def test_however_an_answer_is_cut_it_gives_the_same_events(self, parser: type[ResponseParser]) -> None:
        """Two pieces, cut anywhere; letter by letter; and at random."""
        rng = random.Random(1)
        for text in self.texts():
            whole = joined(parse(parser, [text]))
            assert joined(parse(parser, text)) == whole
            for cut in range(len(text)):
                assert joined(parse(parser, [text[:cut], text[cut:]])) == whole
            for _ in range(50):
                edges = [0, *sorted(rng.randrange(len(text) + 1) for _ in range(6)), len(text)]
                assert joined(parse(parser, [text[a:b] for a, b in itertools.pairwise(edges)])) == whole

    def test_what_fails_to_parse_is_content(self, parser: type[ResponseParser]) -> None:
        for text in self.broken:
            assert joined(parse(parser, [text])) == [("content", text)]

    def test_a_call_is_read(self, parser: type[ResponseParser]) -> None:
        for text, name, arguments in self.calls:
            ((kind, index, called, read),) = joined(parse(parser, [text]))
            assert (kind, index, called, json.loads(read)) == ("call", 0, name, dict(arguments))

    def test_a_call_of_a_tool_that_was_not_offered_is_content(self, parser: type[ResponseParser]) -> None:
        for text, name, _ in self.calls:
            for tools in ((), tuple(t for t in TOOLS if t != name)):
                assert joined(parse(parser, [text], tools=tools)) == [("content", text)]

    def test_calls_have_ids_of_their_own_and_indices_in_order(self, parser: type[ResponseParser]) -> None:
        text = "\n".join(text for text, _, _ in self.calls)
        starts = [event for event in parse(parser, [text]) if isinstance(event, ToolCallStart)]
        assert [start.index for start in starts] == list(range(len(self.calls)))
        assert len({start.id for start in starts}) == len(starts)

    def test_arguments_are_objects_in_json_whatever_comes(self, parser: type[ResponseParser]) -> None:
        """Also of texts that are put together at random from pieces of the given ones."""
        rng, texts = random.Random(2), self.texts()
        for _ in range(300):
            parts = [rng.choice(texts) for _ in range(3)]
            text = "".join(part[: rng.randrange(len(part) + 1)] for part in parts)
            for event in joined(parse(parser, [text])):
                assert event[0] != "call" or isinstance(json.loads(event[3]), dict)

    def test_time_grows_with_length_and_not_with_its_square(self, parser: type[ResponseParser]) -> None:
        def seconds(part: str, size: int) -> float:
            text = part * max(1, size // len(part))
            gc.disable()  # a collection takes what everything else in this process costs
            try:
                start = time.thread_time()
                parse(parser, [text])
                return time.thread_time() - start
            finally:
                gc.enable()

        beginnings = {text[:n] for text in self.texts() for n in (1, len(text) // 3, len(text)) if text[:n]}
        for part in sorted(beginnings, key=len)[:24]:
            seconds(part, 1000)
            short = min(seconds(part, 20_000) for _ in range(3))
            assert min(seconds(part, 160_000) for _ in range(2)) < 8 * short * 4 + 0.1, part
