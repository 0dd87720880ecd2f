"""The built-in RPC transports: inside one process, and between processes of one user."""

from __future__ import annotations

from hyprstream_core.errors import Conflict
from hyprstream_core.interfaces.transport import RpcLink
from hyprstream_core.rpc.endpoints import EndpointLock, ipc_path, private_directory


class Inproc(RpcLink):
    """``inproc://``: nothing outside this process can reach it, and ZeroMQ refuses a second bind itself."""

    def prepare_bind(self, endpoint: str) -> None:
        """Nothing to prepare."""

    def release(self, endpoint: str) -> None:
        """Nothing to undo."""


class Ipc(RpcLink):
    """``ipc://``: a Unix socket in a private directory, under an exclusive lock."""

    def __init__(self) -> None:
        self._locks: dict[str, EndpointLock] = {}

    def prepare_bind(self, endpoint: str) -> None:
        """Create and check the directory, and lock the socket's path.

        Raises:
            ConfigError: not an ipc endpoint.
            Conflict: another live process, or this one, serves it.
            Unavailable: the directory is not private.
        """
        path = ipc_path(endpoint)
        private_directory(path.parent)
        if endpoint in self._locks:
            raise Conflict(f"this process already serves {path}", code="rpc.in_use")
        self._locks[endpoint] = EndpointLock.acquire(path)

    def bound(self, endpoint: str) -> None:
        """Close the socket to others too, should its directory ever be opened to them."""
        ipc_path(endpoint).chmod(0o600)

    def release(self, endpoint: str) -> None:
        """Remove the socket and unlock its path."""
        if lock := self._locks.pop(endpoint, None):
            ipc_path(endpoint).unlink(missing_ok=True)
            lock.release()
