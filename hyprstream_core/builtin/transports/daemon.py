"""git's own protocol, ``git://``: nobody is asked who he is, and nobody proves to be the host; for trusted networks.

Source: https://git-scm.com/docs/pack-protocol#_git_transport.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress

from dulwich.protocol import pkt_line

from hyprstream_core.builtin.transports.streams import Stream, StreamClient
from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import Access, Connection, Transport
from hyprstream_core.repo.remotes.urls import parse_url, stream_parts

PORT = 9418
_NO_REPOSITORY = re.compile(r"not exported|not found|no such repository|not appear to be", re.IGNORECASE)


class Daemon(Transport):
    """``git://host[:port]/path``, as ``git daemon`` serves it. Large files come from https of the same host."""

    def connect(self, url: str) -> Connection:
        """See :meth:`Transport.connect`; nothing is sent yet."""
        _, host, port, path = stream_parts(parse_url(url).text)
        return Connection(DaemonClient(host, port, self.access), path, derived_endpoint(host, path))


def derived_endpoint(host: str, path: str) -> str:
    """The LFS endpoint that git-lfs takes for a repository that is not served by http(s).

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/server-discovery.md.
    """
    plain = path.strip("/")
    return f"https://{host}/{plain if plain.endswith('.git') else f'{plain}.git'}/info/lfs"


class DaemonClient(StreamClient):
    """git's protocol to one ``git daemon``."""

    def __init__(self, host: str, port: int | None, access: Access) -> None:
        super().__init__(access)
        self._host, self._port = host, port

    def open(self, service: str, path: str) -> Stream:
        """Connect and ask; version 2 is offered behind the second NUL, where old servers do not look."""
        name = self._host.strip("[]")
        connected = socket.create_connection((name, self._port or PORT), timeout=self._access.timeout)
        stream = Connected(connected)
        host = f"{self._host}:{self._port}" if self._port else self._host
        try:
            stream.send(pkt_line(f"{service} {path}\0host={host}\0\0version=2\0".encode()))
        except BaseException:
            stream.close()
            raise
        return stream


class Connected(Stream):
    """A TCP connection, which has its own timeout."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def receive(self, size: int) -> bytes:
        """See :meth:`Stream.receive`."""
        return self._socket.recv(size)

    def send(self, data: bytes) -> None:
        """See :meth:`Stream.send`."""
        self._socket.sendall(data)

    def fileno(self) -> int:
        """See :meth:`Stream.fileno`."""
        return self._socket.fileno()

    def end(self) -> None:
        """See :meth:`Stream.end`."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See :meth:`Stream.close`."""
        self._socket.close()

    def failure(self, error: Exception) -> Exception:
        """A daemon says in words that it has no such repository."""
        if _NO_REPOSITORY.search(str(error)):
            return RemoteError(
                "there is no git repository at that URL",
                code="remote.not_found",
                remedy="check the path; git daemon serves only what has a file git-daemon-export-ok, or --export-all",
                param="url",
            )
        return error
