import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_core.builtin.lfs import SNIFF, Lfs
from hyprstream_core.errors import BadObject
from hyprstream_core.interfaces.storage import Pointer

OID = hashlib.sha256(b"x").hexdigest()


def text(oid=OID, size="12345"):
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()


def test_a_canonical_pointer_is_read():
    assert Lfs().parse(text()) == Pointer(OID, 12345)
    assert Lfs().parse(text(size="0")) == Pointer(OID, 0)
    assert Lfs().parse(text(size=str(2**63 - 1))) == Pointer(OID, 2**63 - 1)
    assert text().startswith(SNIFF)


@given(
    st.binary(max_size=200)
    | st.binary(max_size=100).map(lambda b: SNIFF + b)
    | st.binary(max_size=60).map(lambda b: text() + b)
)
def test_any_bytes_are_the_canonical_form_or_refused(blob):
    try:
        pointer = Lfs().parse(blob)
    except BadObject:
        return
    assert text(pointer.oid, str(pointer.size)) == blob


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_every_pointer_is_read_back(size, digest):
    assert Lfs().parse(text(digest.hex(), str(size))) == Pointer(digest.hex(), size)


@pytest.mark.parametrize("size", [str(2**63), "-1", "+1", "01", "1.0", "1e3", "", " 1", "٣"])
def test_sizes_that_are_not_plain_decimal_are_refused(size):
    with pytest.raises(BadObject):
        Lfs().parse(text(size=size))
