"""The fixed questions of ``questions.toml``, and what counts as a right answer."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
_SIGNATURE = re.compile(r"(\w+)\((.*?)\)\s*(.*)")


@dataclass(frozen=True)
class Question:
    """One question. Either ``call`` or one of ``keys`` is expected; ``after`` are messages that follow it."""

    group: str
    question: str
    keys: tuple[str, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    call: dict[str, Any] | None = None
    after: tuple[dict[str, Any], ...] = ()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation up to where the model speaks."""
        return [{"role": "user", "content": self.question}, *self.after]

    def is_right(self, answer: str) -> bool:
        """Whether ``answer`` (as generated, markup included) is what was expected."""
        calls = [_json(text) for text in _CALL.findall(answer)]
        if self.call is not None:
            return calls == [self.call]
        return not calls and any(key.lower() in answer.lower() for key in self.keys)


def load_questions() -> list[Question]:
    """Every question: groups "seen", "held_out" (twenty each) and "tool"."""
    table = tomllib.loads(Path(__file__).with_name("questions.toml").read_text(encoding="utf-8"))
    return [_question(group, row) for group in ("seen", "held_out", "tool") for row in table[group]]


def _question(group: str, row: dict[str, Any]) -> Question:
    after: list[dict[str, Any]] = []
    if "made" in row:
        after = [
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": row["made"]}]},
            {"role": "tool", "content": row["result"]},
        ]
    return Question(
        group,
        row["question"],
        tuple(row.get("keys", ())),
        tuple(map(schema, row.get("tools", ()))),
        row.get("call"),
        tuple(after),
    )


def schema(signature: str) -> dict[str, Any]:
    """``name(parameter: type, ...) description`` as OpenAI writes it."""
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        raise ValueError(f"not a signature: {signature!r}")
    name, parameters, description = match.groups()
    typed = [p.split(": ") for p in parameters.split(", ") if p]
    properties = {parameter: {"type": type_} for parameter, type_ in typed}
    schema_ = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema_}}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
