"""Choosing a parser for a model's markup. The parsers themselves come from plugins, through ``load``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hyprstream_core.errors import PluginError
from hyprstream_core.interfaces.response import Content, ResponseEvent, ResponseFormat, ResponseParser


class PlainParser(ResponseParser):
    """No markup: everything is content."""

    def feed(self, text: str) -> list[ResponseEvent]:
        """The text, as it is."""
        return [Content(text)] if text else []

    def finish(self) -> list[ResponseEvent]:
        """Nothing: no text is ever held back."""
        return []


def choose(formats: Iterable[ResponseFormat], template: str) -> ResponseFormat | None:
    """The format whose ``detect`` strings all occur in ``template``; None when there is none.

    Of several the one with the most strings, then the first by name. A format without strings is never chosen.
    """
    fitting = [f for f in formats if f.detect and all(sign in template for sign in f.detect)]
    return min(fitting, key=lambda f: (-len(f.detect), f.name), default=None)


def parser_for(formats: Iterable[ResponseFormat], template: str, load: Callable[[str], Any]) -> type[ResponseParser]:
    """The parser class for answers of a model with this chat template; ``load`` imports it by name.

    Raises:
        PluginError: what the format names is not a :class:`ResponseParser`.
    """
    chosen = choose(formats, template)
    if chosen is None:
        return PlainParser
    parser = load(chosen.load)
    if not (isinstance(parser, type) and issubclass(parser, ResponseParser)):
        raise PluginError(f"response format {chosen.name!r} loads {parser!r}, expected a subclass of ResponseParser")
    return parser
