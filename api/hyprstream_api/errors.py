"""How errors look on the wire: ``{"error": {"message", "type", "param", "code"}}``, always all four keys.

    400 invalid_request_error   the request: JSON, fields, values, references, templates, context length
    403 permission_error        a page of another site asks
    404 invalid_request_error   no such model or address        405  no such method there
    409, 413, 415               conflict, body too large, body of another media type
    421 invalid_request_error   addressed to a host that is not this one
    503 server_error            the engine is not there or is full (of /readyz alone: is loading); with Retry-After
    500 server_error            everything else

Errors are written for whoever runs the server: they may name paths, and remedies that only they can use. So what a
client reads is decided here, class by class (:data:`_RULES`): the whole text only where the fault is in the request,
the message without remedy and paths where it is about a model, words of our own where a service is at fault. What
is not said is in the log, under the request's id.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import falcon
import msgspec

from hyprstream_core import errors as core
from hyprstream_core.telemetry import logger

MAX_MESSAGE_CHARS = 2000
RETRIED = frozenset({408, 429, 503})
"""What a client should send again. The official one retries any 5xx and 409 unless told otherwise."""
log = logger(__name__)


@dataclass(frozen=True)
class Problem:
    """One error response."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The JSON document."""
        return msgspec.json.encode({"error": self.record()})

    def record(self) -> dict[str, Any]:
        """The four keys."""
        param = None if self.param is None else _clean(self.param)
        return {"message": _clean(self.message), "type": self.type, "param": param, "code": self.code}


def _clean(text: str) -> str:
    """``text`` as it may be sent: bounded, and without lone surrogates of a hostile body."""
    short = text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:MAX_MESSAGE_CHARS]}…"
    return short.encode("utf-8", "backslashreplace").decode()


class UnknownUrl(core.HyprstreamError):
    """No such address."""

    code = "unknown_url"


class BodyTooLarge(core.HyprstreamError):
    """The body has more bytes than ``limits.body_bytes``."""

    code = "body_too_large"


class BadMediaType(core.HyprstreamError):
    """The body is not said to be plain JSON."""

    code = "unsupported_media_type"


class UnknownHost(core.HyprstreamError):
    """The request is addressed to a host that is not this server."""

    code = "unknown_host"


class ForeignOrigin(core.HyprstreamError):
    """A page of another site sent the request."""

    code = "foreign_origin"


class Notice(core.Unavailable):
    """This worker cannot serve now, in words that are meant for clients."""


_INVALID, _SERVER, _DENIED = "invalid_request_error", "server_error", "permission_error"
RETRY_AFTER_SECONDS = 2
_SERVICES = {"inference": ("the inference service", "engine"), "registry": ("the model registry", "registry")}
"""Service → what clients know it as, and the first part of the code that says it is not there."""
_ABSOLUTE = re.compile(r"(?:\b\w+://|(?<![^\s'\"(=:]))/[^\s/'\",;:()]+(?:/[^\s/'\",;:()]*)+")

Words = tuple[str, str]
"""A message and a code, as a client may read them."""


def without_paths(text: str) -> str:
    """``text`` with every absolute path and URL in it left out."""
    return _ABSOLUTE.sub("…", text)


def _whole(error: core.HyprstreamError) -> Words:
    """About the request: all of it, with what to do."""
    return str(error), error.error_code


def _message(error: core.HyprstreamError) -> Words:
    """About what the request names: what to do about it is the operator's business."""
    return error.message, error.error_code


def _about_the_model(error: core.HyprstreamError) -> Words:
    return without_paths(error.message), error.error_code


def _changing(error: core.HyprstreamError) -> Words:
    return "the model is being changed at the moment", error.error_code


def _too_much(error: core.HyprstreamError) -> Words:
    if error.error_code == "rpc.slow_reader":
        return "the answer was not read fast enough", error.error_code
    if error.error_code.startswith("rpc."):
        return "the server has too much to do at the moment", "overloaded"
    return _about_the_model(error)


def _late(error: core.HyprstreamError) -> Words:
    return f"{_who(error)[0]} did not answer in time", error.error_code


def _absent(error: core.HyprstreamError) -> Words:
    name, code = _who(error)
    return f"{name} is not available at the moment", f"{code}_unavailable"


def _cancelled(error: core.HyprstreamError) -> Words:
    return "the server cancelled the request", error.error_code


def _who(error: core.HyprstreamError) -> tuple[str, str]:
    return _SERVICES.get(str(error.details.get("service")), ("the server", "server"))


@dataclass(frozen=True)
class _Rule:
    """What an error of class ``cls`` becomes. ``logged``: its own words are for the log."""

    cls: type[core.HyprstreamError]
    status: int
    type: str
    words: Callable[[core.HyprstreamError], Words]
    logged: bool = False


_RULES = (
    _Rule(UnknownUrl, 404, _INVALID, _whole),
    _Rule(UnknownHost, 421, _INVALID, _whole, logged=True),
    _Rule(ForeignOrigin, 403, _DENIED, _whole, logged=True),
    _Rule(BodyTooLarge, 413, _INVALID, _whole),
    _Rule(BadMediaType, 415, _INVALID, _whole),
    _Rule(Notice, 503, _SERVER, _whole),
    _Rule(core.ModelNotFound, 404, _INVALID, _message),
    _Rule(core.InvalidRequest, 400, _INVALID, _whole),
    _Rule(core.RefError, 400, _INVALID, _message),
    _Rule(core.TemplateError, 400, _INVALID, _about_the_model),
    _Rule(core.UnsupportedModel, 400, _INVALID, _about_the_model),
    _Rule(core.PluginMissing, 400, _INVALID, _about_the_model),
    _Rule(core.Conflict, 409, _INVALID, _changing, logged=True),
    _Rule(core.Overloaded, 503, _SERVER, _too_much),
    _Rule(core.DeadlineExceeded, 503, _SERVER, _late, logged=True),
    _Rule(core.Unavailable, 503, _SERVER, _absent, logged=True),
    _Rule(core.Cancelled, 503, _SERVER, _cancelled, logged=True),
)
"""First match wins. What is not here is a defect or a damaged store: 500 without details."""

_NAMES_THE_MODEL = (core.ModelNotFound, core.RefError, core.UnsupportedModel, core.PluginMissing)
_OUR_DEFECTS = frozenset({"rpc.malformed", "rpc.version", "rpc.unknown_method"})
"""Codes of an :class:`InvalidRequest` that the worker itself made of a client's good one."""


def problem_of(error: BaseException, *, expected: bool = False) -> Problem:
    """The response for ``error``; logs what it does not tell. ``expected``: somebody asks whether all is well."""
    if isinstance(error, core.HyprstreamError) and error.error_code not in _OUR_DEFECTS:
        for rule in _RULES:
            if isinstance(error, rule.cls):
                return _deliberate(error, rule, expected)
    if isinstance(error, falcon.HTTPError):
        return _from_falcon(error)
    log.exception("request failed", error=f"{type(error).__name__}: {error}")
    return Problem(
        500, _SERVER, "internal_error", "internal error; the server's log has the details", headers=_no_retry(500)
    )


def _deliberate(error: core.HyprstreamError, rule: _Rule, expected: bool) -> Problem:
    message, code = rule.words(error)
    if rule.logged:
        (log.debug if expected else log.warning)("request refused", status=rule.status, code=code, error=str(error))
    param = error.param or ("model" if isinstance(error, _NAMES_THE_MODEL) else None)
    headers = _no_retry(rule.status)
    if rule.status == 503:
        headers["Retry-After"] = str(error.details.get("retry_after", RETRY_AFTER_SECONDS))
    return Problem(rule.status, rule.type, code, message, param, headers)


def _from_falcon(error: falcon.HTTPError) -> Problem:
    status = error.status_code
    given = dict(error.headers or {})
    if status == 404:
        return Problem(status, _INVALID, "unknown_url", "no such URL", headers=given)
    if status == 405:
        methods = _methods(given.get("Allow", ""))
        given["Allow"] = ", ".join(methods)
        message = f"this URL does not answer that method, only {' and '.join(methods)}"
        return Problem(status, _INVALID, "unknown_url", message, headers=given)
    return Problem(
        status, _INVALID if status < 500 else _SERVER, "bad_request", error.title or "bad request", headers=given
    )


def _methods(allowed: str) -> list[str]:
    """The methods in Falcon's ``Allow`` header and HEAD, which is answered wherever GET is."""
    methods = {method.strip() for method in allowed.split(",")} - {""}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _no_retry(status: int) -> dict[str, str]:
    return {"x-should-retry": "false"} if status not in RETRIED and (status >= 500 or status == 409) else {}


def apply(problem: Problem, resp: falcon.Response) -> None:
    """Make ``resp`` say ``problem``."""
    resp.status = problem.status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = problem.body()
    resp.text = None
    resp.stream = None
    for name, value in problem.headers.items():
        resp.set_header(name, value)
