import hashlib

import pytest

from hyprstream_core.errors import BadObject
from hyprstream_core.interfaces.storage import Pointer
from hyprstream_core.repo.large_objects import FileSink, has_content
from hyprstream_core.repo.layout import Layout

DATA = b"weights" * 100
GOOD = Pointer(hashlib.sha256(DATA).hexdigest(), len(DATA))


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "scratch").mkdir()
    return Layout(tmp_path)


def put(layout, pointer, *chunks, progress=lambda count: None):
    with FileSink(layout, pointer, layout.root / "scratch", progress) as sink:
        for chunk in chunks:
            sink.write(chunk)


def nothing_left(layout):
    return not [p for p in layout.root.rglob("*") if p.is_file()]


def test_right_content_is_published_read_only_in_git_lfs_layout(layout):
    told = []
    put(layout, GOOD, DATA[:300], DATA[300:], progress=told.append)
    path = layout.root / "lfs/objects" / GOOD.oid[:2] / GOOD.oid[2:4] / GOOD.oid
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o444
    assert told == [300, 400]
    assert has_content(layout, GOOD)
    assert list((layout.root / "scratch").iterdir()) == []


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", b"Weights" * 100, DATA * 2])
def test_wrong_content_is_refused_and_leaves_nothing(layout, data):
    with pytest.raises(BadObject) as caught:
        put(layout, GOOD, data)
    assert caught.value.error_code == "lfs.bad_object"
    assert nothing_left(layout)


def test_an_error_of_the_sender_leaves_nothing(layout):
    def fail(count):
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        put(layout, GOOD, DATA, progress=fail)
    assert nothing_left(layout)


def test_more_than_announced_stops_at_once(layout):
    told = []
    with pytest.raises(BadObject):
        put(layout, GOOD, DATA, b"x", b"y", progress=told.append)
    assert told == [700]
    assert nothing_left(layout)


def test_content_that_is_there_stays_the_same_file(layout):
    put(layout, GOOD, DATA)
    before = layout.content(GOOD.oid).stat().st_ino
    put(layout, GOOD, DATA)
    assert layout.content(GOOD.oid).stat().st_ino == before


def test_a_pointer_that_lies_about_the_size_of_what_we_have_is_refused(layout):
    put(layout, GOOD, DATA)
    with pytest.raises(BadObject):
        has_content(layout, Pointer(GOOD.oid, 3))


def test_empty_content_is_content(layout):
    empty = Pointer(hashlib.sha256(b"").hexdigest(), 0)
    put(layout, empty)
    assert has_content(layout, empty)
