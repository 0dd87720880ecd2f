import time
from dataclasses import replace

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import DeadlineExceeded, InvalidRequest
from hyprstream_core.rpc.envelope import VERSION, Envelope, open_reply, open_request, seal_reply, seal_request

LIMITS = Limits()
ID = bytes(range(16))
ENVELOPE = Envelope(VERSION, "registry", "model", ID, b"payload\x00", "r-1", 0.0, "00-a-b-01", "local:me")


def test_what_was_sealed_is_what_is_opened():
    assert open_request(seal_request(ENVELOPE, LIMITS), ID, LIMITS) == ENVELOPE


def test_a_body_cannot_be_moved_to_another_call():
    with pytest.raises(InvalidRequest, match="another call"):
        open_request(seal_request(ENVELOPE, LIMITS), bytes(16), LIMITS)


def test_nothing_may_trail():
    with pytest.raises(InvalidRequest, match="segment table"):
        open_request(seal_request(ENVELOPE, LIMITS) + bytes(8), ID, LIMITS)


def test_an_expired_request_is_not_opened():
    late = seal_request(replace(ENVELOPE, deadline=time.time() - 0.001), LIMITS)
    with pytest.raises(DeadlineExceeded, match=r"registry\.model"):
        open_request(late, ID, LIMITS)
    assert open_request(seal_request(replace(ENVELOPE, deadline=time.time() + 9), LIMITS), ID, LIMITS).deadline


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 2}, "rpc.version"),
        ({"call_id": b"short"}, "rpc.malformed"),
        ({"method": "m" * 257}, "rpc.malformed"),
        ({"subject": "s" * 257}, "rpc.malformed"),
        ({"deadline": -1.0}, "rpc.malformed"),
        ({"deadline": float("nan")}, "rpc.malformed"),
        ({"deadline": float("inf")}, "rpc.malformed"),
    ],
)
def test_both_sides_refuse(change, code):
    from hyprstream_core.rpc.codec import encode
    from hyprstream_core.rpc.envelope import _SCHEMA

    bad = replace(ENVELOPE, **change)
    with pytest.raises(InvalidRequest) as caught:
        seal_request(bad, LIMITS)
    assert caught.value.error_code == code
    with pytest.raises(InvalidRequest) as caught:
        open_request(encode(bad, _SCHEMA, LIMITS), bad.call_id, LIMITS)
    assert caught.value.error_code == code


def test_replies_have_a_maximum():
    assert open_reply(seal_reply(b"x" * 1024, ID), ID, Limits(message_bytes=1024)) == b"x" * 1024
    with pytest.raises(InvalidRequest):
        open_reply(seal_reply(b"x" * 1025, ID), ID, Limits(message_bytes=1024))
