"""The request of ``completions``: its fields, and the prompts and options that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hyprstream_api.fields import CommonFields, TokenId, check_at_most, options_of, read
from hyprstream_core.config import Limits
from hyprstream_core.errors import InvalidRequest
from hyprstream_core.front import Options, TextPrompts

DEFAULT_MAX_TOKENS = 16
"""OpenAI's default for this endpoint."""


class CompletionFields(CommonFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that work."""

    prompt: str | list[str | TokenId | list[TokenId]]


def read_completion(raw: dict[str, Any], limits: Limits) -> tuple[CompletionFields, TextPrompts, Options]:
    """The request, checked, and what it asks of the front.

    Raises:
        InvalidRequest: names the field.
    """
    _check_count(raw.get("prompt"), limits)
    fields = read(raw, CompletionFields, limits)
    prompts = _prompts(fields.prompt)
    return fields, TextPrompts(fields.model, prompts), options_of(fields, fields.max_tokens or DEFAULT_MAX_TOKENS)


def _check_count(prompt: Any, limits: Limits) -> None:
    """Refuse long lists of prompts before looking at any of them."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        check_at_most("prompt", len(prompt), limits.prompts, " prompts")


def _prompts(prompt: str | list[Any]) -> Sequence[str | Sequence[int]]:
    """A text, texts, token ids or lists of token ids, as a list of prompts."""
    if isinstance(prompt, str):
        return [prompt]
    kinds = {type(item) for item in prompt}
    if len(kinds) != 1:
        got = "an empty list" if not prompt else "a mixed list"
        raise InvalidRequest(
            f"prompt: got {got}, expected a string, strings, token ids or lists of token ids", param="prompt"
        )
    if kinds == {int}:
        return [tuple(prompt)]
    if kinds == {list} and not all(prompt):
        raise InvalidRequest("prompt: got an empty list of token ids", param=f"prompt[{prompt.index([])}]")
    return prompt
