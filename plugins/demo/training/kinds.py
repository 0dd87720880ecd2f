"""Kinds of tools: the written ones of ``tools.toml``, and made-up ones.

Made-up tools (``get_altitude(river)``, ``archive_report(name)``, ``share(item, to)``) have the model read
signatures instead of knowing tools by heart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from training.slots import invented, words

Tool = dict[str, Any]

_LOOKUP_NAMES = ("get_{n}", "{n}_of", "fetch_{n}", "lookup_{n}", "{n}_lookup", "find_{n}", "{n}", "get{N}", "{t}_{n}")
_LOOKUP_DESCRIPTIONS = (
    "Get the {label} of a {t}.",
    "Returns the {label}.",
    "Look up the {label} of a {t}",
    "The {label} of something",
    "Find the {label} for a {t}.",
    "",
)
_LOOKUP_QUESTIONS = (
    "[What is|What's|Tell me|Give me|Show me|I need|Find|Look up] the {label} [of|for] <{slot}>[?|.]",
    "[What is|What's|Get|Do you know|Can you get|Check] the {label} of [the {t}|] <{slot}>[?|]",
    "{label} of <{slot}>[?|]",
    "[What {label} does|Which {label} does] <{slot}> have?",
    "[How about|What about] the {label} of <{slot}>?",
)
_ACTION_QUESTIONS = (
    "[{V}|Please {v}|Can you {v}|I want to {v}|Could you {v}] [the {t}|] <{slot}>[.|]",
    "{V} [{t}|] <{slot}>[.|, please.|]",
)
_DOERS = ("file", "job", "service", "user", "report", "server", "branch")
_PAIRS = "move to,copy to,rename to,compare with,share with,assign to,send to,link to,add to,replace with,attach to"
_PAIR_PARAMETERS = "source target,from to,item to,old new,a b,name value,first second,what where,left right"
_PAIR_SLOTS = "word word2,path path2,person title,text person,id person,title title2"


@dataclass(frozen=True)
class Kind:
    """A kind of tool, drawn once with its names: how it is asked for and what it returns."""

    about: str
    tool: Tool
    slots: tuple[tuple[str, str, str], ...]
    """Parameter name, slot, JSON type, in order."""
    questions: Sequence[str]
    results: Sequence[str]
    answer: str
    """How a result is told: "number", "action" or "found"."""
    follow: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.tool["function"]["name"])


def written(rng: Random, row: Mapping[str, Any]) -> Kind:
    """A tool of ``tools.toml`` under one of its names."""
    properties, required, slots = {}, [], []
    for line in row["params"]:
        slot, names, type_ = line.split(": ")
        name, optional = rng.choice(names.split("|")), slot.startswith("?")
        if optional and rng.random() < 0.6:
            continue
        properties[name] = _schema(rng, type_, slot.lstrip("?"))
        if not optional:
            required.append(name)
            slots.append((name, slot, type_))
    tool = _tool(rng, rng.choice(row["names"]), rng.choice(row["descriptions"]), properties, required)
    return Kind(row["about"], tool, tuple(slots), row["questions"], row["results"], row["answer"], row["follow"])


def lookup(rng: Random) -> Kind:
    """A tool that looks up some property of some thing."""
    draw = rng.random()
    label = rng.choice(words("properties" if draw < 0.7 else "words")) if draw < 0.9 else invented(rng)
    slot = rng.choice(("city", "person", "title", "word", "id", "company", "text"))
    noun, thing = label.replace(" ", "_"), rng.choice(words("things"))
    forms = {"n": noun, "N": noun.title().replace("_", ""), "t": thing, "label": label, "slot": slot}
    parameter = rng.choice((thing, "name", "item", "query", "id", "key", "target", "title", "q"))
    name, description = rng.choice(_LOOKUP_NAMES).format(**forms), rng.choice(_LOOKUP_DESCRIPTIONS).format(**forms)
    tool = _tool(rng, name, description, {parameter: {"type": "string"}}, [parameter])
    questions = tuple(question.format(**forms) for question in _LOOKUP_QUESTIONS)
    results = ("<word>", "<int>", f'{{"{noun}": <int>}}', f'{{"{noun}": "<word>"}}', "<text>", "<float>")
    follow = (f"And <{slot}>?", f"And of <{slot}>?", f"What about <{slot}>?")
    return Kind(f"the {label}", tool, ((parameter, slot, "string"),), questions, results, "found", follow)


def action(rng: Random) -> Kind:
    """A tool that does something to one thing."""
    verb, thing = rng.choice(words("actions")), rng.choice((*words("things"), *_DOERS))
    slot = rng.choice(("word", "title", "id", "path", "text", "person", "int"))
    forms = {"v": verb, "V": verb.title(), "t": thing, "T": thing.title(), "slot": slot}
    name = rng.choice(("{v}_{t}", "{v}", "{v}{T}", "{t}_{v}", "do_{v}")).format(**forms)
    description = rng.choice(("{V} a {t}.", "{V} something.", "Used to {v} a {t}", "")).format(**forms)
    parameter, type_ = rng.choice((thing, "name", "item", "id", f"{thing}_id", "what")), "string"
    if slot == "int":
        type_ = rng.choice(("string", "integer"))
    tool = _tool(rng, name, description, {parameter: _schema(rng, type_, slot)}, [parameter])
    questions = tuple(question.format(**forms) for question in _ACTION_QUESTIONS)
    results = ("ok", '{"status": "ok"}', "done", '{"ok": true}', '{"status": "<status>"}', "<word>")
    slots = ((parameter, slot, type_),)
    return Kind(f"to {verb} a {thing}", tool, slots, questions, results, "action", (f"And <{slot}>.",))


def pair(rng: Random) -> Kind:
    """A tool that joins two things."""
    verb, link = _two(rng, _PAIRS)
    first, second = _two(rng, _PAIR_PARAMETERS)
    a, b = _two(rng, _PAIR_SLOTS)
    name = rng.choice((verb, f"{verb}_item", f"{verb}_file", f"do_{verb}", f"{verb}_thing"))
    description = rng.choice((f"{verb.title()} one thing {link} another.", f"{verb.title()} something.", ""))
    tool = _tool(rng, name, description, {first: {"type": "string"}, second: {"type": "string"}}, [first, second])
    questions = (f"[{verb.title()}|Please {verb}|Can you {verb}|I want to {verb}] <{a}> {link} <{b}>[.|]",)
    slots = ((first, a, "string"), (second, b, "string"))
    return Kind(f"to {verb} something", tool, slots, questions, ("ok", '{"status": "ok"}', "done"), "action")


def _two(rng: Random, choices: str) -> tuple[str, str]:
    first, second = rng.choice(choices.split(",")).split()
    return first, second


def _schema(rng: Random, type_: str, slot: str) -> dict[str, Any]:
    if slot == "unit" and rng.random() < 0.6:
        return {"type": "string", "enum": ["celsius", "fahrenheit"]}
    return {"type": rng.choice(("number", "integer")) if type_ in ("number", "integer") else "string"}


def _tool(rng: Random, name: str, description: str, properties: dict[str, Any], required: list[str]) -> Tool:
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required and rng.random() < 0.9:
        parameters["required"] = required
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
