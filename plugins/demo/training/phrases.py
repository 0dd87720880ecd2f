"""The small grammar in which questions are written, and the forms that many questions share.

``[a|b|]`` stands for one of its alternatives (the last one here is nothing); groups may not nest.
``what: X`` and ``how: X`` stand for every way in :data:`WHAT` and :data:`HOW` of asking for X.
"""

from __future__ import annotations

import itertools
import re
from functools import cache
from random import Random

WHAT = (
    "What is {x}?",
    "What's {x}?",
    "What exactly is {x}?",
    "What does {x} mean?",
    "What do you mean by {x}?",
    "Explain {x}.",
    "Can you explain {x}?",
    "Could you explain {x} to me?",
    "Tell me about {x}.",
    "Can you tell me about {x}?",
    "Tell me something about {x}.",
    "Describe {x}.",
    "Define {x}.",
    "I want to know what {x} is.",
    "I would like to know more about {x}.",
    "What do you know about {x}?",
    "What can you tell me about {x}?",
    "{x}?",
    "Please explain what {x} is.",
    "What is meant by {x}?",
    "Give me a short explanation of {x}.",
    "What is {x} in hyprstream?",
    "Do you know what {x} is?",
    "I don't know what {x} is.",
    "I keep hearing about {x}, what is it?",
    "I have never heard of {x}.",
    "Help me understand {x}.",
    "In one sentence, what is {x}?",
    "What should I know about {x}?",
    "Someone mentioned {x}, what is that?",
)

HOW = (
    "How do I {x}?",
    "How can I {x}?",
    "How to {x}?",
    "How does one {x}?",
    "How would I {x}?",
    "How should I {x}?",
    "How do you {x}?",
    "How do people {x}?",
    "What is the command to {x}?",
    "Which command lets me {x}?",
    "What command do I use to {x}?",
    "What do I type to {x}?",
    "What do I have to run to {x}?",
    "What do I need to do to {x}?",
    "I want to {x}.",
    "I'd like to {x}.",
    "I need to {x}, how?",
    "I am trying to {x}.",
    "Show me how to {x}.",
    "Tell me how to {x}.",
    "Can you tell me how to {x}?",
    "Is there a way to {x}?",
    "Is it possible to {x}?",
    "Can I {x}?",
    "Can hyprstream {x}?",
    "Does hyprstream let me {x}?",
    "What's the easiest way to {x}?",
    "Please help me {x}.",
    "Explain how to {x}.",
    "What if I want to {x}?",
    "Give me the command to {x}.",
    "{x}, how does that work?",
)

_GROUP = re.compile(r"\[([^\]]*)\]")


@cache
def expand(template: str) -> tuple[str, ...]:
    """Every sentence that ``template`` stands for, in a fixed order."""
    form, _, rest = template.partition(": ")
    if form in ("what", "how"):
        frames = WHAT if form == "what" else HOW
        return tuple(frame.format(x=x) for frame in frames for x in expand(rest))
    parts = _GROUP.split(template)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return tuple(" ".join("".join(c).split()) for c in itertools.product(*choices))


def say(rng: Random, template: str) -> str:
    """One of the sentences that ``template`` stands for."""
    return rng.choice(expand(template))


OPENERS = (
    "Hi, ",
    "Hi! ",
    "Hello, ",
    "Hello! ",
    "Hey, ",
    "Please, ",
    "Quick question: ",
    "I have a question: ",
    "Tell me, ",
    "Excuse me, ",
    "OK, ",
    "So, ",
    "One more thing: ",
    "Sorry, ",
    "Well, ",
)
CLOSERS = (" Thanks!", " Please.", " Thank you.", " I am new here.", " I need it for work.", " Please be short.")


def address(rng: Random, question: str) -> str:
    """``question``, now and then with another opening."""
    if rng.random() >= 0.12:
        return question
    return rng.choice(OPENERS) + (question if question.startswith("I ") else question[0].lower() + question[1:])


def disturb(rng: Random, question: str) -> str:
    """``question`` as people really type it: another opening, no capitals, no question mark, a slip."""
    text = address(rng, question[0].upper() + question[1:])
    if rng.random() < 0.06:
        text += rng.choice(CLOSERS)
    if rng.random() < 0.15:
        text = text.rstrip("?.!")
    if rng.random() < 0.25:
        text = text.lower()
    if rng.random() < 0.05:
        text = _slip(rng, text)
    return text


def _slip(rng: Random, text: str) -> str:
    """``text`` with one letter lost, doubled or swapped with its neighbour."""
    at = rng.randrange(len(text) - 1)
    kind = rng.choice(("lose", "double", "swap"))
    if kind == "lose":
        return text[:at] + text[at + 1 :]
    if kind == "double":
        return text[: at + 1] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
