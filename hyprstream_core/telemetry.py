"""Events, log records and their set-up.

structlog costs a tenth of a second to import, so it is imported by the first log line, not by this
module. ``bind`` puts a request id on every line that is logged in its context.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

from hyprstream_core.units import on_one_line, printable

TRACEBACK = "exception"
"""The key under which structlog puts a traceback, the one value of several lines."""


@dataclass(frozen=True)
class Event:
    """Something that happened: ``name`` is dotted (``model.loaded``), ``time`` is Unix seconds."""

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


class Logger:
    """A named structlog logger that imports structlog when first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _emit(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        import structlog

        if not structlog.is_configured():  # structlog's own default writes to stdout
            setup_logging("warning", "auto")
        getattr(structlog.get_logger(), level)(event, logger=self._name, **fields)

    def debug(self, event: str, **fields: Any) -> None:
        """Details for whoever looks for a fault."""
        self._emit("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Something normal happened."""
        self._emit("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something is wrong, and the work goes on."""
        self._emit("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something failed."""
        self._emit("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self._emit("error", event, {**fields, "exc_info": True})


def logger(name: str) -> Logger:
    """A logger for module ``name``; cheap at import time."""
    return Logger(name)


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Put ``fields`` (``request_id=…``) on every line logged inside the block, in this task or thread."""
    import structlog

    with structlog.contextvars.bound_contextvars(**fields):
        yield


class _StandardError:
    """Whatever ``sys.stderr`` is when a line is written: it may be replaced after the set-up."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def is_json(format: Literal["auto", "json", "text"], stream: TextIO | None = None) -> bool:
    """Whether lines of ``format`` to ``stream`` (default stderr) are JSON: "auto" is, except on a terminal."""
    out: Any = stream or _StandardError()
    return format == "json" or (format == "auto" and not out.isatty())


def bound(name: str) -> Any:
    """What :func:`bind` put under ``name`` in this context, None outside."""
    import structlog

    return structlog.contextvars.get_contextvars().get(name)


def _escaped(_: Any, __: str, record: Any) -> Any:
    """Foreign text (an address, a header, a file's words) as text that no terminal takes for a command, on its line;
    what is no text is written as its ``repr``, which escapes by itself."""
    for key, value in record.items():
        if isinstance(value, str):
            record[key] = printable(value) if key == TRACEBACK else on_one_line(value)
    return record


def _as_json(record: Any, **options: Any) -> str:
    """One line; DEL is the only control character that ``json`` leaves as it is."""
    return json.dumps(record, **options).replace("\x7f", "\\u007f")


def setup_logging(level: str, format: Literal["auto", "json", "text"], stream: TextIO | None = None) -> None:
    """Configure structlog for this process: to ``stream`` (default stderr), from ``level`` up.

    ``request_id`` is on every line; outside a request it is null.
    """
    import logging

    import structlog

    out: Any = stream or _StandardError()

    def with_request_id(_: Any, __: str, record: structlog.types.EventDict) -> structlog.types.EventDict:
        record.setdefault("request_id", None)
        return record

    # SECURITY: tracebacks are plain. structlog's choice for terminals shows local variables: prompts and tokens.
    plain = structlog.dev.plain_traceback
    render: list[structlog.types.Processor] = (
        [structlog.processors.JSONRenderer(_as_json)]
        if is_json(format, stream)
        else [_escaped, structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            with_request_id,
            structlog.processors.format_exc_info,
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
