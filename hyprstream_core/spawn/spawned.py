"""Starts a program as a task, a thread or a subprocess, and stops it.

::

    created ──spawn──▶ spawning ──ready──▶ active ──stop──▶ stopping ──▶ stopped
                          └───failed, stop─────┴──────died───────────────────▲
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal

from hyprstream_core.errors import InternalError, Unavailable
from hyprstream_core.spawn.program import Program, Runnable, started
from hyprstream_core.telemetry import logger

State = Literal["created", "spawning", "active", "stopping", "stopped"]
log = logger(__name__)
POLL = 0.05
"""Seconds between looks at a thread or process that is waited for."""


class Spawned(ABC):
    """A program and its life. ``pid`` is the process it runs in; ``info`` is what it returned when it was ready."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._state: State = "created"
        self._starting: asyncio.Task[Mapping[str, Any]] | None = None
        self._settled = asyncio.Event()
        self._unwanted = False
        self.pid = os.getpid()
        self.info: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def state(self) -> State:
        """Where it is in its life; "stopped" also when it ended by itself."""
        return self._observed(self._state)

    def _observed(self, state: State) -> State:
        """``state``, corrected by what can be seen of a program that may have ended by itself."""
        return state

    async def start(self, timeout: float = 60.0) -> None:
        """Start it; returns when it is active.

        Raises:
            HyprstreamError: what it raised while starting; it is stopped.
            Unavailable: it died, was not ready within ``timeout`` seconds, or :meth:`stop` was called meanwhile; it is
                stopped.
        """
        if self.state != "created":
            raise InternalError(f"{self.name} is {self.state}; each Spawned starts once")
        self._state = "spawning"
        self._starting = asyncio.create_task(self._start())  # a task, so that stop can end it
        try:
            async with asyncio.timeout(timeout) as limit:
                self.info = await self._starting
        except BaseException as error:
            await self._abandon()
            self._state = "stopped"
            if isinstance(error, TimeoutError) and limit.expired():
                raise Unavailable(f"{self.name} was not ready within {timeout:g} s", code="spawn.timeout") from None
            if isinstance(error, asyncio.CancelledError) and self._unwanted and not _is_cancelled():
                raise Unavailable(f"{self.name} was stopped while it started", code="spawn.stopped") from None
            raise
        else:
            self._state = "active"
        finally:
            self._settled.set()

    async def stop(self, grace: float = 10.0) -> None:
        """Stop it and wait until it has; nothing happens when it has stopped already. A start is given up.

        Several may call it, one after the other or at once; each waits ``grace`` seconds at most.

        Raises:
            Unavailable: a task or thread is still busy after ``grace`` seconds. (A subprocess is killed.)
        """
        deadline = time.monotonic() + grace
        if self._state == "created":
            self._state = "stopped"
        if self._state == "spawning" and self._starting:
            self._unwanted = True
            self._starting.cancel()
            try:
                await asyncio.wait_for(self._settled.wait(), grace)
            except TimeoutError:
                raise _busy(self.name, grace) from None
        if self.state in ("active", "stopping"):
            self._state = "stopping"
            await self._stop(max(0.0, deadline - time.monotonic()))
            self._state = "stopped"

    @abstractmethod
    async def wait(self) -> int:
        """Return when it has stopped, for whatever reason: a subprocess's exit status (negative: a signal), else 0."""

    @abstractmethod
    async def _start(self) -> Mapping[str, Any]: ...

    @abstractmethod
    async def _stop(self, grace: float) -> None:
        """Stop it within ``grace`` seconds, or raise; may be called again, and while another call waits."""

    @abstractmethod
    async def _abandon(self) -> None:
        """Clear away what a start that failed, or was given up, has left."""


class _Task(Spawned):
    """Runs in this event loop."""

    _runnable: Runnable | None = None
    _stopping: asyncio.Task[None] | None = None

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._done = asyncio.Event()

    async def _start(self) -> Mapping[str, Any]:
        self._runnable, info = await started(self.program.load, self.program.config)
        return info

    async def _stop(self, grace: float) -> None:
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._halt())
        if not (await asyncio.wait({self._stopping}, timeout=grace))[0]:
            raise _busy(self.name, grace)

    async def _halt(self) -> None:
        try:
            if self._runnable:
                await self._runnable.stop()
        except Exception:
            log.exception("a service failed to stop", service=self.name)
        finally:
            self._done.set()

    async def _abandon(self) -> None:
        await self._halt()

    async def wait(self) -> int:
        await self._done.wait()
        return 0


class _Thread(Spawned):
    """Runs in an event loop of its own, in a thread of its own."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._halt = asyncio.Event()
        self._life: asyncio.Task[Any] | None = None
        self._thread: threading.Thread | None = None
        self._given_up = threading.Event()
        self._done = threading.Event()

    async def _start(self) -> Mapping[str, Any]:
        ready: Future[Mapping[str, Any]] = Future()
        ready.set_running_or_notify_cancel()
        name = f"hyprstream {self.name}"
        self._thread = threading.Thread(target=self._run, args=(ready,), name=name, daemon=True)
        self._thread.start()
        return await asyncio.wrap_future(ready)

    def _run(self, ready: Future[Mapping[str, Any]]) -> None:
        try:
            asyncio.run(self._live(ready))
        except Exception:
            log.exception("a service thread failed", service=self.name)
        finally:
            self._done.set()

    async def _live(self, ready: Future[Mapping[str, Any]]) -> None:
        self._life, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if self._given_up.is_set():  # looked at after the loop is there for _abandon to see
            return
        try:
            runnable, info = await started(self.program.load, self.program.config)
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(info)
        with suppress(asyncio.CancelledError):  # given up in the moment in which it was ready
            await self._halt.wait()
        await runnable.stop()

    def _in_thread(self, action: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # its loop has closed: it has stopped already
            if self._loop:
                self._loop.call_soon_threadsafe(action)

    async def _stop(self, grace: float) -> None:
        self._in_thread(self._halt.set)
        if not await asyncio.to_thread(self._done.wait, grace):
            raise _busy(self.name, grace)

    async def _abandon(self) -> None:
        self._given_up.set()
        if self._thread is None:  # given up before its first turn
            self._done.set()
        if self._life:
            self._in_thread(self._life.cancel)

    async def wait(self) -> int:
        while not self._done.is_set():
            await asyncio.sleep(POLL)
        return 0


def _is_cancelled() -> bool:
    """Whether somebody wants this task to end, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _busy(name: str, grace: float) -> Unavailable:
    return Unavailable(f"{name} did not stop within {grace:g} s", code="spawn.busy")


def prepare(program: Program) -> Spawned:
    """``program`` as a :class:`Spawned` in state "created"."""
    if program.mode == "task":
        return _Task(program)
    if program.mode == "thread":
        return _Thread(program)
    from hyprstream_core.spawn.process import Process

    return Process(program)


async def spawn(program: Program, timeout: float = 60.0) -> Spawned:
    """Start ``program``; returns when it is active. Raises as :meth:`Spawned.start` does."""
    spawned = prepare(program)
    await spawned.start(timeout)
    return spawned
