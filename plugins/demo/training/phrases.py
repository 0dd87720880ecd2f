"""The small grammar in which questions are written, and the ways in which people ask them.

``[a|b|]`` stands for one of its alternatives (the last one here is nothing); groups may not nest.
``what: X`` and ``how: X`` stand for every way of ``paraphrase.toml`` of asking for X.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

_GROUP = re.compile(r"\[([^\]]*)\]")


@cache
def _paraphrase() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("paraphrase.toml").read_text(encoding="utf-8"))


@cache
def _synonyms() -> tuple[re.Pattern[str], dict[str, list[str]]]:
    """A pattern for every phrase that has synonyms, and the synonyms by phrase."""
    others: dict[str, list[str]] = {}
    for group in _paraphrase()["synonyms"]:
        for phrase in group:
            others.setdefault(phrase.lower(), []).extend(p for p in group if p != phrase)
    longest_first = sorted(others, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE), others


@cache
def expand(template: str) -> tuple[str, ...]:
    """Every sentence that ``template`` stands for, in a fixed order."""
    form, _, rest = template.partition(": ")
    if form in ("what", "how"):
        return tuple(frame.format(x=x) for frame in _paraphrase()[form] for x in expand(rest))
    parts = _GROUP.split(template)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return tuple(" ".join("".join(c).split()) for c in itertools.product(*choices))


def say(rng: Random, template: str) -> str:
    """One of the sentences that ``template`` stands for."""
    return rng.choice(expand(template))


def address(rng: Random, question: str, chance: float = 0.12) -> str:
    """``question``, now and then with another opening."""
    if rng.random() >= chance:
        return question
    opener = rng.choice(_paraphrase()["openers"])
    keeps = question.startswith(("I ", "I'")) or opener.endswith((". ", "! ", ": "))
    return str(opener + (question if keeps else question[0].lower() + question[1:]))


def disturb(rng: Random, question: str, *, lightly: bool = False) -> str:
    """``question`` as people really type it: other words, a word left out, no capitals, a slip.

    ``lightly`` keeps the words.
    """
    text = question[0].upper() + question[1:] if lightly else _freely(rng, question)
    if rng.random() < 0.25:
        text = text.rstrip("?.!") or text
    case = rng.random()
    if case < 0.3:
        text = text.lower()
    elif case < 0.33:
        text = text.upper()
    if rng.random() < 0.05:
        text = _slip(rng, text)
    return text


def _freely(rng: Random, question: str) -> str:
    text = reword(rng, question) if rng.random() < 0.45 else question
    if rng.random() < 0.1:
        text = _hurry(rng, text)
    text = address(rng, text[0].upper() + text[1:], chance=0.2)
    return text + rng.choice(_paraphrase()["closers"]) if rng.random() < 0.1 else text


def exclaim(rng: Random, words: str) -> str:
    """A word or two with any capitals and punctuation that people use."""
    cased = rng.choice((words, words.lower(), words.capitalize(), words.capitalize(), words.upper(), words.title()))
    return cased + rng.choice(("", "", "", "!", "!", ".", ".", "!!", "...", " :)", " !"))


def reword(rng: Random, question: str) -> str:
    """``question`` with some words replaced by others that mean the same."""
    pattern, others = _synonyms()

    def other(match: re.Match[str]) -> str:
        return rng.choice(others[match[0].lower()]) if rng.random() < 0.5 else match[0]

    return pattern.sub(other, question)


def _hurry(rng: Random, question: str) -> str:
    """``question`` with some of its small words left out."""
    small = _paraphrase()["dropped"].split()
    kept = [word for word in question.split() if word not in small or rng.random() < 0.4]
    return " ".join(kept) or question


def _slip(rng: Random, text: str) -> str:
    """``text`` with one letter lost, doubled or swapped with its neighbour."""
    at = rng.randrange(len(text) - 1)
    kind = rng.choice(("lose", "double", "swap"))
    if kind == "lose":
        return text[:at] + text[at + 1 :]
    if kind == "double":
        return text[: at + 1] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
