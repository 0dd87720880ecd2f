"""One ZeroMQ socket on one event loop: reads all that is there, sends without waiting.

Frames of a message::

    client → server   [call id][kind][body]       REQ CANCEL MORE PING
    server → client   [call id][kind][body]       CHUNK END ERR PONG   (END carries a unary call's reply)

A call id is 16 bytes; PING, PONG and the server's farewell (an ERR) use an empty one. MORE grants the server
that many further chunks (4 bytes, little-endian): what a reader has not read stays bounded by the window.

PERF: the socket is driven by its file descriptor instead of ``zmq.asyncio``, so that a chunk costs one
call and no future. The descriptor is edge-triggered: after any call on the socket its state must be looked at
again, which :meth:`Pump.send` arranges.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from hyprstream_core.errors import InternalError

REQ, CHUNK, END, ERR, CANCEL, MORE, PING, PONG = b"Q", b"C", b"E", b"X", b"K", b"M", b"P", b"O"
KINDS = frozenset((REQ, CHUNK, END, ERR, CANCEL, MORE, PING, PONG))
NO_CALL = b""
WINDOW = 256
"""Chunks of one stream that may be on their way, unread."""
MAX_FRAMES = 8
BATCH = 256
"""Messages read in one turn of the event loop, so that a flood leaves time for everything else."""


def pack_count(count: int) -> bytes:
    """The body of MORE."""
    return struct.pack("<I", count)


def unpack_count(body: bytes) -> int:
    """The count in MORE's body; 0 when it is malformed."""
    return int(struct.unpack("<I", body)[0]) if len(body) == 4 else 0


class Pump:
    """Drives ``socket`` on the running loop until :meth:`close`.

    ``on_message`` receives each message's frames (at most ``MAX_FRAMES`` + 1 of them) and must not raise;
    ``on_writable`` is called when a message that could not be sent fits now. (For a ROUTER it would mean no more
    than that some peer has room.)
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        on_message: Callable[[list[bytes]], None],
        on_writable: Callable[[], None] | None = None,
    ) -> None:
        self._socket, self._on_message, self._on_writable = socket, on_message, on_writable
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._scheduled = self._closed = False
        self._fd = socket.FD
        self._loop.add_reader(self._fd, self._wake)
        self._look_again()

    def send(self, frames: Sequence[bytes]) -> bool:
        """Queue one message. False when the peer's queue is full (or there is no peer yet).

        Raises:
            zmq.ZMQError: EHOSTUNREACH: a ROUTER's peer is gone.
        """
        if os.getpid() != self._pid:
            raise InternalError("an RPC socket cannot be used in a forked process; make a new client after the fork")
        if self._closed:
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._look_again()
        return True

    def drain(self) -> bool:
        """Handle what has arrived, now. True when there may be more than one batch of it."""
        for _ in range(BATCH):
            if self._closed or (frames := self._receive()) is None:
                return False
            self._on_message(frames)
        self._look_again()
        return True

    def close(self, linger_ms: int = 250) -> None:
        """Stop reading and close the socket; what was sent may take ``linger_ms`` to leave."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            self._socket.close(linger_ms)

    def _look_again(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._scheduled = False
        self.drain()
        if self._on_writable and not self._closed and self._can_send():
            self._on_writable()

    def _can_send(self) -> bool:
        events: Any = self._socket.getsockopt(zmq.EVENTS)
        return bool(events & zmq.POLLOUT)

    def _receive(self) -> list[bytes] | None:
        try:
            frames = [self._socket.recv(zmq.NOBLOCK)]
        except zmq.Again:
            return None
        while self._socket.getsockopt(zmq.RCVMORE):
            frame = self._socket.recv(zmq.NOBLOCK)
            if len(frames) <= MAX_FRAMES:
                frames.append(frame)
        return frames


def configure(socket: zmq.Socket[bytes], max_message: int) -> None:
    """Options that both sides share. HWM bounds what a stalled peer can make us hold."""
    socket.setsockopt(zmq.MAXMSGSIZE, max_message)
    socket.setsockopt(zmq.SNDHWM, 4096)
    socket.setsockopt(zmq.RCVHWM, 4096)
    socket.setsockopt(zmq.LINGER, 0)
