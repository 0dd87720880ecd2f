"""Where services listen, and how a place is made safe to listen on.

An ipc endpoint is a socket in the runtime directory, which only the user may enter. Binding a path that is bound
already would steal it without an error, so whoever binds holds a lock file beside the socket: ``flock`` ends with
its process, however that ends, so a lock is never stale. The file holds the holder's process id and is never
removed (removing it would let two processes lock two files of one name).
"""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyprstream_core.errors import ConfigError, Conflict, Unavailable
from hyprstream_core.interfaces.service import SERVICE_NAME

Scheme = Literal["inproc", "ipc"]
MAX_IPC_PATH = 107
"""Bytes of a Unix socket address's path, without its end (sun_path in unix(7))."""


def endpoint(service: str, scheme: Scheme, runtime_dir: Path) -> str:
    """The endpoint of ``service``: ``inproc://`` within this process, ``ipc://`` between processes.

    Raises:
        ConfigError: the name is no service name, or the ipc path is longer than a socket address can hold.
    """
    if not SERVICE_NAME.fullmatch(service):
        raise ConfigError(f"service name {service!r}, expected {SERVICE_NAME.pattern}")
    if scheme == "inproc":
        return f"inproc://{runtime_dir}/{service}"
    path = f"{runtime_dir.absolute()}/{service}.sock"
    if (length := len(os.fsencode(path))) > MAX_IPC_PATH:
        raise ConfigError(
            f"the socket path {path} has {length} bytes, a socket address holds {MAX_IPC_PATH}",
            remedy="choose a shorter runtime_dir",
            param="runtime_dir",
        )
    return f"ipc://{path}"


def ipc_path(endpoint: str) -> Path:
    """The socket of an ``ipc://`` endpoint.

    Raises:
        ConfigError: not an absolute ipc endpoint, or its path is too long.
    """
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not path.startswith("/") or len(os.fsencode(path)) > MAX_IPC_PATH:
        raise ConfigError(
            f"endpoint {endpoint!r}, expected ipc:// and an absolute path of {MAX_IPC_PATH} bytes at most"
        )
    return Path(path)


def private_directory(path: Path) -> None:
    """Make ``path`` a directory that only this user may enter, or find it so.

    Raises:
        Unavailable: it is a symbolic link, no directory, somebody else's, or open to others.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except OSError as error:
        if not os.path.lexists(path):
            reason = error.strerror if path.parent.is_dir() else f"{path.parent} is no directory that can be made"
            raise _unsafe(path, f"cannot be created: {reason}") from None
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise _unsafe(path, "is a symbolic link" if stat.S_ISLNK(found.st_mode) else "is not a directory")
    if found.st_uid != os.geteuid():
        raise _unsafe(path, f"belongs to user id {found.st_uid}, expected {os.geteuid()}")
    if mode := stat.S_IMODE(found.st_mode) & 0o077:
        raise _unsafe(path, f"is open to others (mode {stat.S_IMODE(found.st_mode):04o}, {mode:03o} too much)")


def _unsafe(path: Path, why: str) -> Unavailable:
    return _not_here(f"the runtime directory {path} {why}")


def _not_here(message: str) -> Unavailable:
    """What is wrong with a place. Nobody is told to delete it or to change its rights: it may be ``/tmp``."""
    return Unavailable(message, remedy="choose another runtime_dir", code="rpc.unsafe_directory", param="runtime_dir")


@dataclass(frozen=True)
class EndpointLock:
    """The exclusive right to bind one ipc endpoint, until :meth:`release` or the end of the process."""

    path: Path
    fd: int

    @classmethod
    def acquire(cls, socket: Path) -> EndpointLock:
        """Lock ``socket`` and clear away what a dead process left there.

        Raises:
            Conflict: a live process serves it; ``details["pid"]`` says which.
            Unavailable: something that is no socket is in the way.
        """
        path = socket.with_name(f"{socket.name}.lock")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _not_here(f"the lock {path} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(socket)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise Conflict(
                f"another process (pid {holder}) already serves {socket}",
                remedy="stop it, or choose another runtime_dir",
                code="rpc.in_use",
                pid=int(holder) if holder.isdigit() else None,
            ) from None
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd)

    def release(self) -> None:
        """Give the endpoint up."""
        os.close(self.fd)


def _clear(socket: Path) -> None:
    try:
        mode = socket.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _not_here(f"{socket} is in the way: it is no socket")
    socket.unlink()
