"""How errors look on the wire: ``{"error": {"message", "type", "param", "code"}}``, always all four keys.

The status follows from the error's class, the texts from the error itself. Whatever is the server's own fault
is logged in full and answered without details.

    400 invalid_request_error   the request: JSON, fields, values, references, templates, context length
    404 invalid_request_error   no such model or address        405  no such method there
    409, 413, 415               conflict, body too large, body of another media type
    503 server_error            the engine is not there, is loading or is full; with Retry-After
    500 server_error            everything else
"""

from __future__ import annotations

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


_INVALID, _SERVER = "invalid_request_error", "server_error"
_BY_CLASS: tuple[tuple[type[core.HyprstreamError], int, str], ...] = (
    (UnknownUrl, 404, _INVALID),
    (BodyTooLarge, 413, _INVALID),
    (BadMediaType, 415, _INVALID),
    (core.ModelNotFound, 404, _INVALID),
    (core.InvalidRequest, 400, _INVALID),
    (core.RefError, 400, _INVALID),
    (core.TemplateError, 400, _INVALID),
    (core.UnsupportedModel, 400, _INVALID),
    (core.PluginMissing, 400, _INVALID),
    (core.Conflict, 409, _INVALID),
    (core.Overloaded, 503, _SERVER),
    (core.Unavailable, 503, _SERVER),
    (core.Cancelled, 503, _SERVER),
)
"""First match wins. What is not here is a defect or a damaged store: 500 without details."""

_ABOUT_THE_MODEL = (core.ModelNotFound, core.RefError, core.UnsupportedModel, core.PluginMissing)
RETRY_AFTER_SECONDS = 2


def problem_of(error: BaseException) -> Problem:
    """The response for ``error``; logs it when the fault is ours."""
    if isinstance(error, core.HyprstreamError):
        for cls, status, kind in _BY_CLASS:
            if isinstance(error, cls):
                return _deliberate(error, status, kind)
    if isinstance(error, falcon.HTTPError):
        return _from_falcon(error)
    log.exception("request failed", error=f"{type(error).__name__}: {error}")
    return Problem(
        500, _SERVER, "internal_error", "internal error; the server's log has the details", headers=_no_retry(500)
    )


def _deliberate(error: core.HyprstreamError, status: int, kind: str) -> Problem:
    param = error.param or ("model" if isinstance(error, _ABOUT_THE_MODEL) else None)
    headers = _no_retry(status)
    if status == 503:
        headers["Retry-After"] = str(error.details.get("retry_after", RETRY_AFTER_SECONDS))
    return Problem(status, kind, error.error_code, str(error), param, headers)


def _from_falcon(error: falcon.HTTPError) -> Problem:
    status = error.status_code
    given = dict(error.headers or {})
    if status in (404, 405):
        what = "no such URL" if status == 404 else "this URL does not answer that method"
        return Problem(status, _INVALID, "unknown_url", what, headers=given)
    return Problem(
        status, _INVALID if status < 500 else _SERVER, "bad_request", error.title or "bad request", headers=given
    )


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
