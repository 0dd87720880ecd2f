"""Starts a program as a task, a thread or a subprocess, and stops it.

::

    created ──spawn──▶ spawning ──ready──▶ active ──stop──▶ stopping ──▶ stopped
                          └──────failed────────┴──────died───────────────────▲
"""

from __future__ import annotations

import asyncio
import os
import threading
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
            Unavailable: it died, or was not ready within ``timeout`` seconds; it is stopped.
        """
        if self.state != "created":
            raise InternalError(f"{self.name} is {self.state}; each Spawned starts once")
        self._state = "spawning"
        try:
            async with asyncio.timeout(timeout) as limit:
                self.info = await self._start()
        except BaseException as error:
            await self._abandon()
            self._state = "stopped"
            if isinstance(error, TimeoutError) and limit.expired():
                raise Unavailable(f"{self.name} was not ready within {timeout:g} s", code="spawn.timeout") from None
            raise
        self._state = "active"

    async def stop(self, grace: float = 10.0) -> None:
        """Stop it and wait until it has; nothing happens when it has stopped already.

        Raises:
            Unavailable: a task or thread is still busy after ``grace`` seconds. (A subprocess is killed.)
        """
        if self.state == "active":
            self._state = "stopping"
            await self._stop(grace)
            self._state = "stopped"
        elif self.state == "stopping":
            await self.wait()
            self._state = "stopped"

    @abstractmethod
    async def wait(self) -> int:
        """Return when it has stopped, for whatever reason: a subprocess's exit status (negative: a signal), else 0."""

    @abstractmethod
    async def _start(self) -> Mapping[str, Any]: ...

    @abstractmethod
    async def _stop(self, grace: float) -> None: ...

    @abstractmethod
    async def _abandon(self) -> None:
        """Clear away what a failed start has left."""


class _Task(Spawned):
    """Runs in this event loop."""

    _runnable: Runnable | None = None

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._done = asyncio.Event()

    async def _start(self) -> Mapping[str, Any]:
        self._runnable, info = await started(self.program.load, self.program.config)
        return info

    async def _stop(self, grace: float) -> None:
        try:
            async with asyncio.timeout(grace):
                if self._runnable:
                    await self._runnable.stop()
        except TimeoutError:
            raise _busy(self.name, grace) from None
        finally:
            self._done.set()

    async def _abandon(self) -> None:
        self._done.set()

    async def wait(self) -> int:
        await self._done.wait()
        return 0


class _Thread(Spawned):
    """Runs in an event loop of its own, in a thread of its own."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._halt: asyncio.Event | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._done = threading.Event()

    async def _start(self) -> Mapping[str, Any]:
        ready: Future[Mapping[str, Any]] = Future()
        ready.set_running_or_notify_cancel()
        threading.Thread(target=self._run, args=(ready,), name=f"hyprstream {self.name}", daemon=True).start()
        return await asyncio.wrap_future(ready)

    def _run(self, ready: Future[Mapping[str, Any]]) -> None:
        try:
            asyncio.run(self._live(ready))
        except Exception:
            log.exception("a service thread failed", service=self.name)
        finally:
            self._done.set()

    async def _live(self, ready: Future[Mapping[str, Any]]) -> None:
        self._halt, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self._starting = asyncio.current_task()
        try:
            runnable, info = await started(self.program.load, self.program.config)
        except BaseException as error:
            ready.set_exception(error)
            return
        self._starting = None
        ready.set_result(info)
        await self._halt.wait()
        await runnable.stop()

    def _in_thread(self, action: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # its loop has closed: it has stopped already
            if self._loop:
                self._loop.call_soon_threadsafe(action)

    async def _stop(self, grace: float) -> None:
        if self._halt:
            self._in_thread(self._halt.set)
        if not await asyncio.to_thread(self._done.wait, grace):
            raise _busy(self.name, grace)

    async def _abandon(self) -> None:
        if self._halt:
            self._in_thread(self._halt.set)
        if self._starting:
            self._in_thread(self._starting.cancel)

    async def wait(self) -> int:
        while not self._done.is_set():
            await asyncio.sleep(POLL)
        return 0


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
