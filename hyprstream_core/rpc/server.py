"""The RPC server: one ROUTER socket that hosts services.

Each call is one task. It ends by its reply, by an error record, by the client's CANCEL, by its deadline, by
its client's silence, or by :meth:`Server.stop`; whichever it is, a streaming method's generator is closed in
that task before the task ends.

What is refused: frames that cannot be opened are dropped and counted (:class:`Counters`), since nobody can be
told; a call that can be opened gets a typed error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import zmq

from hyprstream_core.config import Limits
from hyprstream_core.errors import (
    Cancelled,
    DeadlineExceeded,
    HyprstreamError,
    InternalError,
    InvalidRequest,
    Overloaded,
    Unavailable,
)
from hyprstream_core.interfaces.transport import RpcLink
from hyprstream_core.rpc import wire
from hyprstream_core.rpc.codec import decode, encode
from hyprstream_core.rpc.contracts import Method, Served
from hyprstream_core.rpc.envelope import Envelope, open_request, seal_reply
from hyprstream_core.rpc.faults import encode_error
from hyprstream_core.telemetry import bind, logger

log = logger(__name__)


@dataclass(frozen=True)
class ServerOptions:
    """Times in seconds.

    ``peer_timeout``: silence (not even a PING) after which a client is taken for dead.
    ``stall_timeout``: how long a stream may wait for its reader, its window being full.
    ``max_calls``: calls of one client that may run at a time.
    """

    peer_timeout: float = 10.0
    stall_timeout: float = 30.0
    stop_timeout: float = 5.0
    max_calls: int = 1024


@dataclass
class Counters:
    """Since the server's start: messages dropped as malformed, calls begun, calls that ended in an error,
    calls cancelled by their client, clients that vanished."""

    dropped: int = 0
    calls: int = 0
    errors: int = 0
    cancelled: int = 0
    vanished: int = 0


@dataclass(frozen=True)
class CallContext:
    """Who is calling, as the running method may ask. ``deadline`` is Unix seconds, 0 for none."""

    subject: str
    request_id: str
    traceparent: str
    deadline: float


_CURRENT: ContextVar[CallContext] = ContextVar("hyprstream_rpc_call")


def current_call() -> CallContext:
    """The call that this task serves.

    Raises:
        InternalError: not inside a method that was called over RPC.
    """
    try:
        return _CURRENT.get()
    except LookupError:
        raise InternalError("no RPC call is being served here") from None


class _PeerGone(Exception):
    """The client's connection is closed."""


@dataclass(eq=False)
class _Call:
    """One running call."""

    peer: bytes
    id: bytes
    method: Method[Any, Any]
    service: object
    envelope: Envelope
    credit: int = wire.WINDOW
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    ended_by: HyprstreamError | None = None
    """Why the task was cancelled by us; the client is told unless it asked for it itself."""

    @property
    def name(self) -> str:
        return f"{self.method.service}.{self.method.name}"

    def end(self, reason: HyprstreamError) -> None:
        """Cancel the task, once."""
        if self.ended_by is None and self.task and not self.task.done():
            self.ended_by = reason
            self.task.cancel()


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
        self._methods: dict[tuple[str, str], tuple[Method[Any, Any], object]] = {}
        for service in services:
            for method in service.contract.methods:
                self._methods[method.service, method.name] = (method, service)
        self.endpoints, self._links = tuple(endpoints), links
        self._limits, self._options = limits or Limits(), options or ServerOptions()
        self._context = context
        self._prepared: list[str] = []
        self._calls: dict[tuple[bytes, bytes], _Call] = {}
        self._seen: dict[bytes, float] = {}
        self._writable = asyncio.Event()
        self._pump: wire.Pump | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._stopping = False
        self.counters = Counters()

    @property
    def running_calls(self) -> int:
        """Calls that have begun and not ended."""
        return len(self._calls)

    async def start(self) -> None:
        """Bind all endpoints and begin to serve.

        Raises:
            Conflict: another live process serves an endpoint.
            Unavailable: an endpoint must not or cannot be bound.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Refuse new calls, end the running ones with :class:`Unavailable`, unbind."""
        raise NotImplementedError
