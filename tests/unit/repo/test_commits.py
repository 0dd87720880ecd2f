"""Whatever stands in a commit or tag, it is read within bounds, and nothing of it fails."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_core.repo.git.commits import NAME_CHARS, SUBJECT_CHARS, read_commit, read_tag

OID = "12" * 20
HEAD = b"tree " + b"0" * 40 + b"\nauthor A <a@x> 1 +0000\ncommitter C <c@x> 5 +0100\n"


def test_a_message_of_ten_megabytes_is_cut_at_once():
    began = time.monotonic()
    found = read_commit(OID, HEAD + b"\n" + b"very long " * 2**20)
    assert len(found.subject) == SUBJECT_CHARS
    assert found.subject.endswith("…")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("encoding", "raw", "text"),
    [
        (b"ISO-8859-1", "Füße".encode("latin-1"), "Füße"),
        (b"windows-1252", b"\x80", "€"),
        (b"Shift_JIS", "日本".encode("shift_jis"), "日本"),
        (b"UTF-8", b"\xff\xfe", "\ufffd\ufffd"),
        (b"rot13", b"uryyb", "uryyb"),
        (b"unicode_escape", b"\\x41", "\\x41"),
        (b"zlib", b"x", "x"),
        (b"../../os", b"x", "x"),
        (b"iso-8859-99", b"x", "x"),
        (b"", b"x", "x"),
    ],
)
def test_only_encodings_of_text_are_believed(encoding, raw, text):
    assert read_commit(OID, HEAD + b"encoding " + encoding + b"\n\n" + raw).subject == text


@pytest.mark.parametrize(
    ("raw", "name", "email", "time_", "offset"),
    [
        (b"A B <a@b> 12 +0130", "A B", "a@b", 12, 5400),
        (b"A <> 12 -0030", "A", "", 12, -1800),
        (b"<a@b> 12 +0000", "", "a@b", 12, 0),
        (b"A <a@b>", "A", "a@b", 0, 0),
        (b"nobody", "nobody", "", 0, 0),
        (b"A <a@b> 99999999999999999999 +9999", "A", "a@b", 2**40, 0),
        (b"A <a@b> x y", "A", "a@b", 0, 0),
    ],
)
def test_people_are_read_however_they_are_written(raw, name, email, time_, offset):
    data = HEAD.replace(b"A <a@x> 1 +0000", raw) + b"\nx"
    found = read_commit(OID, data).author
    assert (found.name, found.email, found.time, found.offset) == (name, email, time_, offset)
    assert found.when


@given(st.binary(max_size=400))
def test_any_bytes_after_the_tree_are_read(data):
    found = read_commit(OID, HEAD + data.replace(b"parent ", b""))
    assert len(found.subject) <= SUBJECT_CHARS
    assert len(found.author.name) <= NAME_CHARS
    assert found.committer.when
    read_tag(data)
