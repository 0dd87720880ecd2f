"""Logging: JSON or readable, a request id on every line, nothing on stdout, cheap to import."""

import io
import json
import re
import subprocess
import sys

import pytest

from hyprstream_core.telemetry import Event, bind, logger, setup_logging


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_carry_level_logger_time_and_request_id():
    stream = io.StringIO()
    setup_logging("info", "json", stream)
    log = logger("hyprstream_core.x")
    log.info("outside", count=1)
    with bind(request_id="r-1"):
        log.warning("inside")
    log.info("after")
    outside, inside, after = lines(stream)
    assert (outside["event"], outside["count"], outside["level"]) == ("outside", 1, "info")
    assert outside["logger"] == "hyprstream_core.x"
    assert outside["timestamp"].endswith("Z")
    assert [line["request_id"] for line in (outside, inside, after)] == [None, "r-1", None]


def test_below_the_level_nothing_is_written():
    stream = io.StringIO()
    setup_logging("warning", "json", stream)
    logger("x").info("quiet")
    logger("x").debug("quiet")
    logger("x").error("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_an_exception_is_one_json_line_with_its_traceback():
    stream = io.StringIO()
    setup_logging("info", "json", stream)
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        logger("x").exception("failed")
    (line,) = lines(stream)
    assert "ValueError: bad\nthing" in line["exception"]


def test_case_106_newlines_and_escapes_in_a_value_stay_inside_one_json_line():
    stream = io.StringIO()
    setup_logging("info", "json", stream)
    logger("x").info("request", user='a"}\n{"event": "forged\x1b[31m')
    assert stream.getvalue().count("\n") == 1
    assert lines(stream)[0]["user"] == 'a"}\n{"event": "forged\x1b[31m'
    assert "\x1b" not in stream.getvalue()


HOSTILE = "\x1b]0;pwned\x07 \x9b2J\x7f\r\nforged\t\ud800"


def log_hostile_text(format, stream):
    """The lines of one event with hostile text wherever it could be."""
    setup_logging("info", format, stream)
    with bind(request_id=HOSTILE):
        logger("x").info(HOSTILE, path=HOSTILE, many=[HOSTILE], table={HOSTILE: 1}, cause=ValueError(HOSTILE))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_case_106_the_text_format_escapes_what_a_terminal_would_obey(stream):
    (line,) = log_hostile_text("text", stream())
    line.encode()
    foreign = re.sub(r"\x1b\[\d*m", "", line)  # our own colours
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", foreign)
    assert r" \x1b]0;pwned\x07 \x9b2J\x7f\x0d\nforged\t\ud800 " in foreign
    assert foreign.count("pwned") == 6


def test_case_106_the_json_format_escapes_every_control_character():
    (line,) = log_hostile_text("json", io.StringIO())
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
    record = json.loads(line)
    assert (record["event"], record["path"], record["many"]) == (HOSTILE, HOSTILE, [HOSTILE])


def test_case_104_106_a_traceback_in_text_has_its_lines_and_no_local_variable_and_no_control_character():
    stream = Terminal()
    setup_logging("info", "text", stream)
    prompt = "confidential"
    try:
        raise ValueError(f"\x1b[2J{len(prompt)}\nsecond")
    except ValueError:
        logger("x").exception("failed")
    text = re.sub(r"\x1b\[\d*m", "", stream.getvalue())
    assert "\nValueError: \\x1b[2J12\nsecond" in text
    assert "Traceback (most recent call last):\n" in text
    assert "confidential" not in text


def test_auto_is_text_on_a_terminal_and_json_elsewhere():
    pipe, terminal = io.StringIO(), Terminal()
    setup_logging("info", "auto", pipe)
    logger("x").info("hello")
    setup_logging("info", "auto", terminal)
    logger("x").info("hello")
    assert lines(pipe)[0]["event"] == "hello"
    assert not terminal.getvalue().startswith("{")
    assert "hello" in terminal.getvalue()


def test_without_any_setup_warnings_go_to_stderr_and_nothing_to_stdout(capsys):
    logger("x").info("quiet")
    logger("x").warning("loud")
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["event"] == "loud"


def test_stderr_is_the_one_of_the_moment(capsys, monkeypatch):
    logger("x").warning("first")
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    logger("x").warning("second")
    assert json.loads(capsys.readouterr().err)["event"] == "first"
    assert lines(later)[0]["event"] == "second"


def test_importing_and_making_loggers_does_not_import_structlog():
    code = (
        "import sys; from hyprstream_core.telemetry import logger; logger('x');"
        "assert 'structlog' not in sys.modules and 'logging' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_event_knows_its_time():
    event = Event("model.loaded", {"model": "m"})
    assert (event.name, dict(event.fields)) == ("model.loaded", {"model": "m"})
    assert event.time > 1_700_000_000
