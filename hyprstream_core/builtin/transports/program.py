"""A program that talks through its pipes, and never outlives who talks to it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from hyprstream_core.builtin.transports.streams import Stream

_GRACE = 0.5
_MAX_STDERR = 1 << 16
_CHUNK = 1 << 16


class Program(Stream):
    """A process in a session of its own: no terminal to ask on, one group to end. What it writes to stderr is kept,
    up to 64 KiB; the rest is thrown away."""

    def __init__(
        self, command: Sequence[str], timeout: float, explain: Callable[[int | None, str], Exception | None]
    ) -> None:
        """Start it. ``explain`` turns its exit status and what it wrote to stderr into an error, when they say one.

        Raises:
            OSError: it cannot be started.
        """
        self._timeout = timeout
        self._explain = explain
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101, PT018 - for types
        self._in, self._out, self._err = self._process.stdin, self._process.stdout, self._process.stderr
        for pipe in (self._in, self._out, self._err):
            os.set_blocking(pipe.fileno(), False)
        self._said = b""
        self._closed = self._hung_up = False

    def receive(self, size: int) -> bytes:
        """See :meth:`Stream.receive`."""
        self._await(self._out.fileno(), select.POLLIN)
        chunk = os.read(self._out.fileno(), size)
        self._hung_up = not chunk
        return chunk

    def send(self, data: bytes) -> None:
        """See :meth:`Stream.send`."""
        rest = memoryview(data)
        while rest:
            self._await(self._in.fileno(), select.POLLOUT)
            try:
                rest = rest[os.write(self._in.fileno(), rest[:_CHUNK]) :]
            except BrokenPipeError:
                self._hung_up = True
                raise

    def fileno(self) -> int:
        """See :meth:`Stream.fileno`."""
        return self._out.fileno()

    def end(self) -> None:
        """See :meth:`Stream.end`."""
        with suppress(OSError):
            self._in.close()

    def finish(self) -> tuple[int | None, str]:
        """Its exit status (None when it goes on) and what it wrote to stderr, after a moment to end by itself."""
        self.end()
        deadline = time.monotonic() + _GRACE
        while (status := _ended(self._process.pid)) is None and time.monotonic() < deadline:
            self._listen(0.02)
        self._listen(0.0)
        return status, self._said.decode("utf-8", "replace")

    def failure(self, error: Exception) -> Exception:
        """Why the program hung up, by its own words. What it says while it goes on is a greeting, no reason."""
        return (self._explain(*self.finish()) or error) if self._hung_up else error

    def close(self) -> None:
        """See :meth:`Stream.close`: end it and all that it has started, also when it has ended itself."""
        if self._closed:
            return
        self._closed = True
        try:
            self.finish()
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + _GRACE
            while _ended(self._process.pid) is None and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            self._signal(signal.SIGKILL)
            self._process.wait()
            for pipe in (self._out, self._err):
                pipe.close()

    def _signal(self, number: int) -> None:
        """To the whole group. Its leader has not been waited for, so that no other group can have its number."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _await(self, fd: int, event: int) -> None:
        """Wait until ``fd`` is ready, listening to stderr meanwhile, which is no answer.

        Raises:
            TimeoutError: it did not become so in time.
        """
        deadline = time.monotonic() + self._timeout
        poll, stderr = select.poll(), self._err.fileno()
        poll.register(fd, event)
        poll.register(stderr, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = dict(poll.poll(left * 1000))
            if stderr in ready and not self._hear():
                poll.unregister(stderr)
            if fd in ready:
                return
        raise TimeoutError

    def _listen(self, seconds: float) -> None:
        """Take what stderr has to say for so long; sleep when it has ended."""
        if select.select([self._err.fileno()], [], [], seconds)[0] and not self._hear():
            time.sleep(seconds)

    def _hear(self) -> bool:
        """Take a piece of stderr; False at its end."""
        try:
            piece = os.read(self._err.fileno(), _CHUNK)
        except BlockingIOError:
            return True
        self._said = (self._said + piece)[:_MAX_STDERR]
        return bool(piece)


def _ended(pid: int) -> int | None:
    """The exit status of a child, which stays to be waited for; None while it runs."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None if found is None else found.si_status
