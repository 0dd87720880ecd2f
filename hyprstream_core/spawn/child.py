"""The entry of a spawned subprocess: ``python -m hyprstream_core.spawn.child NAME CONFIG STATUS LIFELINE``.

The three numbers are descriptors (:mod:`hyprstream_core.spawn.process`). The process ends on SIGTERM or SIGINT,
and when its parent (or the process it is tied to) ends, however that ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

import msgspec

from hyprstream_core.config import LogSettings
from hyprstream_core.errors import HyprstreamError, InternalError
from hyprstream_core.spawn.program import Runnable, started
from hyprstream_core.telemetry import logger, setup_logging

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
ORPHAN_GRACE = 5.0
"""Seconds that an orderly stop may take once the parent is gone; then the process ends as it is."""
log = logger(__name__)


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to run, as the parent wrote it."""

    load: str
    config: dict[str, Any]
    log: LogSettings
    parent: int
    tied_to: int | None
    death_signal: bool


def main(arguments: list[str]) -> int:
    """Run one program to its end; returns the exit status."""
    name, order_fd, status_fd, lifeline_fd = arguments[0], *map(int, arguments[1:])
    for fd in (status_fd, lifeline_fd):
        os.set_inheritable(fd, False)
    with os.fdopen(order_fd, "rb") as file:
        order = msgspec.convert(json.loads(file.read()), Order)
    setup_logging(order.log.level, order.log.format)
    _prctl(PR_SET_NAME, ctypes.c_char_p(f"hs-{name}".encode()[:15]))
    if order.death_signal:
        _prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
        if os.getppid() != order.parent:
            return 1
    if order.tied_to is not None:
        os.close(lifeline_fd)
        try:
            lifeline_fd = os.pidfd_open(order.tied_to)
        except ProcessLookupError:
            return 1
    return asyncio.run(_live(order, status_fd, lifeline_fd))


def _prctl(option: int, value: Any) -> None:
    """See prctl(2). Failing is no fault: the lifeline does the same a little later."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


async def _live(order: Order, status_fd: int, lifeline_fd: int) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def orphaned() -> None:
        with suppress(RuntimeError):  # the loop has closed: this process is ending anyway
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=_watch, args=(lifeline_fd, orphaned), name="lifeline", daemon=True).start()
    start = asyncio.create_task(started(order.load, order.config))
    halt = asyncio.create_task(stop.wait())
    await asyncio.wait({start, halt}, return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
        await asyncio.wait({start})
    try:
        runnable, info = await start
    except HyprstreamError as error:
        halt.cancel()
        _report(status_fd, error.to_record(), "error")
        return 1
    except asyncio.CancelledError:
        return 0
    try:
        _report(status_fd, info, "ready")
    except (TypeError, ValueError) as error:
        halt.cancel()
        await _stop(runnable)
        _report(status_fd, InternalError(f"{order.load} returned no plain data: {error}").to_record(), "error")
        return 1
    await halt
    return await _stop(runnable)


async def _stop(runnable: Runnable) -> int:
    try:
        await runnable.stop()
    except Exception:
        log.exception("a service failed to stop")
        return 1
    return 0


def _report(fd: int, value: Mapping[str, Any], key: Literal["ready", "error"]) -> None:
    """Tell the parent, in one line. That it is gone, the lifeline tells us.

    Raises:
        TypeError, ValueError: what a program returned is no plain data. (Of an error's details, the texts will do.)
    """
    lenient = key == "error"
    line = json.dumps({key: dict(value)}, default=str if lenient else None, skipkeys=lenient)
    with suppress(BrokenPipeError), os.fdopen(fd, "w") as pipe:
        pipe.write(line + "\n")


def _watch(fd: int, orphaned: Callable[[], None]) -> None:
    """Wait until ``fd`` is readable: the end of a pipe, or of a process (pidfd_open(2))."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()
    orphaned()
    time.sleep(ORPHAN_GRACE)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
