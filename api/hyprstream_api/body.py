"""Reading a request's body: bounded, complete, plain JSON."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi

from hyprstream_api.errors import BadMediaType, BodyTooLarge
from hyprstream_api.strict_json import InvalidJson, read_object
from hyprstream_core.config import Limits

CHUNK_BYTES = 256 * 1024


async def read_json(req: falcon.asgi.Request, limits: Limits) -> dict[str, Any]:
    """The JSON object in the body of ``req``.

    Raises:
        BadMediaType: not said to be ``application/json``, or compressed.
        BodyTooLarge: more than ``limits.body_bytes``; at most that much has been read.
        InvalidJson: cut short, or not one well-formed JSON object.
    """
    _check_type(req)
    length = req.content_length
    if length is not None and length > limits.body_bytes:
        raise _too_large(limits)
    body = await _read(req, limits)
    if length is not None and len(body) < length:
        raise InvalidJson(f"the body ended after {len(body)} of {length} bytes")
    return read_object(body, max_depth=limits.json_depth)


def _check_type(req: falcon.asgi.Request) -> None:
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise BadMediaType(
            f"Content-Type: got {media_type or 'nothing'!r}, expected application/json",
            remedy="send the header Content-Type: application/json",
        )
    if (encoding := req.get_header("Content-Encoding", default="identity").strip().lower()) != "identity":
        raise BadMediaType(f"Content-Encoding: got {encoding!r}, expected an uncompressed body")


async def _read(req: falcon.asgi.Request, limits: Limits) -> bytes:
    """The body, given up at the first byte too many (a chunked one does not say its length)."""
    parts: list[bytes] = []
    room = limits.body_bytes + 1
    while part := await req.stream.read(min(CHUNK_BYTES, room)):
        parts.append(part)
        room -= len(part)
        if room <= 0:
            raise _too_large(limits)
    return b"".join(parts)


def _too_large(limits: Limits) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limits.body_bytes} bytes")
