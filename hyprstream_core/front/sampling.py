"""From a request's options to sampling parameters: defaults, ranges, and what fits into the context.

Defaults, lowest first: the server's (those of :class:`SamplingParams`) < the model's generation_config.json
< the request. Nothing is clamped or truncated: what does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hyprstream_core.config import Limits
from hyprstream_core.errors import ContextLengthExceeded, InvalidRequest
from hyprstream_core.front.records import Options
from hyprstream_core.interfaces.inference import Description, SamplingParams


@dataclass(frozen=True)
class Range:
    """What values a number may have. (NaN is in no range: every comparison with it is false.)"""

    expected: str
    holds: Callable[[float], bool]
    integer: bool = False


RANGES = {
    "temperature": Range("a number from 0 to 2", lambda x: 0 <= x <= 2),
    "top_p": Range("a number above 0, at most 1", lambda x: 0 < x <= 1),
    "min_p": Range("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "top_k": Range("an integer from -1 up", lambda x: -1 <= x < 2**31, integer=True),
    "repetition_penalty": Range("a number above 0, at most 10", lambda x: 0 < x <= 10),
    "presence_penalty": Range("a number from -2 to 2", lambda x: -2 <= x <= 2),
    "frequency_penalty": Range("a number from -2 to 2", lambda x: -2 <= x <= 2),
}
"""Sampling values that a model's generation_config.json may set, by their names there and in requests."""


_SERVER = SamplingParams(max_tokens=1)
"""Where neither the request nor the model says anything."""


def check_options(options: Options, limits: Limits, num_prompts: int = 1) -> None:
    """Refuse what no model could do.

    Raises:
        InvalidRequest: ``param`` names the field.
    """
    for name, allowed in RANGES.items():
        value = getattr(options, name)
        if value is not None:
            _check_number(name, value, allowed)
    _check_integer("n", options.n, 1)
    if options.n * num_prompts > limits.choices:
        raise _invalid("n", f"{options.n} for each of {num_prompts} prompts", f"at most {limits.choices} answers")
    if options.max_tokens is not None:
        _check_integer("max_tokens", options.max_tokens, 1)
    _check_integer("min_tokens", options.min_tokens, 0)
    if options.seed is not None:
        _check_integer("seed", options.seed, -(2**63), 2**63)
    _check_stops(options, limits)


def sampling_params(options: Options, description: Description, num_prompt: int, choice: int) -> SamplingParams:
    """The parameters for choice number ``choice`` of a prompt of ``num_prompt`` tokens.

    Raises:
        ContextLengthExceeded: prompt and answer do not fit into the context.
        InvalidRequest: a default of the model, or values together, make no sense.
    """
    _check_context(options, description, num_prompt)
    longest = options.max_tokens or description.max_model_len - num_prompt
    if options.min_tokens > longest:
        raise _invalid("min_tokens", options.min_tokens, f"at most max_tokens, {longest}")
    vocab = description.vocab_size
    for index in options.stop_token_ids:
        if index >= vocab:
            raise _invalid("stop_token_ids", index, f"an id below {vocab}")
    values = {name: _value(name, options, description) for name in RANGES}
    return SamplingParams(
        max_tokens=options.max_tokens or 0,
        temperature=values["temperature"],
        top_k=max(int(values["top_k"]), 0),
        top_p=values["top_p"],
        min_p=values["min_p"],
        repetition_penalty=values["repetition_penalty"],
        presence_penalty=values["presence_penalty"],
        frequency_penalty=values["frequency_penalty"],
        seed=None if options.seed is None else _int64(options.seed + choice),
        stop_token_ids=tuple(options.stop_token_ids),
        ignore_eos=options.ignore_eos,
        min_tokens=options.min_tokens,
    )


def check_ids(ids: Sequence[int], vocab_size: int, param: str) -> None:
    """Refuse what is no id of the vocabulary.

    Raises:
        InvalidRequest: names the first such value.
    """
    if any(type(index) is not int for index in ids) or min(ids) < 0 or max(ids) >= vocab_size:
        wrong = next(index for index in ids if type(index) is not int or not 0 <= index < vocab_size)
        raise _invalid(param, wrong, f"token ids from 0 to {vocab_size - 1}")


def _check_context(options: Options, description: Description, num_prompt: int) -> None:
    context = description.max_model_len
    wanted = 1 if options.max_tokens is None else options.max_tokens
    if num_prompt + wanted > context:
        raise ContextLengthExceeded(
            f"this model's context is {context} tokens, but the request asks for {num_prompt + wanted}: "
            f"{num_prompt} in the prompt and {'at least ' if options.max_tokens is None else ''}{wanted} in the answer",
            remedy="shorten the prompt or ask for fewer tokens",
            param="max_tokens" if num_prompt < context else None,
            prompt_tokens=num_prompt,
            max_tokens=wanted,
            max_model_len=context,
        )


def _value(name: str, options: Options, description: Description) -> float:
    """The request's value, else the model's, else the server's."""
    value: float | None = getattr(options, name)
    if value is not None:
        return value
    default = description.generation_config.get(name)
    if default is None:
        server: float = getattr(_SERVER, name)
        return server
    allowed = RANGES[name]  # numbers of the model come as floats, integers too
    if not allowed.holds(default) or (allowed.integer and not default.is_integer()):
        raise InvalidRequest(
            f"the model's generation_config.json sets {name} to {default}, expected {allowed.expected}",
            remedy=f"give {name} in the request, or correct the model",
            param=name,
        )
    return default


def _check_number(name: str, value: Any, allowed: Range) -> None:
    kind_fits = type(value) is int or (type(value) is float and not allowed.integer)
    if not kind_fits or not allowed.holds(value):
        raise _invalid(name, value, allowed.expected)


def _check_integer(name: str, value: Any, lowest: int, end: int = 2**31) -> None:
    if type(value) is not int or not lowest <= value < end:
        raise _invalid(name, value, f"an integer from {lowest} to {end - 1}")


def _check_stops(options: Options, limits: Limits) -> None:
    if isinstance(options.stop, str) or len(options.stop) > limits.stop_strings:
        raise _invalid("stop", f"{len(options.stop)} strings", f"a list of at most {limits.stop_strings}")
    for stop in options.stop:
        if not 1 <= len(stop) <= limits.stop_chars:
            raise _invalid("stop", f"{stop!r:.40}", f"strings of 1 to {limits.stop_chars} characters")
    if len(options.stop_token_ids) > limits.stop_token_ids:
        raise _invalid("stop_token_ids", f"{len(options.stop_token_ids)} ids", f"at most {limits.stop_token_ids}")
    for index in options.stop_token_ids:
        _check_integer("stop_token_ids", index, 0)


def _int64(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def _invalid(param: str, got: Any, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: got {got}, expected {expected}", param=param)
