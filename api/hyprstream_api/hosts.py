"""Which names this server answers to.

Without authentication, being reachable from this machine alone is the whole access control, and a browser on this
machine reaches us for every page that it shows. Two rules keep pages out:

- A page of ``evil.example`` whose name is made to resolve to 127.0.0.1 (DNS rebinding) would be of our own origin to
  the browser. It still asks for its own name: ``Host`` has to be a name of ours.
- A page of another site may send a request without reading the answer. ``Origin`` says so: what changes or computes
  anything is refused then.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import falcon
import falcon.asgi

from hyprstream_api.errors import ForeignOrigin, UnknownHost
from hyprstream_core.config import ServerSettings
from hyprstream_core.errors import ConfigError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?", re.ASCII | re.IGNORECASE)
"""A ``Host`` header: an IPv6 address in brackets or a name, and maybe a port (RFC 9110, section 7.2)."""


def names_of(settings: ServerSettings) -> tuple[str, ...]:
    """The names beside loopback's own: ``server.host`` and ``server.allowed_hosts``.

    Raises:
        ConfigError: one of the latter is nothing that a request could be addressed to.
    """
    for name in settings.allowed_hosts:
        if _AUTHORITY.fullmatch(f"[{name}]" if ":" in name else name) is None:
            raise ConfigError(
                f"server.allowed_hosts: got {name!r}, expected a host name or an address, without scheme and port",
                remedy="write it as in a Host header: models.example.org (a name that is not ASCII as xn--…)",
                code="config.bad_value",
                param="server.allowed_hosts",
            )
    return (settings.host, *settings.allowed_hosts)


class Hosts:
    """Falcon middleware: refuses requests for another host, and changes that a page of another site asks for."""

    def __init__(self, names: Iterable[str]) -> None:
        """``names`` are ours beside ``localhost`` and the loopback addresses."""
        self._names = frozenset({"localhost", *map(_normal, names)})

    # Falcon names the arguments; this answers by raising.
    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        """Check one request before it is routed.

        Raises:
            UnknownHost: it is for no name of ours, or for none.
            ForeignOrigin: a page of another site sends it, and it is not a mere question.
        """
        if not self._knows(host := req.get_header("Host") or ""):
            raise UnknownHost(
                f"this server does not answer for the host {host!r}",
                remedy="address it as localhost, or have its operator add the name to server.allowed_hosts",
            )
        origin = req.get_header("Origin")
        if origin is not None and req.method not in SAFE_METHODS and not self._is_ours(origin):
            raise ForeignOrigin(f"pages of {origin!r} may not use this server")

    def _is_ours(self, origin: str) -> bool:
        """Whether a page of one of our names sends; on any port, as browsers count sites."""
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and self._knows(host)

    def _knows(self, authority: str) -> bool:
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        name = _normal(found[1] or found[2])
        return name in self._names or _is_loopback(name)


def _normal(name: str) -> str:
    """One spelling: lower case, without the root's dot, an address as Python writes it."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().removesuffix(".")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
