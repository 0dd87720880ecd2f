"""Errors on the wire: records there, typed exceptions here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from hyprstream_core.config import Limits
from hyprstream_core.errors import HyprstreamError, InternalError, InvalidRequest, from_record
from hyprstream_core.rpc.codec import COMMON, decode, encode

TEXT_CHARS = 4096
DETAILS_BYTES = 64 * 2**10


@dataclass(frozen=True)
class ErrorRecord:
    """:meth:`HyprstreamError.to_record`, with ``details`` as JSON."""

    type: str
    code: str
    message: str
    remedy: str | None = None
    param: str | None = None
    details: str = "{}"


def encode_error(error: HyprstreamError, limits: Limits) -> bytes:
    """``error`` as bytes; texts are cut and details left out when they are out of proportion."""
    details = _details(error.details)
    record = ErrorRecord(
        type(error).__name__,
        error.error_code,
        _text(error.message),
        _text(error.remedy) if error.remedy else None,
        _text(error.param) if error.param else None,
        details if len(details) <= DETAILS_BYTES else "{}",
    )
    return encode(record, COMMON, limits)


def decode_error(data: bytes, limits: Limits) -> HyprstreamError:
    """The error in ``data``; when that is unreadable, an :class:`InternalError` that says so."""
    try:
        record = decode(data, ErrorRecord, COMMON, limits)
        details: dict[str, Any] = msgspec.json.decode(record.details, type=dict[str, Any])
    except (InvalidRequest, msgspec.DecodeError):
        return InternalError("the service sent an error that cannot be read", code="rpc.malformed")
    return from_record({**vars(record), "details": details})


def _details(details: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(details, enc_hook=str).decode()
    except (TypeError, ValueError, RecursionError):  # odd keys, numbers beyond 64 bits, text that is no UTF-8
        return msgspec.json.encode({ascii(key): ascii(value) for key, value in details.items()}).decode()


def _text(value: str) -> str:
    """At most ``TEXT_CHARS`` characters that UTF-8 can carry (file names may hold lone surrogates)."""
    return value[:TEXT_CHARS].encode("utf-8", "backslashreplace").decode()
