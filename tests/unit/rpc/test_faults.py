from pathlib import Path

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import HyprstreamError, InternalError, ModelNotFound, _tree
from hyprstream_core.rpc.codec import COMMON, encode
from hyprstream_core.rpc.faults import DETAILS_BYTES, TEXT_CHARS, ErrorRecord, decode_error, encode_error

LIMITS = Limits()
TYPES = sorted(
    (t for t in _tree(HyprstreamError) if t.__module__ == HyprstreamError.__module__), key=lambda t: t.__name__
)


@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.__name__)
def test_every_error_crosses_as_itself(kind):
    error = kind("got 1, expected 2", remedy="do this", code="a.b", param="$.x", ids=[1, 2], nested={"a": None})
    arrived = decode_error(encode_error(error, LIMITS), LIMITS)
    assert type(arrived) is kind
    assert arrived.to_record() == error.to_record()
    bare = decode_error(encode_error(kind("x"), LIMITS), LIMITS)
    assert bare.to_record() == kind("x").to_record()


def test_details_that_are_no_plain_data_become_text():
    error = decode_error(encode_error(ModelNotFound("x", where=Path("/a"), of=ModelNotFound), LIMITS), LIMITS)
    assert error.details["where"] == "/a"


@pytest.mark.parametrize("details", [{"a": {(1, 2): 3}}, {"a": "\ud800"}, {"a": b"\xff"}, {"a": 2**70}])
def test_details_of_any_shape_do_not_lose_the_error(details):
    error = decode_error(encode_error(ModelNotFound("gone", **details), LIMITS), LIMITS)
    assert isinstance(error, ModelNotFound)
    assert error.message == "gone"


def test_texts_and_details_stay_in_proportion():
    error = ModelNotFound("m" * 10**6, remedy="r" * 10**6, big="d" * (DETAILS_BYTES + 1))
    arrived = decode_error(encode_error(error, LIMITS), LIMITS)
    assert len(arrived.message) == TEXT_CHARS
    assert len(arrived.remedy) == TEXT_CHARS
    assert arrived.details == {}


def test_file_names_that_are_no_utf8_do_not_break_errors():
    assert decode_error(encode_error(ModelNotFound("bad \udcff name"), LIMITS), LIMITS).message == "bad \\udcff name"


def test_an_error_that_cannot_be_read_is_one_of_ours():
    for data in (b"", b"junk", encode(ErrorRecord("StoreError", "c", "m", details="{"), COMMON, LIMITS)):
        assert isinstance(decode_error(data, LIMITS), InternalError)


def test_a_record_cannot_name_a_class_of_its_choice():
    data = encode(ErrorRecord("SystemExit", "c", "m"), COMMON, LIMITS)
    assert type(decode_error(data, LIMITS)) is InternalError
