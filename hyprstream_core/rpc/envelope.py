"""The one place where RPC bytes are sealed and opened.

Today a request's envelope is checked but not signed: size, framing (nothing may trail), version, call id,
deadline. SECURITY: signing goes in here, and nowhere else: ``seal_request`` will sign the exact bytes that it
returns, ``open_request`` will verify them before it looks inside (size → key id → signature → audience and
method → time window → nonce → dispatch), and ``seal_reply``/``open_reply`` will add the MAC that binds a reply
to its request. Until then the transports' own protection holds: inproc, and ipc sockets in a
directory that only the user can enter; nothing else can be bound.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from hyprstream_core.config import Limits
from hyprstream_core.errors import DeadlineExceeded, InvalidRequest
from hyprstream_core.rpc.codec import decode, encode

VERSION = 1
CALL_ID_BYTES = 16
NAME_CHARS = 256
"""Length of a service, method, subject, request id or traceparent."""
_SCHEMA = Path(__file__).parent / "schema" / "envelope.capnp"


@dataclass(frozen=True)
class Envelope:
    """One request: who asks which service for what, and until when (Unix seconds; 0 is no deadline)."""

    version: int
    service: str
    method: str
    call_id: bytes
    payload: bytes
    request_id: str = ""
    deadline: float = 0.0
    traceparent: str = ""
    subject: str = "anonymous"


def seal_request(envelope: Envelope, limits: Limits) -> bytes:
    """The bytes of a request's body.

    Raises:
        InvalidRequest: too large for one message.
    """
    _check(envelope)
    return encode(envelope, _SCHEMA, limits)


def open_request(body: bytes, call_id: bytes, limits: Limits) -> Envelope:
    """The request in ``body``, which came with the frame ``call_id``.

    Raises:
        InvalidRequest: malformed, of another version, or moved here from another call.
        DeadlineExceeded: it has already expired.
    """
    envelope = decode(body, Envelope, _SCHEMA, limits)
    _check(envelope)
    if envelope.call_id != call_id:
        raise InvalidRequest("the body belongs to another call than its frame says", code="rpc.malformed")
    if envelope.deadline and time.time() >= envelope.deadline:
        raise DeadlineExceeded(f"{envelope.service}.{envelope.method} expired before it was started")
    return envelope


def _check(envelope: Envelope) -> None:
    if envelope.version != VERSION:
        raise InvalidRequest(
            f"envelope version {envelope.version}, this side speaks {VERSION}",
            remedy="run the same hyprstream version on both sides",
            code="rpc.version",
        )
    if len(envelope.call_id) != CALL_ID_BYTES:
        raise InvalidRequest(
            f"call id of {len(envelope.call_id)} bytes, expected {CALL_ID_BYTES}", code="rpc.malformed"
        )
    for name in ("service", "method", "request_id", "traceparent", "subject"):
        if len(getattr(envelope, name)) > NAME_CHARS:
            raise InvalidRequest(f"{name} is longer than {NAME_CHARS} characters", code="rpc.malformed")
    if not 0 <= envelope.deadline < 1e12:
        raise InvalidRequest("deadline is not a time in Unix seconds", code="rpc.malformed")


def seal_reply(payload: bytes, call_id: bytes) -> bytes:  # noqa: ARG001 - the MAC will cover the call id
    """The body of a reply, chunk or error that answers the call ``call_id``."""
    return payload


def open_reply(body: bytes, call_id: bytes, limits: Limits) -> bytes:  # noqa: ARG001 - see seal_reply
    """The payload of a reply to the call ``call_id``.

    Raises:
        InvalidRequest: too large.
    """
    if len(body) > limits.message_bytes:
        raise InvalidRequest(
            f"reply of {len(body)} bytes, expected at most {limits.message_bytes}", code="rpc.too_large"
        )
    return body
