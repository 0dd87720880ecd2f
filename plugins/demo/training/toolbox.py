"""Questions that need a tool, the calls that answer them, and what the tools return."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from training.kinds import Kind, Tool, action, lookup, pair, written
from training.phrases import say
from training.slots import fill, substitute

NO_TOOL = "I have no tool for that."
NO_TOOLS = "I cannot do that without a tool for it."
NO_SUMS = "I cannot calculate that without a tool for it."
EVERYTHING = ("a search", "an encyclopedia article", "a command", "a web page", "a database", "a calculation")
"""What can stand in for other tools: never offered beside a question that no tool should answer."""
SUMS = ("a sum", "a product", "a difference", "a quotient", "a calculation", "a square")
PROBLEMS = ("not found", "timeout", "no such entry", "permission denied", "unknown name")


@dataclass(frozen=True)
class ToolQuestion:
    """A question, the tools on offer, and the calls it needs (none: ``answer`` says so)."""

    question: str
    tools: tuple[Tool, ...]
    kind: Kind
    calls: list[dict[str, Any]] = field(default_factory=list)
    thought: str = ""
    answer: str = NO_TOOL

    def lower(self) -> ToolQuestion:
        """The same question in small letters: what is copied is small then, too."""
        lowered = [_lower(c["function"]) for c in self.calls]
        answer = markup(lowered) if lowered else self.answer
        return replace(self, question=self.question.lower(), calls=lowered, answer=answer)

    def bare(self) -> ToolQuestion:
        """The same question without the punctuation at its end."""
        return replace(self, question=self.question.rstrip("?.!") or self.question)


@dataclass(frozen=True)
class Told:
    """What the tools returned, and how the model passes it on."""

    contents: tuple[str, ...]
    answer: str


def call(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call as it stands in a message."""
    return {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}


def markup(calls: Sequence[dict[str, Any]]) -> str:
    """The text by which the model makes ``calls``."""
    texts = [json.dumps(c["function"], ensure_ascii=False) for c in calls]
    return "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in texts)


class Toolbox:
    """Draws tools and questions for them."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        path = Path(__file__).with_name("tools.toml")
        self.table: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]

    def idle(self, *, knowing: bool = True) -> tuple[Tool, ...]:
        """Tools that stand by while something else is asked; not ``knowing``: none that could answer it."""
        kinds = [self._kind() for _ in range(self.rng.choice((1, 1, 2, 3)))]
        kinds = [kind for kind in kinds if knowing or not (kind.about in EVERYTHING or kind.answer == "number")]
        return tuple({kind.name: kind.tool for kind in kinds}.values())

    def question(self, *, needs_call: bool = False) -> ToolQuestion:
        """A question for a tool; now and then the tool for it is not on offer."""
        rng, kind = self.rng, self._kind()
        missing = not needs_call and rng.random() < 0.16
        others = [self._kind() for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3)) + missing)]
        offered = {} if missing else {kind.name: kind}
        for other in others:
            if other.about != kind.about and not (missing and _stands_in(other, kind)):
                offered.setdefault(other.name, other)
        if not offered:
            return self.question(needs_call=needs_call)
        tools = [k.tool for k in offered.values()]
        rng.shuffle(tools)
        if missing:
            text = substitute(rng, say(rng, rng.choice(kind.questions)), {})
            return ToolQuestion(text, tuple(tools), kind, thought=f"The user wants {kind.about}. No tool fits.")
        if kind.follow and len(kind.slots) == 1 and rng.random() < 0.08:
            return self._double(kind, tuple(tools))
        return self._single(kind, tuple(tools), rng.choice(kind.questions))

    def unaided(self) -> ToolQuestion:
        """A question for a tool when there are no tools at all."""
        kind = written(self.rng, self.rng.choice(self.table))
        text = substitute(self.rng, say(self.rng, self.rng.choice(kind.questions)), {})
        answer = NO_SUMS if kind.slots and kind.answer == "number" else NO_TOOLS
        return ToolQuestion(text, (), kind, [], f"The user wants {kind.about}. I have no tools.", answer)

    def sum(self) -> ToolQuestion:
        """A calculation when there are no tools at all."""
        kind = written(self.rng, self.rng.choice([row for row in self.table if row["about"] in SUMS]))
        text = substitute(self.rng, say(self.rng, self.rng.choice(kind.questions)), {})
        return ToolQuestion(text, (), kind, [], f"The user wants {kind.about}. I have no tools.", NO_SUMS)

    def follow_up(self, asked: ToolQuestion) -> ToolQuestion | None:
        """A shorter question for the same tool with other arguments."""
        if not asked.kind.follow:
            return None
        return self._single(asked.kind, asked.tools, self.rng.choice(asked.kind.follow))

    def result(self, asked: ToolQuestion) -> Told:
        """Something that the called tools could return."""
        told = [self._told(asked.kind, made["function"]["arguments"]) for made in asked.calls]
        return Told(tuple(content for content, _ in told), " ".join(answer for _, answer in told))

    def _told(self, kind: Kind, arguments: Mapping[str, Any]) -> tuple[str, str]:
        """What one call returned, and the sentence for it."""
        rng = self.rng
        if rng.random() < 0.06:
            problem = rng.choice(PROBLEMS)
            content = json.dumps({"error": problem}) if rng.random() < 0.6 else f"error: {problem}"
            return content, f"That did not work: {problem}."
        content = substitute(rng, rng.choice(kind.results), {})
        return content, _sentence(kind.answer, content, str(next(iter(arguments.values()), "")))

    def _single(self, kind: Kind, tools: tuple[Tool, ...], template: str) -> ToolQuestion:
        values: dict[str, str] = {}
        text = substitute(self.rng, say(self.rng, template), values)
        arguments = {name: _typed(values[slot], type_) for name, slot, type_ in kind.slots if slot in values}
        return _asked(text, tools, kind, [call(kind.name, arguments)])

    def _double(self, kind: Kind, tools: tuple[Tool, ...]) -> ToolQuestion:
        """One question that needs two calls of one tool."""
        (name, slot, type_), rng = kind.slots[0], self.rng
        first, second = fill(rng, slot), fill(rng, slot)
        text = substitute(rng, say(rng, rng.choice(kind.questions)), {slot: f"{first} and {second}"})
        return _asked(text, tools, kind, [call(kind.name, {name: _typed(v, type_)}) for v in (first, second)])

    def _kind(self) -> Kind:
        draw = self.rng.random()
        if draw < 0.6:
            rows = [row for row in self.table if row["about"] in SUMS] if draw < 0.1 else self.table
            return written(self.rng, self.rng.choice(rows))
        return lookup(self.rng) if draw < 0.8 else action(self.rng) if draw < 0.92 else pair(self.rng)


def _stands_in(other: Kind, kind: Kind) -> bool:
    """Whether ``other`` could do what ``kind`` is asked for."""
    return other.about in EVERYTHING or (other.answer == "number" and kind.answer == "number")


def _asked(text: str, tools: tuple[Tool, ...], kind: Kind, calls: list[dict[str, Any]]) -> ToolQuestion:
    thought = f"The user wants {kind.about}. I will call {kind.name}."
    return ToolQuestion(text, tools, kind, calls, thought, markup(calls))


def _lower(function: dict[str, Any]) -> dict[str, Any]:
    arguments = {k: v.lower() if isinstance(v, str) else v for k, v in function["arguments"].items()}
    return call(function["name"], arguments)


def _typed(value: str, type_: str) -> str | int:
    return int(value) if type_ in ("number", "integer") else value


def _sentence(manner: str, content: str, argument: str) -> str:
    """``content`` in a sentence."""
    try:
        value = json.loads(content)
    except ValueError:
        value = content
    if manner == "number" and isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    told = content if isinstance(value, int | float) else _spoken(value)
    if manner == "number":
        return f"The result is {told}."
    if manner == "action":
        return f"That is done: {told}."
    return f"Here is what I found for {argument}: {told}." if argument else f"Here is what I found: {told}."


def _spoken(value: Any) -> str:
    """JSON without its punctuation."""
    if isinstance(value, list):
        return ", ".join(map(_spoken, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {_spoken(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value)
