"""Words that fill the slots of questions and results: cities, names, numbers, paths and invented words.

Half of what is copied into a tool call is invented, so that the model learns to copy instead of to remember.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from pathlib import Path
from random import Random

_ACCENTS = str.maketrans(
    {
        "a": "áàâäãåā", "c": "çćč", "d": "ď", "e": "éèêëēě", "i": "íìîï", "l": "ł", "n": "ñńň", "o": "óòôöõøō",
        "s": "śšş", "t": "ťţ", "u": "úùûüůū", "y": "ýÿ", "z": "źżž", "A": "ÁÀÄÅ", "C": "ÇČ", "E": "ÉÈÊ", "I": "ÍÎ",
        "L": "Ł", "N": "Ñ", "O": "ÓÖØ", "S": "ŚŠŞ", "U": "ÚÜ", "Z": "ŹŻŽ",
    }
)  # fmt: skip
_SCRIPTS = ((0x430, 0x44F), (0x3B1, 0x3C9), (0x3041, 0x3090), (0x30A1, 0x30F0), (0x4E00, 0x9FA0), (0xAC00, 0xD7A0),
            (0x5D0, 0x5EA), (0x627, 0x63A), (0x915, 0x939), (0xE01, 0xE2E))  # fmt: skip
_EMOJI = ((0x1F600, 0x1F64F), (0x1F300, 0x1F320), (0x1F400, 0x1F43E), (0x1F680, 0x1F6A0), (0x2600, 0x2604))
_PRINTABLE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_TEXTS = ("facts.toml", "smalltalk.toml", "elsewhere.toml", "paraphrase.toml")
_SOUNDS = ("onsets", "vowels", "codas")
_SLOT = re.compile(r"<([a-z]+)([2-9]?)>")


@cache
def words(kind: str) -> tuple[str, ...]:
    """A list of ``words.toml``."""
    table = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
    return tuple(word.replace("_", " ") for word in table[kind].split())


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word in small letters that occurs in the questions and answers, and the listed ones."""
    texts = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _TEXTS]
    found = {word for text in texts for word in re.findall(r"\b[a-z]{3,}\b", text)}
    return tuple(sorted(found | set(words("words"))))


def invented(rng: Random) -> str:
    """A word that exists nowhere, in English or another sound."""
    if rng.random() < 0.4:
        return "".join(rng.choice(words("syllables")) for _ in range(rng.choice((2, 2, 3, 3, 4))))
    parts = [rng.choice(words(kind)) for _ in range(rng.choice((1, 1, 2, 2, 3))) for kind in _SOUNDS]
    return "".join(parts) + (rng.choice(words("endings")) if rng.random() < 0.4 else "")


def accented(rng: Random, word: str) -> str:
    """``word`` with marks on one or two of its letters, where it has any that take them."""
    places = [i for i, letter in enumerate(word) if ord(letter) in _ACCENTS]
    letters = list(word)
    for place in rng.sample(places, min(len(places), rng.choice((1, 1, 2)))):
        letters[place] = rng.choice(word[place].translate(_ACCENTS))
    return "".join(letters)


def foreign(rng: Random) -> str:
    """A name that English does not have: listed, with accents, in another script, or with an emoji."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(words("foreign"))
    if kind < 0.7:
        word = accented(rng, invented(rng).capitalize())
        return word if rng.random() < 0.7 else f"{word} {accented(rng, invented(rng).capitalize())}"
    if kind < 0.9:
        return _characters(rng, rng.choice(_SCRIPTS), rng.choice((2, 2, 3, 4, 5)))
    emoji = _characters(rng, rng.choice(_EMOJI), 1)
    return rng.choice((emoji, f"{invented(rng)} {emoji}", f"{rng.choice(vocabulary())} {emoji}"))


def _characters(rng: Random, script: tuple[int, int], count: int) -> str:
    return unicodedata.normalize("NFC", "".join(chr(rng.randrange(*script)) for _ in range(count)))


def code(rng: Random) -> str:
    """Letters and digits without any sense."""
    made = "".join(rng.choice(_PRINTABLE) for _ in range(rng.choice((3, 4, 5, 6, 8))))
    return made if rng.random() < 0.6 else f"{made}{rng.choice('-_.')}{rng.choice(_PRINTABLE)}"


def text(rng: Random) -> str:
    """One to five words."""
    known, count = vocabulary(), rng.choice((1, 2, 2, 3, 3, 4, 5))
    chosen = [rng.choice(known) if rng.random() < 0.7 else invented(rng) for _ in range(count)]
    if count > 2 and rng.random() < 0.4:
        chosen.insert(
            rng.randrange(1, count), rng.choice(("for", "in", "of", "with", "and", "about", "to", "the", "on"))
        )
    if rng.random() < 0.12:
        chosen[rng.randrange(len(chosen))] = foreign(rng) if rng.random() < 0.7 else code(rng)
    joined = " ".join(chosen)
    return joined[0].upper() + joined[1:] if rng.random() < 0.15 else joined


def integer(rng: Random) -> str:
    """A number of one to four digits, now and then of six."""
    return str(rng.randrange(rng.choice((10, 10, 100, 100, 1000, 1000, 10000, 10000, 1000000))))


def _identifier(rng: Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHKLMNPQRSTUVWXYZ") for _ in range(rng.choice((0, 1, 2, 3))))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice((2, 3, 4, 5, 6))))
    return letters + (rng.choice(("-", "", "_")) if letters else rng.choice(("", "", "#"))) + digits


def _path(rng: Random) -> str:
    parts = [
        rng.choice(words("words")) if rng.random() < 0.6 else invented(rng) for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    ending = rng.choice((".txt", ".md", ".py", ".json", ".csv", ".toml", "", ".log"))
    return rng.choice(("", "", "/", "./", "/home/", "src/", "docs/", "/tmp/")) + "/".join(parts) + ending  # noqa: S108


def _expression(rng: Random) -> str:
    parts = [integer(rng)]
    for _ in range(rng.choice((1, 1, 1, 2))):
        parts += [rng.choice("+-*/"), integer(rng)]
    return (" " if rng.random() < 0.6 else "").join(parts)


def _name(rng: Random, known: tuple[str, ...]) -> str:
    name = rng.choice(known) if rng.random() < 0.5 else invented(rng).capitalize()
    if rng.random() < 0.2:
        return foreign(rng) if rng.random() < 0.7 else accented(rng, name)
    return name.lower() if rng.random() < 0.12 else name


def _person(rng: Random) -> str:
    return _name(rng, words("people")) + (" " + invented(rng).capitalize() if rng.random() < 0.25 else "")


def _title(rng: Random) -> str:
    return " ".join(word[0].upper() + word[1:] for word in text(rng).split()[:3])


def fill(rng: Random, slot: str) -> str:
    """A value for ``slot``."""
    match slot:
        case "city":
            return _name(rng, words("cities"))
        case "person":
            return _person(rng)
        case "company":
            return _name(rng, words("companies"))
        case "text":
            return text(rng)
        case "title":
            return _title(rng)
        case "word":
            kind = rng.random()
            return invented(rng) if kind < 0.7 else foreign(rng) if kind < 0.85 else code(rng)
        case "int":
            return integer(rng)
        case "float":
            return f"{integer(rng)}.{rng.randrange(1, 100)}"
        case "expr":
            return _expression(rng)
        case "id":
            return _identifier(rng) if rng.random() < 0.7 else code(rng)
        case "path":
            return _path(rng)
        case "url":
            return f"https://{invented(rng)}.{rng.choice(('com', 'org', 'net', 'io'))}" + rng.choice(
                ("", f"/{invented(rng)}")
            )
        case "email":
            return f"{invented(rng)}@{invented(rng)}.{rng.choice(('com', 'org', 'net'))}"
        case "clock":
            return f"{rng.randrange(24)}:{rng.randrange(60):02d}"
        case "sql":
            return f"select {rng.choice(('count(*)', '*', 'name'))} from {rng.choice(words('words'))}"  # noqa: S608 - text to copy
        case "unit":
            return rng.choice(("celsius", "fahrenheit"))
        case _:
            return rng.choice(words(_LISTS[slot]))


_LISTS = {
    "language": "languages",
    "currency": "currencies",
    "sky": "skies",
    "room": "rooms",
    "status": "states",
    "day": "days",
    "command": "commands",
}


def substitute(rng: Random, template: str, values: dict[str, str]) -> str:
    """``template`` with every ``<slot>`` replaced by its value; a slot without one gets one."""

    def value(match: re.Match[str]) -> str:
        name = match[1] + match[2]
        if name not in values:
            values[name] = fill(rng, match[1])
        return values[name]

    return _SLOT.sub(value, template)
