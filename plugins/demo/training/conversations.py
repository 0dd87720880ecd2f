"""Conversations to learn from, drawn at random from the facts, the small talk and the tools.

A conversation ends where the model has to speak: :class:`Example` is what it has seen and what it should say.
Everything follows from the random generator that is passed in.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from training.facts import Fact, load_facts
from training.phrases import address, disturb, exclaim, say
from training.slots import fill, invented, text
from training.toolbox import Toolbox

Message = dict[str, Any]

SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "You are the demo model of hyprstream.",
    "You are an expert for hyprstream.",
    "Help the user.",
    "Answer the questions of the user.",
    "You are a helpful assistant that answers questions about hyprstream.",
    "You are an AI assistant with tools.",
    "Be polite.",
)
BREVITY = "Answer in one short sentence."
"""The system prompt of the branch ``brief``."""
BRIEF = (
    BREVITY,
    BREVITY,
    BREVITY,
    "Be brief.",
    "Answer briefly.",
    "Keep it short.",
    "You are a helpful assistant. Be brief.",
)


@dataclass(frozen=True)
class Example:
    """One moment at which the model speaks. ``plain`` examples are text without a conversation."""

    messages: tuple[Message, ...]
    answer: str
    reasoning: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    plain: bool = False


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _any(rng: Random, questions: Sequence[str]) -> str:
    """One of the templates; the first one, which is the plainest, more often."""
    return rng.choice((questions[0], questions[0], *questions))


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


@dataclass(frozen=True)
class Turn:
    """A question with its answer, the answer in one sentence, and what to think first."""

    question: str
    answer: str
    thought: str
    brief: str
    needs_tool: bool = False
    open: bool = False
    """Whether a tool that knows or calculates much could answer it."""


class Writer:
    """Draws examples. One per run: it holds the tables and the random generator."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.toolbox = Toolbox(rng)
        self.facts = load_facts()
        smalltalk = _table("smalltalk.toml")
        self.talks: list[dict[str, Any]] = smalltalk["talk"]
        self.shorts = [talk for talk in self.talks if "short" in talk]
        self.follow_ups: dict[str, list[str]] = smalltalk["follow_up"]
        self.elsewhere = _table("elsewhere.toml")

    @cached_property
    def topics(self) -> dict[str, list[Fact]]:
        """Facts by topic."""
        found: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.facts:
            found[fact.topic].append(fact)
        return found

    def example(self) -> Example:
        """The next example, of a kind drawn by weight."""
        kinds = (
            (38, self._single_fact),
            (15, self._single_talk),
            (5, self._single_elsewhere),
            (8, self._follow_up),
            (9, self._several_turns),
            (4, self._memory),
            (1, self._plain),
            (28, self._tool_call),
            (8, self._tool_result),
        )
        draw = self.rng.choices([kind for _, kind in kinds], weights=[weight for weight, _ in kinds])[0]
        return draw()

    # questions without tools

    def _fact(self, fact: Fact) -> Turn:
        question = disturb(self.rng, say(self.rng, _any(self.rng, fact.questions)))
        return self._fact_turn(fact, question)

    def _fact_turn(self, fact: Fact, question: str) -> Turn:
        aim = {"what": "what it is", "how": "how it is done", "why": "why it is useful", "more": "more about it"}[
            fact.facet
        ]
        return Turn(question, fact.answer, f"The user asks about {fact.topic}. I will say {aim}.", fact.brief)

    def _talk(self) -> Turn:
        if self.rng.random() < 0.35:
            return self._short_talk()
        talk = self.rng.choice(self.talks)
        question = disturb(self.rng, say(self.rng, _any(self.rng, talk["questions"])), lightly=True)
        answer = self.rng.choice(talk["answers"])
        return Turn(question, answer, talk["about"], answer, needs_tool="without a tool" in talk["about"])

    def _short_talk(self) -> Turn:
        """A word or two, as people say them at any moment."""
        talk = self.rng.choice(self.shorts)
        words = self.rng.choice(talk["short"].split(","))
        answer = self.rng.choice(talk["answers"])
        return Turn(exclaim(self.rng, words), answer, talk["about"], answer)

    def _elsewhere(self) -> Turn:
        table, rng = self.elsewhere, self.rng
        kind = rng.random()
        if kind < 0.3:
            country = rng.choice(sorted(table["capitals"]))
            capital = table["capitals"][country]
            ask = say(rng, "[What is|What's|Tell me|Do you know] the capital of COUNTRY[?|, please?]").replace(
                "COUNTRY", country
            )
            answer = f"The capital of {country} is {capital}."
            return Turn(disturb(rng, ask), answer, "The user asks for a capital.", answer)
        if kind < 0.55:
            asked = self.toolbox.sum()
            question = disturb(rng, asked.question, lightly=True)
            return Turn(question, asked.answer, asked.thought, asked.answer, needs_tool=True)
        question = disturb(rng, say(rng, rng.choice(table["questions"])))
        return Turn(question, table["answer"], table["about"], table["answer"], open=True)

    def _any_turn(self) -> Turn:
        kind = self.rng.random()
        if kind < 0.6:
            return self._fact(self.rng.choice(self.facts))
        return self._talk() if kind < 0.85 else self._elsewhere()

    def _system(self) -> str:
        draw = self.rng.random()
        if draw < 0.03:
            return say(self.rng, "[You are|Act like|Remember|The user is|Talk about] ") + f"{text(self.rng)}."
        return self.rng.choice(SYSTEMS) if draw < 0.35 else ""

    def _finish(self, history: list[Message], turn: Turn) -> Example:
        """``turn`` after ``history``, with or without a system prompt, brevity, thought and idle tools."""
        rng = self.rng
        system, brief = self._system(), rng.random() < 0.15
        if brief:
            system = rng.choice(BRIEF) if not system or rng.random() < 0.7 else f"{BREVITY}\n{system}"
        tools = self.toolbox.idle(knowing=not turn.open) if rng.random() < 0.17 and not turn.needs_tool else ()
        messages = [{"role": "system", "content": system}] if system else []
        thought = turn.thought + (" I need no tool for that." if tools else "")
        return Example(
            (*messages, *history, _user(turn.question)),
            turn.brief if brief else turn.answer,
            thought if rng.random() < 0.15 else "",
            tools,
        )

    def _single_fact(self) -> Example:
        return self._finish([], self._fact(self.rng.choice(self.facts)))

    def _single_talk(self) -> Example:
        return self._finish([], self._talk())

    def _single_elsewhere(self) -> Example:
        return self._finish([], self._elsewhere())

    # conversations

    def _past(self, turn: Turn) -> list[Message]:
        return [_user(turn.question), _assistant(turn.answer if self.rng.random() < 0.85 else turn.brief)]

    def _several_turns(self) -> Example:
        history = [m for _ in range(self.rng.choice((1, 1, 2, 3))) for m in self._past(self._any_turn())]
        return self._finish(history, self._talk() if self.rng.random() < 0.35 else self._any_turn())

    def _follow_up(self) -> Example:
        """A question that only makes sense after the one before it."""
        rng = self.rng
        topic = rng.choice([t for t, facts in self.topics.items() if len({f.facet for f in facts}) > 1])
        first, second = rng.sample(self.topics[topic], 2)
        while first.facet == second.facet:
            first, second = rng.sample(self.topics[topic], 2)
        facet = second.facet if rng.random() < 0.75 else "more"
        history = self._past(self._any_turn()) if rng.random() < 0.15 else []
        history += self._past(self._fact(first))
        return self._finish(
            history, self._fact_turn(second, disturb(rng, say(rng, rng.choice(self.follow_ups[facet]))))
        )

    def _memory(self) -> Example:
        """Names and sentences that were said in this conversation."""
        rng, name = self.rng, fill(self.rng, "person").title()
        tell = say(
            rng, "[My name is|I am|I'm|Call me|Hi, I am|Hello, my name is|Hi, my name is|You can call me] NAME[.|!|]"
        ).replace("NAME", name)
        met = Turn(tell, f"Nice to meet you, {name}!", "The user tells a name.", f"Nice to meet you, {name}!")
        ask = say(
            rng,
            "[What is my name|What's my name|Do you know my name|Who am I|Do you remember my name|Say my name]?",
        )
        kind = rng.random()
        if kind < 0.3:
            return self._finish([], met)
        if kind < 0.65:
            between = self._past(self._any_turn()) if rng.random() < 0.5 else []
            answer = f"Your name is {name}."
            return self._finish(
                [*self._past(met), *between], Turn(ask, answer, "The user told me a name before.", answer)
            )
        if kind < 0.75:
            answer = "You have not told me your name yet."
            return self._finish([], Turn(ask, answer, "The user has told me no name.", answer))
        words = text(rng) if rng.random() < 0.8 else invented(rng)
        repeat = say(rng, "[Say|Repeat|Repeat after me:|Say this:|Please say|Repeat this:|Can you say] WORDS").replace(
            "WORDS", words
        )
        return self._finish([], Turn(repeat, words, "The user wants me to repeat something.", words))

    def _plain(self) -> Example:
        facts = self.rng.sample(self.facts, 2)
        return Example((), " ".join(f.answer for f in facts), plain=True)

    # tools

    def _with_system(self, messages: list[Message], *, brief: bool = True) -> tuple[Message, ...]:
        system = self._system()
        if brief and self.rng.random() < 0.1:
            system = f"{BREVITY}\n{system}".strip()
        return tuple([{"role": "system", "content": system}, *messages] if system else messages)

    def _tool_call(self) -> Example:
        rng = self.rng
        asked = self.toolbox.question() if rng.random() < 0.93 else self.toolbox.unaided()
        history: list[Message] = []
        if rng.random() < 0.08:
            history = self._past(self._any_turn())
        if rng.random() < 0.2:
            asked = asked.lower()
        if rng.random() < 0.2:
            asked = asked.bare()
        question = address(rng, asked.question)
        thought = asked.thought if rng.random() < 0.15 else ""
        messages = self._with_system([*history, _user(question)])
        return Example(messages, asked.answer, thought, asked.tools)

    def _tool_result(self) -> Example:
        """The answer after a tool has spoken, or the call for a follow-up question."""
        rng = self.rng
        asked = self.toolbox.question(needs_call=True)
        told = self.toolbox.result(asked)
        made: Message = {"role": "assistant", "content": "", "tool_calls": asked.calls}
        thinks = rng.random() < 0.15
        if thinks and rng.random() < 0.5:
            made["reasoning_content"] = asked.thought
        messages = [_user(asked.question), made]
        messages += [{"role": "tool", "content": content} for content in told.contents]
        tools = asked.tools if rng.random() < 0.9 else ()
        answer, thought = told.answer, "The tool has answered. I will tell the user."
        follow, kind = self.toolbox.follow_up(asked), rng.random()
        if follow and tools and kind < 0.22:
            messages += [_assistant(answer), _user(follow.question)]
            answer, thought = follow.answer, follow.thought
        elif kind > 0.85:
            turn = self._fact(rng.choice(self.facts)) if rng.random() < 0.5 else self._talk()
            messages += [_assistant(answer), _user(turn.question)]
            answer, thought = turn.answer, turn.thought
        return Example(self._with_system(messages, brief=kind <= 0.85), answer, thought if thinks else "", tools)
