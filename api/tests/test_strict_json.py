"""The JSON reader: everything that is not one well-formed object with one meaning is refused, quickly."""

import contextlib
import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_api.strict_json import InvalidJson, read_object

DEPTH = 64


def read(body: bytes) -> dict:
    return read_object(body, max_depth=DEPTH)


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"text"', id="string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"1", id="number"),
        pytest.param(b'{"a":1} {"b":2}', id="two documents"),
        pytest.param(b'{"a":1,}', id="trailing comma"),
        pytest.param(b"{'a':1}", id="single quotes"),
        pytest.param(b'{"a":01}', id="leading zero"),
        pytest.param(b'{"a":"x\ny"}', id="raw newline"),
        pytest.param(b'{"a":"\xff"}', id="invalid UTF-8"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', id="surrogate in UTF-8"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="byte order mark"),
        pytest.param(rb'{"a":"\ud800"}', id="lone surrogate"),
        pytest.param(rb'{"\udfff":1}', id="lone surrogate in a key"),
        pytest.param(b"[" * 100_000, id="100000 open brackets"),
        pytest.param(b'{"a":' * 100_000, id="100000 open braces"),
        pytest.param(nested(100_000), id="depth 100000"),
        pytest.param(b'{"a":' + b"[" * 4_000_000 + b"]" * 4_000_000 + b"}", id="depth 4000000"),
    ],
)
def test_case_039_what_is_no_json_object_is_refused(body):
    began = time.process_time()
    with pytest.raises(InvalidJson) as caught:
        read(body)
    assert caught.value.error_code == "invalid_json"
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"temperature":NaN}', "temperature"),
        (b'{"temperature":Infinity}', "temperature"),
        (b'{"temperature":-Infinity}', "temperature"),
        (b'{"temperature":1e999}', "temperature"),
        (b'{"temperature":1' + b"0" * 400 + b"}", "temperature"),
        (b'{"a":[1,{"b":-1e999}]}', "a[1].b"),
        (b'{"a":1,"b":{"c":NaN},"d":NaN}', "b.c"),
    ],
)
def test_case_038_a_number_that_is_none_is_named(body, param):
    with pytest.raises(InvalidJson, match="finite") as caught:
        read(body)
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b'{"a":1,"a":2}', b'{"x":[{"a":1,"b":2,"a":1}]}', rb'{"a":1,"\u0061":2}'])
def test_case_039_a_key_given_twice_is_named(body):
    with pytest.raises(InvalidJson, match="more than once") as caught:
        read(body)
    assert caught.value.param == "a"


def test_the_deepest_allowed_nesting_is_read():
    assert read(nested(DEPTH))
    with pytest.raises(InvalidJson, match="64 levels"):
        read(nested(DEPTH + 1))


def test_brackets_inside_strings_are_text():
    text = "[{" * 1000 + '"' + "\\"
    assert read(json.dumps({"a": text}).encode()) == {"a": text}


def test_a_pair_of_surrogates_is_one_character():
    assert read(rb'{"a":"\ud83d\ude00"}') == {"a": "😀"}


def test_many_backslashes_take_linear_time():
    began = time.process_time()
    with pytest.raises(InvalidJson):
        read(b'{"a":[' + b"[]," * 100 + b'"' + b"\\" * 2_000_001)
    assert time.process_time() - began < 2


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), values, max_size=4), st.booleans())
def test_every_json_object_is_read_as_written(document, ascii_only):
    assert read(json.dumps(document, ensure_ascii=ascii_only).encode()) == document


@given(st.binary(max_size=200))
def test_no_bytes_cause_anything_but_an_object_or_a_refusal(body):
    with contextlib.suppress(InvalidJson):
        assert isinstance(read(body), dict)


def test_case_039_many_keys_and_one_twice_take_no_longer_than_reading_them():
    body = "{" + ",".join(f'"k{i}":1' for i in range(100_000)) + ',"k99999":2}'
    started = time.thread_time()
    with pytest.raises(InvalidJson, match="more than once"):
        read(body.encode())
    assert time.thread_time() - started < 5


def test_case_038_the_place_of_a_bad_number_costs_no_memory_per_sibling():
    body = '{"' + "k" * 1_000_000 + '":[' + "1," * 200_000 + "NaN]}"
    tracemalloc.start()
    with pytest.raises(InvalidJson, match=r"\[200000\]") as caught:
        read(body.encode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20
    assert len(str(caught.value)) < 300
