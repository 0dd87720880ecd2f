"""Tables, sizes, ages, progress lines; nothing foreign reaches a terminal unescaped."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_core.cli.output import emit_error, emit_fields, emit_json, emit_table, has_colour, printable
from hyprstream_core.cli.progress import PlainLines, transfer_progress
from hyprstream_core.errors import HyprstreamError
from hyprstream_core.units import age, size


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1.0kB"), (999_949, "999.9kB"), (999_960, "1.0MB"), (2_300_000_000, "2.3GB")],
)
def test_sizes_have_one_decimal_in_decimal_units(num_bytes, text):
    assert size(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (7200, "2h"), (432000, "5d")]
)
def test_ages_are_in_their_largest_unit(seconds, text):
    assert age(seconds) == text


@given(st.text())
def test_printable_text_holds_no_control_character_but_newline_and_tab(text):
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in printable(text))
    printable(text).encode()


HOSTILE = "\x1b[2J \x7f \x9b2J \x85 \ud800 é"


def test_json_holds_no_control_character_and_is_read_back_as_it_was(capsys):
    emit_json({HOSTILE: [HOSTILE]})
    emit_error(HyprstreamError(HOSTILE, remedy=HOSTILE), as_json=True, env={})
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text)
        assert "é" in text
    assert json.loads(out) == {HOSTILE: [HOSTILE]}
    error = json.loads(err)["error"]
    assert (error["message"], error["remedy"]) == (HOSTILE, HOSTILE)


def test_a_field_cannot_write_another_field(capsys):
    emit_fields({"architecture": "X\nproblem       none", "problem": "weights.missing"})
    assert capsys.readouterr().out.splitlines() == [
        "architecture  X problem       none",
        "problem       weights.missing",
    ]


def test_table_columns_are_aligned_and_escaped(capsys):
    emit_table(("A", "B"), [("long name", "x\x1b[2J"), ("s", "two\nlines")])
    assert capsys.readouterr().out.splitlines() == ["A          B", "long name  x\\x1b[2J", "s          two lines"]


def test_fields_leave_out_what_is_empty(capsys):
    emit_fields({"a": 1, "long": "", "b": None, "c": 0})
    assert capsys.readouterr().out.splitlines() == ["a     1", "c     0"]


class Stream:
    def __init__(self, terminal):
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "env", "colour"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_colours_only_on_a_terminal_that_wants_them(terminal, env, colour):
    assert has_colour(Stream(terminal), env) is colour


def test_plain_progress_writes_now_and_then_and_the_end_of_what_lasts_and_nothing_of_what_is_soon_done():
    now, written = [0.0], []
    progress = PlainLines(written.append, lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        progress("large files", second * 1000, 11000)
    progress("large files", 11000, 11000)
    for _ in range(3):
        now[0] += 0.9
        progress("unknown size", int(now[0]), None)
    progress("check", 1, None)
    now[0] += 0.9
    progress("check", 2, None)
    progress("checkout", 1, 7)
    now[0] += 9
    progress("checkout", 7, 7)
    progress.end()
    assert written == [
        "large files: 1.0kB of 11.0kB",
        "large files: 6.0kB of 11.0kB",
        "large files: 11.0kB of 11.0kB",
        "unknown size: 13B",
        "checkout: 7 of 7 files",
    ]


def test_the_end_of_a_phase_without_a_known_size_is_where_the_next_begins():
    now, written = [0.0], []
    progress = PlainLines(written.append, lambda: now[0])
    for now[0] in (0.0, 2.0, 3.0):
        progress("git", int(now[0]), None)
    progress("check", 1, None)
    assert written == ["git: 2B", "git: 3B"]


def test_quiet_progress_writes_nothing(capsys):
    with transfer_progress({}, quiet=True) as progress:
        progress("phase", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_of_what_is_soon_done_is_silent_without_a_terminal(capsys):
    with transfer_progress({}, quiet=False) as progress:
        progress("phase", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_large_files_are_announced_before_the_bars_and_an_interrupt_says_what_is_kept(capsys):
    def interrupted():
        with transfer_progress({}, quiet=False) as progress:
            progress("fetch", 2, 3_000_000)
            progress("resume", 1_000, 1_000_000)
            progress("resume", 1_000_000, 1_000_000)
            progress("content", 1_500_000, 3_000_000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().err.splitlines() == [
        "fetching 2 large files, 3.0MB",
        "continuing after 1.0MB that are already here",
        "interrupted: 1.5MB of large files are kept; the same command continues there",
    ]


def test_an_interrupt_before_anything_has_come_needs_no_word(capsys):
    with pytest.raises(KeyboardInterrupt), transfer_progress({}, quiet=False):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
