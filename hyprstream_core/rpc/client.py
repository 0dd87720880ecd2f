"""The RPC client: one DEALER socket, many concurrent calls, on one event loop.

A connection is *new* until it stands for the first time (calls wait for that, shortly), then *up* or *down*.
Down means: the socket monitor saw it close, the server said farewell, or it has not answered a PING for too
long. Going down ends every outstanding call with :class:`Unavailable`, and new calls are refused at once, until
ZeroMQ has connected again. A request is never sent twice.

Messages are for operators and may hold paths; ``details["service"]`` of every :class:`Unavailable` names the
service that was called, for those who word it for somebody else.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import zmq
from zmq.utils.monitor import parse_monitor_message

from hyprstream_core.config import Limits
from hyprstream_core.errors import DeadlineExceeded, HyprstreamError, InternalError, InvalidRequest, Unavailable
from hyprstream_core.rpc import wire
from hyprstream_core.rpc.codec import decode, encode
from hyprstream_core.rpc.contracts import Method
from hyprstream_core.rpc.envelope import CALL_ID_BYTES, VERSION, Envelope, open_reply, seal_request
from hyprstream_core.rpc.faults import decode_error

Req = TypeVar("Req")
Res = TypeVar("Res")
_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_MORE_AFTER = wire.WINDOW // 2
"""Chunks that are read before the server is granted as many again."""


@dataclass(frozen=True)
class ClientOptions:
    """Times in seconds.

    ``connect_timeout``: how long a first call waits for the first connection.
    ``call_timeout``: default deadline of unary calls.
    ``ping_interval``, ``pong_timeout``: a server that is connected but silent for ``pong_timeout`` is down.
    """

    connect_timeout: float = 2.0
    call_timeout: float = 60.0
    ping_interval: float = 1.0
    pong_timeout: float = 10.0


class _Outstanding:
    """One call's inbox: what the server has sent and the caller has not taken."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._inbox: deque[tuple[bytes, bytes] | HyprstreamError] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False

    def put(self, item: tuple[bytes, bytes] | HyprstreamError) -> None:
        """Append one message; ``ended`` once nothing can follow. More than one window is a broken server."""
        if self.ended:
            return
        if len(self._inbox) > wire.WINDOW:
            item = InternalError("the service sends more chunks than it was granted", code="rpc.malformed")
        self.ended = not isinstance(item, tuple) or item[0] != wire.CHUNK
        self._inbox.append(item)
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> tuple[bytes, bytes]:
        """The next (kind, body); raises the error that ended the call."""
        while not self._inbox:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._inbox.popleft()
        if isinstance(item, HyprstreamError):
            if isinstance(item, Unavailable):
                item.details.setdefault("service", self.service)
            raise item
        return item


class Client:
    """Calls the services behind ``endpoint``. Use as ``async with Client(endpoint) as client``, or ``close`` it.

    It belongs to the event loop of its first call, and to the process that made it.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        limits: Limits | None = None,
        options: ClientOptions | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._limits, self._options, self._context = limits or Limits(), options or ClientOptions(), context
        self._pid = os.getpid()
        self._prefix, self._numbers = os.urandom(8), itertools.count()
        self._calls: dict[bytes, _Outstanding] = {}
        self._outbox: deque[tuple[bytes, bytes, bytes]] = deque()
        self._state: Literal["new", "up", "down", "closed"] = "new"
        self._up = asyncio.Event()
        self._heard = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._pump: wire.Pump | None = None
        self._monitor: wire.Pump | None = None
        self._heart: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether a call made now would be sent."""
        return self._state == "up"

    async def close(self) -> None:
        """Cancel what is running and close the socket."""
        if self._state == "closed":
            return
        if os.getpid() != self._pid:
            self._state = "closed"
            return
        for call_id in list(self._calls):
            self._send(call_id, wire.CANCEL, b"")
        self._fail("the RPC client was closed")
        self._state = "closed"
        self._up.set()
        if self._socket is None:
            return
        if self._heart:
            self._heart.cancel()
            with suppress(asyncio.CancelledError):
                await self._heart
        if self._monitor:
            self._socket.disable_monitor()
            self._monitor.close(0)
        if self._pump:
            self._pump.close()

    async def call(
        self,
        method: Method[Req, Res],
        request: Req,
        *,
        timeout: float | None = None,
        subject: str = "anonymous",
        request_id: str = "",
        traceparent: str = "",
    ) -> Res:
        """Call a unary method. ``timeout`` None is ``ClientOptions.call_timeout``.

        Raises:
            Unavailable: the server is not there, or went away.
            DeadlineExceeded: no answer in time.
            HyprstreamError: whatever the method raised.
        """
        self._check(method, streaming=False)
        seconds = self._options.call_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._unary(method, request, seconds, (subject, request_id, traceparent))
        except TimeoutError:
            if not limit.expired():
                raise
            raise _too_late(method, seconds) from None

    def _check(self, method: Method[Any, Any], *, streaming: bool) -> None:
        if os.getpid() != self._pid:
            raise InternalError("an RPC client cannot be used in a forked process; make a new one after the fork")
        if method.streaming != streaming:
            right = "stream" if method.streaming else "call"
            raise InternalError(f"{method.service}.{method.name} is called the other way; use Client.{right}")

    async def _unary(self, method: Method[Req, Res], request: Req, seconds: float, who: tuple[str, str, str]) -> Res:
        call_id, call = await self._open(method, request, seconds, who)
        try:
            kind, body = await call.get()
            if kind != wire.END:
                raise InternalError(f"{method.service}.{method.name} answered as a stream", code="rpc.malformed")
            return self._record(method, call_id, body)
        finally:
            self._finish(call_id, call)

    async def stream(
        self,
        method: Method[Req, Res],
        request: Req,
        *,
        timeout: float | None = None,
        subject: str = "anonymous",
        request_id: str = "",
        traceparent: str = "",
    ) -> AsyncGenerator[Res, None]:
        """Call a streaming method. Closing the iterator early cancels the call on the server.

        ``timeout`` (None: none) bounds the whole stream. Raises as :meth:`call` does.
        """
        self._check(method, streaming=True)
        deadline = None if timeout is None else time.monotonic() + timeout
        call_id, call = await _within(
            deadline, timeout, method, self._open(method, request, timeout, (subject, request_id, traceparent))
        )
        unread = 0
        try:
            while True:
                kind, body = await _within(deadline, timeout, method, call.get())
                if kind == wire.END:
                    return
                unread += 1
                if unread == _MORE_AFTER:
                    self._send(call_id, wire.MORE, wire.pack_count(unread))
                    unread = 0
                yield self._record(method, call_id, body)
        finally:
            self._finish(call_id, call)

    async def _open(
        self, method: Method[Req, Res], request: Req, seconds: float | None, who: tuple[str, str, str]
    ) -> tuple[bytes, _Outstanding]:
        """Send the request; the call is outstanding until :meth:`_finish`."""
        if not isinstance(request, method.request):
            raise InternalError(
                f"{method.service}.{method.name} takes {method.request.__name__}, got {type(request).__name__}"
            )
        await self._ready(method)
        call_id = self._prefix + next(self._numbers).to_bytes(CALL_ID_BYTES - 8, "big")
        subject, request_id, traceparent = who
        body = seal_request(
            Envelope(
                version=VERSION,
                service=method.service,
                method=method.name,
                call_id=call_id,
                payload=encode(request, method.schema, self._limits),
                request_id=request_id,
                deadline=time.time() + seconds if seconds is not None else 0.0,
                traceparent=traceparent,
                subject=subject,
            ),
            self._limits,
        )
        call = self._calls[call_id] = _Outstanding(method.service)
        self._send(call_id, wire.REQ, body)
        return call_id, call

    def _record(self, method: Method[Req, Res], call_id: bytes, body: bytes) -> Res:
        """A reply's record. What cannot be read is the service's fault, not the caller's."""
        try:
            return decode(open_reply(body, call_id, self._limits), method.response, method.schema, self._limits)
        except InvalidRequest as error:
            raise InternalError(f"the response of {method.service}.{method.name}: {error.message}") from None

    def _finish(self, call_id: bytes, call: _Outstanding) -> None:
        self._calls.pop(call_id, None)
        if not call.ended and self._state == "up":
            self._send(call_id, wire.CANCEL, b"")

    async def _ready(self, method: Method[Any, Any]) -> None:
        """Wait for the first connection.

        Raises:
            Unavailable: there is none.
        """
        if self._loop not in (None, asyncio.get_running_loop()):
            raise InternalError("an RPC client cannot be used from another event loop than that of its first call")
        if self._loop is None:
            self._connect()
        if self._state == "new":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._up.wait(), self._options.connect_timeout)
        if self._state != "up":
            why = "the client is closed" if self._state == "closed" else f"nobody answers at {self.endpoint}"
            raise Unavailable(
                f"the {method.service} service cannot be reached: {why}",
                remedy="is it running? see: hyprstream server",
                service=method.service,
            )

    def _connect(self) -> None:
        self._loop = asyncio.get_running_loop()
        context = self._context or zmq.Context.instance()
        self._socket = context.socket(zmq.DEALER)
        wire.configure(self._socket, self._limits.message_bytes)
        # What was queued for a connection dies with it: a restarted server must not see old requests.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        self._monitor = wire.Pump(self._socket.get_monitor_socket(_EVENTS), self._on_event)
        self._socket.connect(self.endpoint)
        self._pump = wire.Pump(self._socket, self._on_message, self._flush)
        self._heart = asyncio.create_task(self._beat(), name="rpc heartbeat")

    def _on_event(self, frames: list[bytes]) -> None:
        event = parse_monitor_message(frames)["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._rise()
        elif event == zmq.EVENT_DISCONNECTED:
            while self._pump and self._pump.drain():
                pass  # what it said before it closed comes first
            self._fall("the connection was closed")

    def _on_message(self, frames: list[bytes]) -> None:
        if len(frames) != 3:
            return
        call_id, kind, body = frames
        self._heard = time.monotonic()
        if kind == wire.PONG:
            self._rise()
        elif call_id == wire.NO_CALL and kind == wire.ERR:
            self._farewell()
        elif call := self._calls.get(call_id):
            if kind == wire.ERR:
                call.put(decode_error(body, self._limits))
            elif kind in (wire.CHUNK, wire.END):
                call.put((kind, body))

    def _rise(self) -> None:
        if self._state in ("new", "down"):
            self._state, self._heard = "up", time.monotonic()
            self._up.set()

    def _fall(self, why: str) -> None:
        if self._state in ("new", "up"):
            self._state = "down" if self._state == "up" else "new"
            self._outbox.clear()
            self._fail(f"the service at {self.endpoint} went away: {why}", "try again in a moment")

    def _farewell(self) -> None:
        """The server is stopping. An inproc connection does not come back by itself: ask for the next one."""
        self._fall("it is stopping")
        if self.endpoint.startswith("inproc:") and self._socket and self._pump:
            self._socket.connect(self.endpoint)
            self._pump.send((wire.NO_CALL, wire.PING, b""))

    def _fail(self, message: str, remedy: str | None = None) -> None:
        for call in self._calls.values():
            call.put(Unavailable(message, remedy=remedy, service=call.service))
        self._calls.clear()

    def _send(self, call_id: bytes, kind: bytes, body: bytes) -> None:
        """Send, or queue in order behind what could not be sent yet."""
        if self._pump and (self._outbox or not self._pump.send((call_id, kind, body))):
            self._outbox.append((call_id, kind, body))

    def _flush(self) -> None:
        while self._outbox and self._pump and self._pump.send(self._outbox[0]):
            self._outbox.popleft()

    async def _beat(self) -> None:
        """Ask the server for signs of life; also the fallback for a wake-up that was missed.

        NOTE: when this loop itself was held up, answers may lie unread in the socket: the server gets a fresh start.
        """
        interval = self._options.ping_interval
        self._heard = time.monotonic()
        while self._pump:
            self._flush()
            self._pump.send((wire.NO_CALL, wire.PING, b""))
            before = time.monotonic()
            await asyncio.sleep(interval)
            now = time.monotonic()
            if now - before > 2 * interval:
                self._heard = now
            elif now - self._heard > self._options.pong_timeout:
                self._fall(f"no sign of life for {self._options.pong_timeout:g} s")


async def _within(deadline: float | None, seconds: float | None, method: Method[Any, Any], step: Any) -> Any:
    """Await one step of a stream that must be over at ``deadline`` (monotonic)."""
    if deadline is None:
        return await step
    try:
        async with asyncio.timeout(deadline - time.monotonic()) as limit:
            return await step
    except TimeoutError:
        if not limit.expired():
            raise
        raise _too_late(method, seconds or 0.0) from None


def _too_late(method: Method[Any, Any], seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{method.service}.{method.name} gave no answer within {seconds:g} s", service=method.service
    )
