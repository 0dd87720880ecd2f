"""One call on the server: how a method is run, and everything that can end it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from hyprstream_core.config import Limits
from hyprstream_core.errors import (
    Cancelled,
    DeadlineExceeded,
    HyprstreamError,
    InternalError,
    InvalidRequest,
    Overloaded,
)
from hyprstream_core.rpc import wire
from hyprstream_core.rpc.codec import decode, encode
from hyprstream_core.rpc.contracts import Method
from hyprstream_core.rpc.envelope import Envelope, seal_reply
from hyprstream_core.rpc.faults import encode_error
from hyprstream_core.telemetry import bind, logger

log = logger(__name__)


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


class PeerGone(Exception):
    """The client's connection is closed."""


Send = Callable[[bytes, bytes], Awaitable[None]]
"""``await send(kind, body)`` to the call's client; raises PeerGone when that is impossible."""


class Call:
    """A running call. :meth:`run` is its task; :meth:`end` ends it early.

    ``task`` is set by the server when it starts :meth:`run`.
    """

    def __init__(
        self, method: Method[Any, Any], service: object, envelope: Envelope, limits: Limits, stall_timeout: float
    ) -> None:
        self.method, self.envelope = method, envelope
        self.task: asyncio.Task[None] | None = None
        self._service, self._limits, self._stall_timeout = service, limits, stall_timeout
        self._credit, self._granted = wire.WINDOW, asyncio.Event()
        self._reason: HyprstreamError | None = None
        self._tell = True

    @property
    def name(self) -> str:
        """For messages: ``inference.generate``."""
        return f"{self.method.service}.{self.method.name}"

    def grant(self, count: int) -> None:
        """The client has read ``count`` more chunks; it can never be owed more than one window. None are no news."""
        if count > 0:
            self._credit = min(self._credit + count, wire.WINDOW)
            self._granted.set()

    def end(self, reason: HyprstreamError, *, tell: bool) -> bool:
        """Cancel the task, once; with ``tell`` the client receives ``reason``. False when it has ended already."""
        if self._reason is not None or self.task is None or self.task.done():
            return False
        self._reason, self._tell = reason, tell
        self.task.cancel()
        return True

    async def run(self, send: Send) -> HyprstreamError | None:
        """Answer the call. The error that it ended in, which has been sent; None when it ended well, or when its
        client went away."""
        e = self.envelope
        _CURRENT.set(CallContext(e.subject, e.request_id, e.traceparent, e.deadline))
        with bind(request_id=e.request_id or None):
            try:
                error = await self._attempt(send)
                if error is not None and self._tell:
                    await send(wire.ERR, seal_reply(encode_error(error, self._limits), e.call_id))
            except PeerGone:
                return None
        return error

    async def _attempt(self, send: Send) -> HyprstreamError | None:
        remaining = max(0.0, self.envelope.deadline - time.time()) if self.envelope.deadline else None
        limit = asyncio.timeout(remaining)
        try:
            async with limit:
                await (self._stream(send) if self.method.streaming else self._reply(send))
        except InternalError as error:
            log.exception("a method failed", method=self.name)
            return error
        except HyprstreamError as error:
            return error
        except asyncio.CancelledError:
            return self._cancelled()
        except PeerGone:
            raise
        except Exception as error:
            if limit.expired() and isinstance(error, TimeoutError):
                return DeadlineExceeded(f"{self.name} was not finished at its deadline")
            log.exception("a method failed", method=self.name)
            return InternalError(f"{self.name} failed", remedy="the service's log has the details")
        return None

    def _cancelled(self) -> HyprstreamError:
        """Why this task was cancelled: by :meth:`end`, from outside (then it goes on), or by the method itself."""
        task = asyncio.current_task()
        if self._reason is not None and task is not None:
            task.uncancel()
            return self._reason
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return Cancelled(f"{self.name} was cancelled by its service")

    def _request(self) -> Any:
        return decode(self.envelope.payload, self.method.request, self.method.schema, self._limits)

    def _encode(self, record: object) -> bytes:
        """A response as a reply's body. What does not fit is the service's fault, not the caller's."""
        if not isinstance(record, self.method.response):
            raise InternalError(f"{self.name} returned another type than its contract says")
        try:
            payload = encode(record, self.method.schema, self._limits)
        except InvalidRequest as error:
            raise InternalError(f"the response of {self.name} cannot be sent: {error.message}") from None
        return seal_reply(payload, self.envelope.call_id)

    async def _reply(self, send: Send) -> None:
        record = await self.method.call(self._service, self._request())
        await send(wire.END, self._encode(record))

    async def _stream(self, send: Send) -> None:
        iterator = self.method.call(self._service, self._request())
        try:
            async for record in iterator:
                if self._credit <= 0:
                    await self._wait_for_reader()
                self._credit -= 1
                await send(wire.CHUNK, self._encode(record))
        finally:
            if close := getattr(iterator, "aclose", None):
                await close()
        await send(wire.END, seal_reply(b"", self.envelope.call_id))

    async def _wait_for_reader(self) -> None:
        """The window is full: wait for MORE, so that what an idle reader makes us hold stays bounded."""
        try:
            async with asyncio.timeout(self._stall_timeout):
                while self._credit <= 0:
                    self._granted.clear()
                    await self._granted.wait()
        except TimeoutError:
            raise Overloaded(
                f"the reader of {self.name} took none of {wire.WINDOW} chunks for {self._stall_timeout:g} s",
                remedy="read the stream, or close it",
                code="rpc.slow_reader",
            ) from None
