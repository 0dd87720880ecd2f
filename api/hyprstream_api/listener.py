"""The address that the server listens on, taken before anything expensive is started."""

from __future__ import annotations

import errno
import ipaddress
import socket

from hyprstream_core.errors import ConfigError, Unavailable


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket bound to ``host:port``; nobody can connect until it listens.

    Raises:
        ConfigError: ``host`` is not an address of this machine, or is not a loopback address.
        Unavailable: somebody else listens there, or the port needs privileges.
    """
    family, address = _resolve(host, port)
    if not ipaddress.ip_address(address[0]).is_loopback:
        raise ConfigError(
            f"server.host: got {host!r}, which other machines can reach; without authentication, which this "
            "version does not have yet, only a loopback address is allowed",
            remedy="bind to 127.0.0.1 and let an authenticating reverse proxy or an ssh tunnel forward to it",
            code="config.public_bind",
            param="server.host",
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _refused(error, host, port) from None
    return listener


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # the latter of IDNA: an empty label, one of more than 63 characters
        reason = error.strerror if isinstance(error, OSError) else "it cannot be a host name"
        raise ConfigError(f"server.host: got {host!r}, which is no address: {reason}", param="server.host") from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _refused(error: OSError, host: str, port: int) -> ConfigError | Unavailable:
    if error.errno == errno.EADDRINUSE:
        return Unavailable(
            f"{host}:{port} is in use by another program",
            remedy="stop that program, or choose another port with --port or HYPRSTREAM_SERVER_PORT",
            code="server.port_in_use",
            param="server.port",
        )
    if error.errno == errno.EACCES:
        return Unavailable(
            f"port {port} needs privileges", remedy="choose a port above 1023 with --port", param="server.port"
        )
    return ConfigError(f"cannot listen on {host}:{port}: {error.strerror}", param="server.host")


def url_of(listener: socket.socket) -> str:
    """``http://address:port`` of ``listener``."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
