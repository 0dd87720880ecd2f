import dataclasses
import struct
import types
from collections.abc import Mapping
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyprstream_core.config import Limits
from hyprstream_core.errors import InternalError, InvalidRequest
from hyprstream_core.interfaces.inference import Description, ModelInfo, SamplingParams, TokenChunk
from hyprstream_core.rpc.codec import SEGMENTS, check_framing, decode, encode
from hyprstream_core.rpc.contracts import INFERENCE, REGISTRY, SCHEMAS, ModelList, RefRequest

LIMITS = Limits()
RECORDS = sorted(
    {(r, m.schema) for c in (REGISTRY, INFERENCE) for m in c.methods for r in (m.request, m.response)}
    | {(SamplingParams, SCHEMAS / "inference.capnp"), (ModelInfo, SCHEMAS / "registry.capnp")},
    key=lambda pair: (pair[0].__name__, pair[1].name),
)
NAMES = [record_type.__name__ for record_type, _ in RECORDS]
SCALARS = {
    str: st.text(max_size=20),
    int: st.integers(-(2**31), 2**31 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
}


def values(hint):
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    if origin in (Union, types.UnionType):
        return st.none() | values(next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=4).map(tuple)
    if origin in (dict, Mapping):
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=4)
    return records(hint)


def records(record_type):
    hints = get_type_hints(record_type)
    return st.builds(record_type, **{f.name: values(hints[f.name]) for f in dataclasses.fields(record_type)})


@pytest.mark.parametrize(("record_type", "schema"), RECORDS, ids=NAMES)
def test_every_record_of_every_contract_survives_the_wire(record_type, schema):
    @settings(max_examples=40, deadline=None)
    @given(records(record_type))
    def check(record):
        assert decode(encode(record, schema, LIMITS), record_type, schema, LIMITS) == record

    check()


@pytest.mark.parametrize(("record_type", "schema"), RECORDS, ids=NAMES)
def test_schemas_and_dataclasses_have_the_same_fields(record_type, schema):
    import capnp

    from hyprstream_core.rpc.codec import COMMON, _camel

    path = schema if hasattr(capnp.load(str(schema)), record_type.__name__) else COMMON
    fields = list(getattr(capnp.load(str(path)), record_type.__name__).schema.fieldnames)
    assert fields == [_camel(f.name) for f in dataclasses.fields(record_type)]


SCHEMA = SCHEMAS / "registry.capnp"
INFO = ModelInfo("a:main", "a", "main", "branch", "0" * 40, "u", 1)


@pytest.mark.parametrize(
    "record",
    [
        dataclasses.replace(INFO, created=2**63),
        dataclasses.replace(INFO, created="yesterday"),
        dataclasses.replace(INFO, id="\ud800"),
        dataclasses.replace(INFO, id=None),
    ],
    ids=["too big", "text for number", "lone surrogate", "None"],
)
def test_a_value_that_does_not_fit_is_a_typed_error(record):
    with pytest.raises(InvalidRequest) as caught:
        encode(record, SCHEMA, LIMITS)
    assert caught.value.error_code == "rpc.malformed"
    assert "stack" not in caught.value.message


def test_text_that_is_no_utf8_is_refused_on_arrival():
    data = encode(dataclasses.replace(INFO, id=b"\xff\xfe"), SCHEMA, LIMITS)
    with pytest.raises(InvalidRequest, match="UnicodeDecodeError"):
        decode(data, ModelInfo, SCHEMA, LIMITS)


def test_token_ids_beyond_32_bits_are_refused():
    with pytest.raises(InvalidRequest):
        encode(TokenChunk((2**31,)), SCHEMAS / "inference.capnp", LIMITS)


def test_a_message_above_the_limit_is_refused_on_both_sides():
    record = RefRequest("x" * 4096)
    with pytest.raises(InvalidRequest, match="too large"):
        encode(record, SCHEMA, Limits(message_bytes=4096))
    data = encode(record, SCHEMA, LIMITS)
    with pytest.raises(InvalidRequest) as caught:
        decode(data, RefRequest, SCHEMA, Limits(message_bytes=4096))
    assert caught.value.error_code == "rpc.too_large"


def test_more_records_than_the_limit_are_refused():
    data = encode(ModelList((INFO,) * 100), SCHEMA, LIMITS)
    assert len(decode(data, ModelList, SCHEMA, Limits(message_records=101)).models) == 100
    with pytest.raises(InvalidRequest, match="more records"):
        decode(data, ModelList, SCHEMA, Limits(message_records=100))


def test_entries_of_a_mapping_count_as_records():
    record = Description("m", "c", "d", "t", generation_config={str(i): 1.0 for i in range(100)})
    data = encode(record, SCHEMA, LIMITS)
    with pytest.raises(InvalidRequest, match="more entries"):
        decode(data, Description, SCHEMA, Limits(message_records=50))


@pytest.mark.parametrize("cut", [1, 7, 8, 16, 40])
def test_truncated_and_trailing_bytes_are_refused(cut):
    data = encode(INFO, SCHEMA, LIMITS)
    for bad in (data[:-cut], data[cut:], data + bytes(cut), data + data[:cut]):
        with pytest.raises(InvalidRequest):
            decode(bad, ModelInfo, SCHEMA, LIMITS)


def test_a_large_message_of_several_segments_survives():
    record = Description("m", "c", "d" * 1_000_000, "t" * 3_000_000, generation_config={"a": 0.5})
    data = encode(record, SCHEMA, LIMITS)
    assert struct.unpack_from("<I", data)[0] > 0
    assert decode(data, Description, SCHEMA, LIMITS) == record


def test_the_segment_table_is_bounded():
    with pytest.raises(InvalidRequest, match="segments"):
        check_framing(struct.pack("<II", SEGMENTS, 0) + bytes(8 * SEGMENTS), LIMITS)


def assert_record_or_typed_error(data, record_type):
    problem = None
    try:
        assert isinstance(decode(data, record_type, SCHEMA, LIMITS), record_type)
    except InvalidRequest as error:
        problem = error
    if problem:
        assert problem.error_code == "rpc.malformed"
        assert not any(word in str(problem.to_record()) for word in ("0x", "capnp", "Kj", "stack"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_record_or_a_typed_error(data):
    good = bytearray(encode(Description("m", "c", "d", "t", {"t": 0.5}, (1, 2)), SCHEMA, LIMITS))
    for position in data.draw(st.lists(st.integers(0, len(good) - 1), min_size=1, max_size=6)):
        good[position] = data.draw(st.integers(0, 255))
    assert_record_or_typed_error(bytes(good), Description)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400).map(lambda b: b[: len(b) // 8 * 8]))
def test_random_segments_give_a_record_or_a_typed_error(body):
    data = struct.pack("<II", 0, len(body) // 8) + body
    assert_record_or_typed_error(data, ModelList)


def test_a_record_without_a_struct_is_a_defect_that_is_named():
    @dataclasses.dataclass(frozen=True)
    class Unheard:
        x: int

    @dataclasses.dataclass(frozen=True)
    class RefRequest:
        ref: str
        extra: int = 0

    with pytest.raises(InternalError, match="Unheard"):
        encode(Unheard(1), SCHEMA, LIMITS)
    with pytest.raises(InternalError, match="lacks the field 'extra'"):
        encode(RefRequest("a"), SCHEMA, LIMITS)


def test_importing_rpc_costs_neither_capnp_nor_torch():
    import subprocess
    import sys

    code = "import sys, hyprstream_core.rpc.service_clients, hyprstream_core.rpc.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "capnp", "structlog"} & set(loaded)
