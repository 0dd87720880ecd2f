"""Chat templates, rendered by a child process that can be killed (:mod:`~hyprstream_core.text.template_child`).

One thread of its own owns the child and takes one render after another; so renders queue, the event loop
never waits, and the renderer may be used from any loop. The child ends with that thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, TypeVar

from hyprstream_core.config import Limits
from hyprstream_core.errors import Cancelled, TemplateError, Unavailable

START_SECONDS = 30.0
"""For the child's start: an interpreter and jinja, on a busy machine."""
TICK_SECONDS = 0.05
"""How often a waiting thread looks whether its caller has gone."""

T = TypeVar("T")


class TemplateRenderer:
    """Renders chat templates, one at a time, in one child process.

    The child starts with the first render or with ``start``, and again whenever it has died or was killed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="templates")
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        child = self._child
        return child.pid if child is not None and child.is_alive() else None

    async def start(self) -> None:
        """Start the child now, so that the first render does not wait for it."""
        await self._in_thread(lambda _: self._running())

    async def close(self) -> None:
        """End the child. Renders that wait are finished first; later ones raise Unavailable."""
        await self._in_thread(lambda _: self._stop())
        self._worker.shutdown(wait=False)

    async def render(self, source: str, variables: Mapping[str, Any]) -> str:
        """The text that template ``source`` makes of ``variables`` (plain JSON data).

        Cancelling it ends the render at once.

        Raises:
            TemplateError: code ``template.failed`` when the template is not valid, raises or refuses;
                ``template.limit`` when it is too large or takes too much time, memory or room.
            Unavailable: the renderer is closed, or its process does not start.
        """
        answer = await self._in_thread(lambda cancelled: self._render(source, variables, cancelled))
        if "text" in answer:
            return str(answer["text"])
        raise TemplateError(str(answer["message"]), code=str(answer["code"]))

    async def _in_thread(self, work: Callable[[threading.Event], T]) -> T:
        cancelled = threading.Event()
        try:
            future = self._worker.submit(work, cancelled)
        except RuntimeError:
            raise Unavailable("the template renderer is closed") from None
        try:
            return await asyncio.wrap_future(future)
        finally:
            cancelled.set()

    # What follows runs in the worker thread.

    def _render(self, source: str, variables: Mapping[str, Any], cancelled: threading.Event) -> dict[str, Any]:
        size = len(source.encode(errors="surrogatepass"))
        if size > self._limits.template_bytes:
            raise _limit(f"the chat template has {size} bytes, at most {self._limits.template_bytes} are allowed")
        try:
            request = json.dumps({"source": source, "variables": dict(variables)}).encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise TemplateError(f"the template's variables are not plain JSON data: {error}") from error
        # A child that died between two renders is nobody's fault: the second attempt has a fresh one.
        line = self._exchange(request, cancelled) or self._exchange(request, cancelled)
        if line is None:
            raise _limit("the chat template's process was ended by its limits")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("code") == "template.limit":
            self._stop()  # it ends by itself; its memory may be in pieces
        return answer

    def _exchange(self, request: bytes, cancelled: threading.Event) -> bytes | None:
        """The child's answer, None when it died. Whatever goes wrong, the next one finds a fresh child."""
        child = self._running()
        try:
            line = child.exchange(request, self._limits.template_seconds, cancelled)
        except TimeoutError:
            self._stop()
            raise _limit(f"the chat template took longer than {self._limits.template_seconds:g} seconds") from None
        except BaseException:
            self._stop()
            raise
        if line is None:
            self._stop()
        return line

    def _running(self) -> _Child:
        if self._child is not None and self._child.is_alive():
            return self._child
        self._stop()
        self._child = child = _Child(self._limits)
        try:
            ready = child.exchange(b"", START_SECONDS, threading.Event())
        except TimeoutError:
            ready = None
        if ready is None:
            self._stop()
            raise Unavailable(f"the template process did not start (status {child.status})")
        return child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()


class _Child:
    """The process and its pipes, with deadlines on both."""

    def __init__(self, limits: Limits) -> None:
        # JSON writes a character in at most six bytes.
        self._longest = 6 * limits.template_output_bytes + 65536
        arguments = (limits.template_memory_bytes, limits.template_output_bytes, limits.template_seconds, os.getpid())
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-m", "hyprstream_core.text.template_child", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={},
            close_fds=True,
            start_new_session=True,
        )
        self._stdin = _unblocked(self._process.stdin)
        self._stdout = _unblocked(self._process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    def exchange(self, request: bytes, seconds: float, cancelled: threading.Event) -> bytes | None:
        """Write ``request``, read one line. None when the child died.

        Raises:
            TimeoutError: it takes longer than ``seconds``.
            Cancelled: ``cancelled`` was set.
        """
        deadline = time.monotonic() + seconds
        rest = memoryview(request)
        try:
            while rest:
                self._wait(self._stdin, select.POLLOUT, deadline, cancelled)
                rest = rest[self._stdin.write(rest) or 0 :]
            return self._read_line(deadline, cancelled)
        except BrokenPipeError:
            return None

    def _read_line(self, deadline: float, cancelled: threading.Event) -> bytes | None:
        line = bytearray()
        while not line.endswith(b"\n"):
            self._wait(self._stdout, select.POLLIN, deadline, cancelled)
            piece = self._stdout.read(2**20)
            line += piece or b""
            if piece == b"" or len(line) > self._longest:
                return None
        return bytes(line)

    def _wait(self, pipe: IO[bytes], event: int, deadline: float, cancelled: threading.Event) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        while True:
            if cancelled.is_set():
                raise Cancelled("nobody waits for this render")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if poll.poll(1000 * min(left, TICK_SECONDS)):
                return


def _unblocked(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise Unavailable("the template process has no pipes")
    os.set_blocking(pipe.fileno(), False)
    return pipe


def _limit(message: str) -> TemplateError:
    return TemplateError(message, code="template.limit")
