"""The engine thread: the only thread that touches engines. Everybody else sends it commands.

asyncio: submit, cancel, call ──▶ inbox ──▶ engine thread: drain inbox → step each engine with work
              deliver(outputs) ◀── one call per step ──┘

Nobody waits for ever: a command is either run by the thread, or answered when the thread has ended. An engine that
cannot be mended after a step that failed is dropped, and the others go on.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hyprstream_core.errors import HyprstreamError, InternalError, Unavailable
from hyprstream_core.interfaces.inference import GenerateRequest, TokenChunk
from hyprstream_core.telemetry import logger

if TYPE_CHECKING:
    from hyprstream_core.engine.engine import Engine

log = logger(__name__)
T = TypeVar("T")
Output = tuple[str, TokenChunk | HyprstreamError]


@dataclass(frozen=True)
class _Command:
    """Exactly one of the two is called: ``act`` on the engine thread, or ``lost`` with the reason why not."""

    act: Callable[[], None]
    lost: Callable[[HyprstreamError], None]


class EngineLoop:
    """Drives any number of engines, round robin, one step each.

    ``deliver`` gets what each step added, and ``on_drop`` the key of an engine that was dropped; both on the engine
    thread, so they must only hand it over. Requests are told apart by their ``request_id``: the caller makes it unique.
    """

    def __init__(self, deliver: Callable[[list[Output]], None], on_drop: Callable[[str], None]) -> None:
        self._deliver, self._on_drop = deliver, on_drop
        self._inbox: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._engines: dict[str, Engine] = {}
        self._owner: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._stopping = False
        self._lock = threading.Lock()
        self._ended: HyprstreamError | None = None

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
        return self._thread.is_alive() and self._ended is None

    def add(self, key: str, engine: Engine) -> None:
        """Drive ``engine`` from now on."""
        self._put(_Command(lambda: self._engines.__setitem__(key, engine), lambda _: None))

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
                self._owner[request.request_id] = key
            except Exception as error:
                self._deliver([(request.request_id, _failure(error, "a request could not be queued"))])

        self._put(_Command(act, lambda reason: self._deliver([(request.request_id, reason)])))

    def cancel(self, request_id: str) -> None:
        """End a request before the next step."""

        def act() -> None:
            if (key := self._owner.pop(request_id, None)) is not None:
                self._cancel(key, [request_id])

        self._put(_Command(act, lambda _: None))

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run ``function`` on the engine thread, between steps.

        Its future raises InternalError or Unavailable when the thread has ended.
        """
        future: Future[T] = Future()

        def act() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        def lost(reason: HyprstreamError) -> None:
            if future.set_running_or_notify_cancel():
                future.set_exception(reason)

        self._put(_Command(act, lost))
        return future

    def _put(self, command: _Command) -> None:
        with self._lock:  # so that no command comes into the inbox once its last one was answered
            if self._ended is None:
                self._inbox.put(command)
                return
        command.lost(self._ended)

    def _run(self) -> None:
        reason: HyprstreamError = Unavailable("the engine has stopped")
        try:
            while not self._stopping:
                self._drain()
                self._step_all()
        except Exception:
            log.exception("the engine thread ended")
            reason = InternalError("the engine thread ended", remedy="restart the server")
        self._end(reason)

    def _end(self, reason: HyprstreamError) -> None:
        """Let go of all engines, and answer every command that nobody will run."""
        with self._lock:
            self._ended = reason
        self._engines.clear()
        if isinstance(reason, InternalError):
            self._deliver([(request_id, reason) for request_id in self._owner])
        self._owner.clear()
        while True:
            try:
                command = self._inbox.get_nowait()
            except queue.Empty:
                return
            if command is not None:
                command.lost(reason)

    def _step_all(self) -> None:
        """One step of each. A function of its own, so that nothing here holds an engine while the thread waits."""
        for key in [key for key, engine in self._engines.items() if engine.has_work]:
            self._step(key)

    def _drain(self) -> None:
        """Do what was asked for; wait for it when no engine has work."""
        idle = not any(engine.has_work for engine in self._engines.values())
        while not self._stopping:
            try:
                command = self._inbox.get(block=idle)
            except queue.Empty:
                return
            idle = False
            if command is None:
                self._stopping = True
                return
            try:
                command.act()
            except Exception:
                log.exception("a command of the engine thread failed")

    def _step(self, key: str) -> None:
        try:
            outputs: list[Output] = list(self._engines[key].step())
        except Exception as error:
            self._fail(key, _failure(error, "an engine step failed"))
            return
        for request_id, chunk in outputs:
            if isinstance(chunk, HyprstreamError) or chunk.finish_reason:
                self._owner.pop(request_id, None)
        if outputs:
            self._deliver(outputs)

    def _fail(self, key: str, failure: HyprstreamError) -> None:
        """End every request of one engine with ``failure``."""
        requests = [request_id for request_id, owner in self._owner.items() if owner == key]
        for request_id in requests:
            del self._owner[request_id]
        self._cancel(key, requests, check=True)
        self._deliver([(request_id, failure) for request_id in requests])

    def _cancel(self, key: str, requests: Iterable[str], *, check: bool = False) -> None:
        """Take ``requests`` out of an engine; one that cannot do that, or then fails its ``check``, is dropped."""
        if (engine := self._engines.get(key)) is None:
            return
        try:
            for request_id in requests:
                engine.cancel(request_id)
            if check:
                engine.pool.check_integrity()
        except Exception:
            log.exception("an engine is broken and has been dropped", commit=key)
            del self._engines[key]
            self._on_drop(key)
            self._fail(key, InternalError("the engine of this model broke", remedy="try again: it is loaded anew"))


def _failure(error: Exception, what: str) -> HyprstreamError:
    """What the caller is told: a refusal as it is, a defect without its internals, which are logged."""
    if isinstance(error, HyprstreamError) and not isinstance(error, InternalError):
        return error
    log.exception(what)
    return InternalError(what, remedy="the server's log has the details")
