"""What the demo model knows about hyprstream, read from ``facts.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fact:
    """One thing to know. ``questions`` are templates of :mod:`training.phrases`."""

    topic: str
    facet: str
    keys: tuple[str, ...]
    answer: str
    questions: tuple[str, ...]

    @property
    def brief(self) -> str:
        """The first sentence of the answer."""
        return self.answer.split(". ")[0].rstrip(".") + "."


def load_facts() -> tuple[Fact, ...]:
    """Every fact, in the order of the file."""
    table = tomllib.loads(Path(__file__).with_name("facts.toml").read_text(encoding="utf-8"))
    return tuple(
        Fact(f["topic"], f["facet"], tuple(f["keys"]), f["answer"], tuple(f["questions"])) for f in table["fact"]
    )
