"""The process that compiles and renders chat templates: ``python -m hyprstream_core.text.template_child LIMITS``.

Templates are foreign programs. jinja's sandbox keeps them from reaching the interpreter, but not from
running for ever or filling the memory (``10**(10**8)`` hangs in the compiler already), so they run
here: in a process with limits on memory, time, files and children, which can be killed at no loss.

One JSON object per line each way. In: ``{"source", "variables"}``. Out: first ``{"ready": true}``,
then one answer per line in, ``{"text"}`` or ``{"code", "message"}``. After ``template.limit`` the
process ends: its memory may be in pieces.
"""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import resource
import signal
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CACHED_TEMPLATES = 32
FAILED = "template.failed"
LIMIT = "template.limit"

Answer = dict[str, str]


class Generation(jinja2.ext.Extension):
    """``{% generation %}`` … ``{% endgeneration %}``: marks assistant text for training; here it only renders it."""

    tags = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The statements inside the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment() -> jinja2.Environment:
    """jinja2 set up as in transformers' ``chat_template_utils``, so that templates mean the same."""
    jinja = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    jinja.filters["tojson"] = _tojson
    jinja.globals["raise_exception"] = _raise_exception
    jinja.globals["strftime_now"] = _strftime_now
    return jinja


class Renderer:
    """Renders requests; keeps the latest templates compiled."""

    def __init__(self, output_bytes: int) -> None:
        self._output_bytes = output_bytes
        self._environment = environment()
        self._compiled: OrderedDict[str, jinja2.Template] = OrderedDict()

    def answer(self, request: Mapping[str, Any]) -> Answer:
        """The rendered text, or what went wrong."""
        try:
            return self._render(request["source"], request["variables"])
        except MemoryError:
            return _error(LIMIT, "the chat template needs too much memory")
        except RecursionError:
            return _error(LIMIT, "the chat template is nested too deeply or calls itself without end")
        except OverflowError as error:
            return _error(LIMIT, f"the chat template computes with too large numbers: {error}")
        except jinja2.TemplateSyntaxError as error:
            return _error(FAILED, f"the chat template is not valid in line {error.lineno}: {error.message}")
        except jinja2.TemplateError as error:
            return _error(FAILED, f"the chat template refused: {error.message}")
        except Exception as error:  # whatever a template's expressions raise
            return _error(FAILED, f"the chat template failed: {type(error).__name__}: {error}")

    def _render(self, source: str, variables: Mapping[str, Any]) -> Answer:
        pieces = []
        size = 0
        for piece in self._template(source).generate(variables):
            size += len(piece)
            if size > self._output_bytes:
                return _error(LIMIT, f"the rendered prompt is larger than {self._output_bytes} bytes")
            pieces.append(piece)
        text = "".join(pieces)
        if len(text.encode()) > self._output_bytes:
            return _error(LIMIT, f"the rendered prompt is larger than {self._output_bytes} bytes")
        return {"text": text}

    def _template(self, source: str) -> jinja2.Template:
        template = self._compiled.pop(source, None) or self._environment.from_string(source)
        self._compiled[source] = template
        if len(self._compiled) > CACHED_TEMPLATES:
            self._compiled.popitem(last=False)
        return template


def confine(memory_bytes: int) -> None:
    """Give up what a template never needs. Ends the process when its parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for kind, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.setrlimit(kind, (value, value))


def serve(memory_bytes: int, output_bytes: int, seconds: float, parent: int) -> None:
    """Answer requests from stdin until it closes."""
    confine(memory_bytes)
    if os.getppid() != parent:  # it ended before PR_SET_PDEATHSIG was set
        return
    renderer = Renderer(output_bytes)
    _write({"ready": True})
    for line in sys.stdin.buffer:
        # The parent kills at the deadline; the alarm is for a parent that is stuck or stopped.
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        answer = _handle(renderer, line)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answer)
        if answer.get("code") == LIMIT:
            return


def _handle(renderer: Renderer, line: bytes) -> Answer:
    try:
        request = json.loads(line)
    except (MemoryError, RecursionError):
        return _error(LIMIT, "the conversation is too large or nested too deeply for the chat template")
    return renderer.answer(request)


def _write(record: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(record).encode() + b"\n")
    sys.stdout.buffer.flush()


def _error(code: str, message: str) -> Answer:
    return {"code": code, "message": message[:2000]}


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """jinja's own filter escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
