"""A program in a subprocess, as its parent sees it.

Three descriptors connect the two; nothing but their numbers is on the child's command line::

    config    memory file    parent → child   the order: class, configuration, log settings (may hold secrets)
    status    pipe           child → parent   one JSON line: {"ready": …} or {"error": …}
    lifeline  pipe           held open        its end tells the child that the parent is gone

The standard library's JSON is used, since it carries file names that are no UTF-8.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from hyprstream_core.errors import HyprstreamError, InternalError, Unavailable, from_record
from hyprstream_core.spawn.program import Program
from hyprstream_core.spawn.spawned import POLL, Spawned, State

STATUS_BYTES = 2**20
"""Size of the status line."""


class Process(Spawned):
    """Runs in a process of its own, which ends with this one (or with ``program.tied_to``)."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._popen: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._popen is not None and self._popen.poll() is None

    def _observed(self, state: State) -> State:
        return "stopped" if state in ("active", "stopping") and not self.alive else state

    async def _start(self) -> Mapping[str, Any]:
        status, status_end = os.pipe()
        try:
            try:
                self._popen = self._launch(status_end)
            finally:
                os.close(status_end)
            self.pid = self._popen.pid
            os.set_blocking(status, False)
            line = await _read_line(status)
        finally:
            os.close(status)
        if not line.endswith(b"\n"):
            raise Unavailable(
                f"{self.name} ended before it was ready ({_describe(await self.wait())})",
                remedy="its log is on standard error",
                code="spawn.died",
            )
        return _outcome(line)

    def _launch(self, status_end: int) -> subprocess.Popen[bytes]:
        lifeline_end, lifeline = os.pipe()
        order = os.memfd_create("hyprstream-order")
        try:
            os.write(order, json.dumps(self._order()).encode())
            os.lseek(order, 0, os.SEEK_SET)
            descriptors = (order, status_end, lifeline_end)
            popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "hyprstream_core.spawn.child", self.name, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints must not mix with this process's output
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C reaches this process only, which then stops the child
            )
        except BaseException:
            os.close(lifeline)
            raise
        finally:
            os.close(order)
            os.close(lifeline_end)
        self._lifeline = lifeline
        return popen

    def _order(self) -> dict[str, Any]:
        p = self.program
        main = threading.current_thread() is threading.main_thread()
        return {
            "load": p.load,
            "config": dict(p.config),
            "log": msgspec.to_builtins(p.log),
            "parent": os.getpid(),
            "tied_to": p.tied_to,
            # The kernel sends it when the *thread* ends that started the child, so it is for the main thread only.
            "death_signal": main and p.tied_to is None,
        }

    async def _stop(self, grace: float) -> None:
        if self._popen is None:
            return
        self._popen.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), grace)
        await self._abandon()

    async def _abandon(self) -> None:
        """Kill it, and what it has started in its session."""
        if self._popen is not None and self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            await asyncio.shield(self.wait())
        self._close_lifeline()

    async def wait(self) -> int:
        """Return its exit status; negative is a signal's number."""
        if self._popen is None:
            raise InternalError(f"{self.name} was not started")
        while (status := self._popen.poll()) is None:
            await asyncio.sleep(POLL)
        self._close_lifeline()
        return status

    def _close_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


async def _read_line(fd: int) -> bytes:
    """What arrives on ``fd`` up to a line's end, the pipe's end, or the maximum."""
    loop, data = asyncio.get_running_loop(), b""
    while not data.endswith(b"\n") and len(data) < STATUS_BYTES:
        try:
            part = os.read(fd, 65536)
        except BlockingIOError:
            readable = asyncio.Event()
            loop.add_reader(fd, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(fd)
            continue
        if not part:
            break
        data += part
    return data


def _outcome(line: bytes) -> dict[str, Any]:
    """What a ready child returned.

    Raises:
        HyprstreamError: what it reported instead.
    """
    try:
        status = msgspec.convert(json.loads(line), dict[str, dict[str, Any]])
    except ValueError:  # msgspec's errors are such too
        raise InternalError("a subprocess sent a status that cannot be read") from None
    if "error" in status:
        error: HyprstreamError = from_record(status["error"])
        raise error
    return status.get("ready", {})


def _describe(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
