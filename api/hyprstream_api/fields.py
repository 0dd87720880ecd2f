"""Request fields that chat and text completions share, and what happens to all the others.

Every field either works, is OpenAI's own house-keeping (checked, and without effect here), or is refused with 400
and its name: a field that would change the answer and is not implemented is ``unsupported_parameter``, one that
nobody defines is ``unknown_parameter``. A value that means "off" is accepted where the field itself is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hyprstream_api.expectations import complaint
from hyprstream_core.config import Limits
from hyprstream_core.errors import InvalidRequest
from hyprstream_core.front import Options

_OFF: Mapping[str, tuple[Any, ...]] = {
    "allowed_token_ids": (),
    "audio": (),
    "bad_words": ([],),
    "best_of": (1,),
    "cache_salt": (),
    "chat_template": (),
    "documents": ([],),
    "early_stopping": (False,),
    "echo": (False,),
    "function_call": ("none",),
    "functions": ([],),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1, 1.0),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "prediction": (),
    "priority": (0,),
    "prompt_embeds": (),
    "prompt_logprobs": (),
    "repeat_last_n": (),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "structured_outputs": (),
    "suffix": ("",),
    "top_logprobs": (0,),
    "truncate_prompt_tokens": (),
    "typical_p": (1, 1.0),
    "use_beam_search": (False,),
    "web_search_options": (),
}
"""Known fields that are not implemented → the values, besides null, that ask for nothing."""

MAX_TOKENS = 2**24
TokenId = Annotated[int, Meta(ge=0, lt=2**31)]
Probability = Annotated[float, Meta(gt=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Scale = Annotated[float, Meta(gt=0, le=10)]
TokenCount = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream reports about itself."""

    include_usage: bool | None = None
    """Send one more chunk, without choices, with the token counts."""
    continuous_usage_stats: bool | None = None
    """Send the counts so far with every chunk."""
    include_obfuscation: bool | None = None
    """Only false: chunks are not padded."""


class HouseKeeping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OpenAI's fields that concern its own house-keeping: accepted as OpenAI defines them, without effect here."""

    metadata: (
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None
    ) = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    store: bool | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class CommonFields(HouseKeeping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of both kinds of completion. Unset sampling fields leave the model's own defaults in force."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenCount | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType = UNSET
    top_p: Probability | UnsetType = UNSET
    top_k: Annotated[int, Meta(ge=-1, le=MAX_TOKENS)] | UnsetType = UNSET
    min_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    presence_penalty: Penalty | UnsetType = UNSET
    frequency_penalty: Penalty | UnsetType = UNSET
    repetition_penalty: Scale | UnsetType = UNSET
    repeat_penalty: Scale | UnsetType = UNSET
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | None = None
    stop_token_ids: list[TokenId] | None = None
    return_token_ids: bool | None = None


F = TypeVar("F", bound=CommonFields)


def read(raw: dict[str, Any], fields: type[F], limits: Limits) -> F:
    """``raw`` as ``fields``, with every value in its range.

    Raises:
        InvalidRequest: names the first field that is unknown, unsupported or wrong, as a JSON path.
    """
    request = convert(_known(raw, fields), fields)
    _check_stop(request, limits)
    if request.n is not None:
        check_at_most("n", request.n, limits.choices)
    _check_stream(request)
    return request


def _known(raw: dict[str, Any], fields: type[Struct]) -> dict[str, Any]:
    """``raw`` without fields that are off."""
    ours = {f.encode_name for f in msgspec.structs.fields(fields)}
    return {name: value for name, value in raw.items() if name in ours or not _is_idle(name, value)}


def _is_idle(name: str, value: Any) -> bool:
    if name not in _OFF:
        raise InvalidRequest(f"unknown field {name!r}", code="unknown_parameter", param=name)
    if value is None or any(type(value) is type(off) and value == off for off in _OFF[name]):
        return True
    raise unsupported(name)


def unsupported(param: str, what: str = "") -> InvalidRequest:
    """The error for a field or value that exists elsewhere and is not implemented here."""
    return InvalidRequest(f"{what or repr(param)} is not supported", code="unsupported_parameter", param=param)


S = TypeVar("S", bound=Struct)
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")


def convert(raw: dict[str, Any], struct: type[S]) -> S:
    """``raw`` as ``struct``; msgspec finds what is wrong, the words are ours."""
    try:
        return msgspec.convert(raw, struct)
    except msgspec.ValidationError as error:
        raise _refused(str(error), raw, struct) from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None


def _refused(text: str, raw: dict[str, Any], struct: type[Struct]) -> InvalidRequest:
    found = _PATH.search(text)
    path = found[1].partition("[...]")[0] if found else ""  # which key of an object it was is not said
    message = text[: found.start()] if found else text
    if unknown := _UNKNOWN.match(message):
        return InvalidRequest(
            f"unknown field {_join(path, unknown[1])!r}", code="unknown_parameter", param=_join(path, unknown[1])
        )
    if missing := _MISSING.match(message):
        param = _join(path, missing[1])
        return InvalidRequest(f"{param!r} is required", code="missing_required_parameter", param=param)
    what = f"{path}: {complaint(struct, raw, path)}"
    if re.search(r"\.content\[\d+\]\.type$", path):  # it may well be a part of OpenAI's, with an image or a sound
        return InvalidRequest(what, code="unsupported_parameter", param=path)
    return InvalidRequest(what, param=path or None)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def check_at_most(param: str, count: int, limit: int, what: str = "") -> None:
    """Refuse ``count`` above ``limit``."""
    if count > limit:
        raise InvalidRequest(f"{param}: got {count}{what}, at most {limit} are allowed", param=param)


def _check_stop(request: CommonFields, limits: Limits) -> None:
    stops = stop_strings(request)
    check_at_most("stop", len(stops), limits.stop_strings, " strings")
    for text in stops:
        if not 1 <= len(text) <= limits.stop_chars:
            raise InvalidRequest(
                f"stop: got a string of {len(text)} characters, expected 1 to {limits.stop_chars}", param="stop"
            )
    check_at_most("stop_token_ids", len(request.stop_token_ids or ()), limits.stop_token_ids, " ids")


def _check_stream(request: CommonFields) -> None:
    options = request.stream_options
    if options is None:
        return
    if not request.stream:
        raise InvalidRequest("stream_options: only allowed when stream is true", param="stream_options")
    if options.include_obfuscation:
        raise unsupported("stream_options.include_obfuscation")


def stop_strings(request: CommonFields) -> Sequence[str]:
    """``stop`` as a list."""
    if request.stop is None:
        return ()
    return (request.stop,) if isinstance(request.stop, str) else tuple(request.stop)


def options_of(request: CommonFields, max_tokens: int | None) -> Options:
    """The front's options; what the request leaves unset stays None."""
    min_tokens = request.min_tokens or 0
    if max_tokens is not None and min_tokens > max_tokens:
        raise InvalidRequest(f"min_tokens: got {min_tokens}, more than max_tokens {max_tokens}", param="min_tokens")
    return Options(
        n=request.n or 1,
        max_tokens=max_tokens,
        temperature=_given(request.temperature),
        top_p=_given(request.top_p),
        top_k=_given(request.top_k),
        min_p=_given(request.min_p),
        repetition_penalty=_repetition_penalty(request),
        presence_penalty=_given(request.presence_penalty),
        frequency_penalty=_given(request.frequency_penalty),
        seed=request.seed,
        stop=stop_strings(request),
        stop_token_ids=tuple(request.stop_token_ids or ()),
        ignore_eos=bool(request.ignore_eos),
        min_tokens=min_tokens,
    )


V = TypeVar("V")


def _given(value: V | UnsetType) -> V | None:
    return None if isinstance(value, UnsetType) else value


def _repetition_penalty(request: CommonFields) -> float | None:
    """``repetition_penalty``, or its other name ``repeat_penalty``."""
    given = {p for p in (_given(request.repetition_penalty), _given(request.repeat_penalty)) if p is not None}
    if len(given) > 1:
        raise InvalidRequest(
            "repetition_penalty and repeat_penalty are two names of one field and differ", param="repeat_penalty"
        )
    return next(iter(given), None)
