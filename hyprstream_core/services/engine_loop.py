"""The engine thread: the only thread that touches engines. Everybody else sends it commands.

asyncio: submit, cancel, call ──▶ inbox ──▶ engine thread: drain inbox → step each engine with work
              deliver(outputs) ◀── one call per step ──┘
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from hyprstream_core.errors import HyprstreamError, InternalError, Unavailable
from hyprstream_core.interfaces.inference import GenerateRequest, TokenChunk
from hyprstream_core.telemetry import logger

if TYPE_CHECKING:
    from hyprstream_core.engine.engine import Engine

log = logger(__name__)
T = TypeVar("T")
Output = tuple[str, TokenChunk | HyprstreamError]


class EngineLoop:
    """Drives any number of engines, round robin, one step each.

    ``deliver`` gets what each step added, on the engine thread; it must only hand it over.
    """

    def __init__(self, deliver: Callable[[list[Output]], None]) -> None:
        self._deliver = deliver
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._engines: dict[str, Engine] = {}
        self._owner: dict[str, Engine] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._stopping = False
        self._broken = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """End the thread after its current step; live requests get nothing more."""
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs and will go on."""
        return self._thread.is_alive() and not self._broken

    def add(self, key: str, engine: Engine) -> None:
        """Drive ``engine`` from now on."""
        self._inbox.put(lambda: self._engines.__setitem__(key, engine))

    def remove(self, key: str) -> Future[None]:
        """Stop driving an idle engine; done when the thread holds it no longer."""

        def act() -> None:
            self._engines.pop(key, None)

        return self.call(act)

    def submit(self, key: str, request: GenerateRequest) -> None:
        """Queue a request on engine ``key``; a refusal is delivered like a result."""

        def act() -> None:
            engine = self._engines.get(key)
            try:
                if engine is None:
                    raise Unavailable("the model was unloaded before the request reached it", remedy="try again")
                engine.submit(request)
                self._owner[request.request_id] = engine
            except Exception as error:
                self._deliver([(request.request_id, _failure(error, "a request could not be queued"))])

        self._inbox.put(act)
        if self._broken:  # looked at after the command is in: either the dying thread saw it, or we see this
            self._deliver([(request.request_id, _lost())])

    def cancel(self, request_id: str) -> None:
        """End a request before the next step."""

        def act() -> None:
            if engine := self._owner.pop(request_id, None):
                engine.cancel(request_id)

        self._inbox.put(act)

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run ``function`` on the engine thread, between steps."""
        future: Future[T] = Future()

        def act() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        self._inbox.put(act)
        if self._broken and future.set_running_or_notify_cancel():
            future.set_exception(_lost())
        return future

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._drain()
                self._step_all()
        except Exception:  # a defect of ours: nobody may wait for a thread that is gone
            log.exception("the engine thread ended")
            self._broken = True
            self._deliver([(request_id, _lost()) for request_id in self._owner])

    def _step_all(self) -> None:
        """One step of each. A function of its own, so that nothing here holds an engine while the thread waits."""
        for engine in [e for e in self._engines.values() if e.has_work]:
            self._step(engine)

    def _drain(self) -> None:
        """Do what was asked for; wait for it when no engine has work."""
        idle = not any(engine.has_work for engine in self._engines.values())
        while not self._stopping:
            try:
                act = self._inbox.get(block=idle)
            except queue.Empty:
                return
            idle = False
            if act is None:
                self._stopping = True
                return
            try:
                act()
            except Exception:
                log.exception("a command of the engine thread failed")

    def _step(self, engine: Engine) -> None:
        outputs: list[Output]
        try:
            outputs = list(engine.step())
        except Exception as error:
            failure = _failure(error, "an engine step failed")
            outputs = [(request_id, failure) for request_id, owner in self._owner.items() if owner is engine]
            for request_id, _ in outputs:
                engine.cancel(request_id)
        for request_id, chunk in outputs:
            if isinstance(chunk, HyprstreamError) or chunk.finish_reason:
                self._owner.pop(request_id, None)
        if outputs:
            self._deliver(outputs)


def _lost() -> InternalError:
    return InternalError("the engine thread ended", remedy="restart the server")


def _failure(error: Exception, what: str) -> HyprstreamError:
    """What the caller is told: a typed error as it is, anything else without its internals (they are logged)."""
    if isinstance(error, HyprstreamError):
        return error
    log.exception(what)
    return InternalError(what)
