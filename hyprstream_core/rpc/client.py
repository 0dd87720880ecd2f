"""The RPC client: one DEALER socket, many concurrent calls, on one event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, TypeVar

import zmq

from hyprstream_core.config import Limits
from hyprstream_core.rpc.contracts import Method

Req = TypeVar("Req")
Res = TypeVar("Res")


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


class Client:
    """Calls the services behind ``endpoint``. Use as ``async with Client(endpoint) as client``, or ``close`` it."""

    def __init__(
        self,
        endpoint: str,
        *,
        limits: Limits | None = None,
        options: ClientOptions | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None: ...

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what is running and close the socket."""
        raise NotImplementedError

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
        raise NotImplementedError

    def stream(
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
        raise NotImplementedError
