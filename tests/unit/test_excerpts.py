import pytest

from hyprstream_core.excerpts import SHOWN_CHARS, one_line, shown

HOSTILE = ["x" * 10**6, "\ud800", "a\x1b[31m\nb", [["x" * 10**5] * 50] * 50, {"k" * 10**5: 1}, 10**4000, None, 0.5]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_a_value_is_shown_short_and_can_be_sent(value):
    text = shown(value)
    assert 0 < len(text) <= SHOWN_CHARS
    assert "\x1b" not in text
    assert "\n" not in text
    text.encode()


def test_what_is_short_is_shown_whole():
    assert shown("gelu") == "'gelu'"
    assert shown([1, 2]) == "[1, 2]"


@pytest.mark.parametrize("text", ["x" * 10**6, "\ud800" * 50, "a\n\tb  c", " " * 900 + "x", "", "é" * 20])
def test_one_line_is_one_line_that_utf8_can_carry(text):
    line = one_line(text, 20)
    assert len(line) <= 20
    assert len(line.split("\n")) == 1
    line.encode()


def test_one_line_keeps_what_fits_and_marks_what_is_cut():
    assert one_line("a\n\tb  c", 20) == "a b c"
    assert one_line("x" * 21, 20) == "x" * 19 + "…"
