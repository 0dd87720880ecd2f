"""The RPC server: one ROUTER socket that hosts services.

Each call is one task (:mod:`hyprstream_core.rpc.calls`). It ends by its reply, by an error record, by the client's
CANCEL, by its deadline, by its client's silence, or by :meth:`Server.stop`; whichever it is, a streaming
method's generator is closed in that task before the task ends.

What is refused: frames that cannot be opened are dropped and counted (:class:`Counters`), since nobody can be
told; a call that can be opened gets a typed error.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import zmq

from hyprstream_core.config import Limits
from hyprstream_core.errors import (
    Cancelled,
    Conflict,
    HyprstreamError,
    InternalError,
    InvalidRequest,
    Overloaded,
    Unavailable,
)
from hyprstream_core.interfaces.transport import RpcLink
from hyprstream_core.rpc import wire
from hyprstream_core.rpc.calls import Call, PeerGone
from hyprstream_core.rpc.contracts import Method, Served
from hyprstream_core.rpc.envelope import Envelope, open_request, seal_reply
from hyprstream_core.rpc.faults import encode_error
from hyprstream_core.telemetry import logger

log = logger(__name__)
_TOLD = frozenset(("rpc.version", "rpc.unknown_method"))
"""Refusals that a client is told of; other bad requests are dropped, since who sends junk reads no answers."""
_RETRY = 0.01
"""Seconds between attempts to send to a client whose queue is full."""


@dataclass(frozen=True)
class ServerOptions:
    """Times in seconds.

    ``peer_timeout``: silence (not even a PING) after which a client is taken for dead.
    ``stall_timeout``: how long a stream waits for a reader that takes nothing.
    ``stop_timeout``: how long :meth:`Server.stop` waits for cancelled calls.
    ``max_calls``: calls of one client that may run at a time.
    """

    peer_timeout: float = 10.0
    stall_timeout: float = 30.0
    stop_timeout: float = 5.0
    max_calls: int = 1024


@dataclass
class Counters:
    """Since the server's start: messages dropped as malformed, calls begun, calls that were refused or ended in an
    error, calls cancelled by their client, clients that vanished with calls running. Logged when the server stops."""

    dropped: int = 0
    calls: int = 0
    errors: int = 0
    cancelled: int = 0
    vanished: int = 0


@dataclass
class _Peer:
    """One client's connection: when it was last heard (monotonic seconds), and its running calls."""

    seen: float
    calls: dict[bytes, Call] = field(default_factory=dict)


class Server:
    """Hosts ``services`` on ``endpoints`` (each service answers on all of them).

    ``links`` maps an endpoint's scheme to what prepares it for binding. For ``inproc`` server and clients must
    share ``context``; the default is the process's own ``zmq.Context.instance()``.
    """

    def __init__(
        self,
        services: Iterable[Served],
        endpoints: Sequence[str],
        links: Mapping[str, RpcLink],
        *,
        limits: Limits | None = None,
        options: ServerOptions | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self._methods: dict[tuple[str, str], tuple[Method[Any, Any], object]] = {
            (method.service, method.name): (method, service)
            for service in services
            for method in service.contract.methods
        }
        self._services = frozenset(service for service, _ in self._methods)
        self.endpoints, self._links = tuple(endpoints), links
        self._limits, self._options = limits or Limits(), options or ServerOptions()
        self._context = context
        self._prepared: list[str] = []
        self._peers: dict[bytes, _Peer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: zmq.Socket[bytes] | None = None
        self._pump: wire.Pump | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._stopping = False
        self.counters = Counters()

    @property
    def running_calls(self) -> int:
        """Calls that have begun and not ended."""
        return len(self._tasks)

    async def start(self) -> None:
        """Bind all endpoints and begin to serve.

        Raises:
            Conflict: another live process serves an endpoint.
            Unavailable: an endpoint must not or cannot be bound.
        """
        context = self._context or zmq.Context.instance()
        self._socket = context.socket(zmq.ROUTER)
        wire.configure(self._socket, self._limits.message_bytes)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            for endpoint in self.endpoints:
                self._bind(self._socket, endpoint)
        except BaseException:
            self._socket.close(0)
            self._release()
            raise
        self._pump = wire.Pump(self._socket, self._on_message)
        self._sweeper = asyncio.create_task(self._sweep(), name="rpc sweep")

    def _bind(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        link = self._link(endpoint)
        link.prepare_bind(endpoint)
        self._prepared.append(endpoint)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            kind = Conflict if error.errno == errno.EADDRINUSE else Unavailable
            raise kind(f"cannot serve at {endpoint}: {error.strerror}", endpoint=endpoint) from None
        link.bound(endpoint)

    def _link(self, endpoint: str) -> RpcLink:
        scheme = endpoint.partition("://")[0]
        if link := self._links.get(scheme):
            return link
        known = ", ".join(sorted(self._links)) or "none"
        raise Unavailable(f"no RPC transport for {endpoint!r}; available schemes: {known}")

    def _release(self) -> None:
        for endpoint in self._prepared:
            self._link(endpoint).release(endpoint)
        self._prepared.clear()

    async def stop(self) -> None:
        """Refuse new calls, end the running ones with :class:`Unavailable`, unbind."""
        if self._pump is None or self._socket is None or self._stopping:
            return
        self._stopping = True
        for endpoint in self.endpoints:
            with suppress(zmq.ZMQError):
                self._socket.unbind(endpoint)
        farewell = Unavailable("the service is stopping", remedy="try again in a moment")
        for peer in self._peers.values():
            for call in peer.calls.values():
                call.end(farewell, tell=True)
        if self._tasks:
            _, stuck = await asyncio.wait(self._tasks, timeout=self._options.stop_timeout)
            if stuck:
                log.error("calls that do not end when cancelled", calls=sorted(t.get_name() for t in stuck))
        body = encode_error(farewell, self._limits)
        for name in list(self._peers):
            with suppress(PeerGone):
                self._try_send((name, wire.NO_CALL, wire.ERR, body))
        if self._sweeper:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        self._pump.close()
        self._release()
        log.info("rpc server stopped", services=sorted(self._services), **vars(self.counters))

    def _on_message(self, frames: list[bytes]) -> None:
        """Dispatch one message; it must never raise, or the socket would go unread."""
        try:
            if len(frames) != 4 or frames[2] not in wire.KINDS:
                raise InvalidRequest(f"{len(frames)} frames, expected 4 with a known kind", code="rpc.malformed")
            self._dispatch(*frames)
        except InvalidRequest as error:
            self.counters.dropped += 1
            if self.counters.dropped.bit_count() == 1:  # the 1st, 2nd, 4th …: a flood of junk must not flood the log
                log.warning("dropped a message", reason=error.message, dropped=self.counters.dropped)
        except Exception:
            self.counters.dropped += 1
            log.exception("could not handle a message")

    def _dispatch(self, name: bytes, call_id: bytes, kind: bytes, body: bytes) -> None:
        now = time.monotonic()
        peer = self._peers.get(name)
        if peer:
            peer.seen = now
        if kind == wire.REQ:
            self._request(name, call_id, body)
        elif kind == wire.PING and not call_id and not body:
            self._peers.setdefault(name, _Peer(now))
            with suppress(PeerGone):
                self._try_send((name, wire.NO_CALL, wire.PONG, b""))
        elif kind in (wire.CANCEL, wire.MORE):
            # NOTE: a call that has just ended may still be granted chunks or cancelled; that is no fault.
            if call := peer.calls.get(call_id) if peer else None:
                self._steer(call, kind, body)
        else:
            raise InvalidRequest("a message that only servers send", code="rpc.malformed")

    def _steer(self, call: Call, kind: bytes, body: bytes) -> None:
        if kind == wire.MORE:
            call.grant(wire.unpack_count(body))
        elif call.end(Cancelled(f"{call.name} was cancelled by its client"), tell=False):
            self.counters.cancelled += 1

    def _request(self, name: bytes, call_id: bytes, body: bytes) -> None:
        try:
            envelope = open_request(body, call_id, self._limits)
            peer = self._peers.setdefault(name, _Peer(time.monotonic()))
            if call_id in peer.calls:
                raise InvalidRequest("a call id that is in use", code="rpc.malformed")
            call = self._admit(peer, envelope)
        except InvalidRequest as error:
            if error.error_code not in _TOLD:
                raise
            self._refuse(name, call_id, error)
        except HyprstreamError as error:
            self._refuse(name, call_id, error)
        else:
            self._begin(name, peer, call)

    def _admit(self, peer: _Peer, envelope: Envelope) -> Call:
        if self._stopping:
            raise Unavailable("the service is stopping", remedy="try again in a moment")
        if len(peer.calls) >= self._options.max_calls:
            raise Overloaded(f"one client may run {self._options.max_calls} calls at a time", code="rpc.too_many_calls")
        if envelope.service not in self._services:
            raise Unavailable(f"no service {envelope.service!r} here", code="rpc.unknown_service")
        if (found := self._methods.get((envelope.service, envelope.method))) is None:
            raise InvalidRequest(
                f"service {envelope.service!r} has no method {envelope.method!r}",
                remedy="run the same hyprstream version on both sides",
                code="rpc.unknown_method",
            )
        return Call(*found, envelope, self._limits, self._options.stall_timeout)

    def _refuse(self, name: bytes, call_id: bytes, error: HyprstreamError) -> None:
        self.counters.errors += 1
        with suppress(PeerGone):
            self._try_send((name, call_id, wire.ERR, seal_reply(encode_error(error, self._limits), call_id)))

    def _begin(self, name: bytes, peer: _Peer, call: Call) -> None:
        call_id = call.envelope.call_id

        async def send(kind: bytes, body: bytes) -> None:
            if not self._try_send((name, call_id, kind, body)):
                await self._send_slowly((name, call_id, kind, body))

        async def serve() -> None:
            error = await call.run(send)
            self.counters.errors += error is not None and not isinstance(error, Cancelled)

        def ended(task: asyncio.Task[None]) -> None:
            """Not in ``serve``'s own ``finally``: a task that is cancelled before its first turn runs none of it."""
            peer.calls.pop(call_id, None)
            self._tasks.discard(task)

        self.counters.calls += 1
        call.task = asyncio.create_task(serve(), name=f"rpc {call.name}")
        peer.calls[call_id] = call
        self._tasks.add(call.task)
        call.task.add_done_callback(ended)

    def _try_send(self, frames: tuple[bytes, ...]) -> bool:
        """Send now. False when the client's queue is full.

        Raises:
            PeerGone: its connection is closed; all its calls are being ended.
        """
        if self._pump is None:
            raise InternalError("the RPC server has not been started")
        try:
            return self._pump.send(frames)
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self._forget(frames[0])
            raise PeerGone from None

    async def _send_slowly(self, frames: tuple[bytes, ...]) -> None:
        """The client's queue is full: try until there is room, for as long as a stall may take.

        Raises:
            PeerGone: there was none; a client that does not read its socket is given up.
        """
        deadline = time.monotonic() + self._options.stall_timeout
        while time.monotonic() < deadline:
            await asyncio.sleep(_RETRY)
            if self._try_send(frames):
                return
        self._forget(frames[0])
        raise PeerGone

    def _forget(self, name: bytes) -> None:
        """End the calls of a client that is gone."""
        if (peer := self._peers.pop(name, None)) is None:
            return
        gone = Cancelled("the client went away")
        ended = [call.end(gone, tell=False) for call in peer.calls.values()]
        self.counters.vanished += any(ended)

    async def _sweep(self) -> None:
        """Forget clients that have been silent for too long.

        NOTE: when this loop itself was held up, their PINGs lie unread in the socket: everybody gets a fresh start.
        """
        interval = min(1.0, self._options.peer_timeout / 4)
        while True:
            before = time.monotonic()
            await asyncio.sleep(interval)
            now = time.monotonic()
            if now - before > 2 * interval:
                for peer in self._peers.values():
                    peer.seen = now
                continue
            for name in [n for n, p in self._peers.items() if now - p.seen > self._options.peer_timeout]:
                self._forget(name)
