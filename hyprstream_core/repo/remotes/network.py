"""What went wrong on the way to a remote, said so that somebody can do something about it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from hyprstream_core.errors import RemoteError


def network_error(error: BaseException, host: str, timeout: float) -> RemoteError | None:
    """The error for an exception of a network call to ``host``; None when the network was not what failed.

    ``timeout`` is how many seconds the remote may stay silent.
    """
    from urllib3 import exceptions as http

    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror | http.NameResolutionError) for cause in causes):
        return _unreachable(f"cannot find {host}: the name is not known", "check the URL's host and the name service")
    if refused := _first(causes, ConnectionRefusedError):
        return _unreachable(f"cannot connect to {host}: {_reason(refused)}", "check the URL's port, or try again later")
    if failed := _first(causes, ssl.SSLError, http.SSLError):
        return RemoteError(
            f"no secure connection to {host}: {_reason(failed)}",
            code="remote.tls",
            remedy="check the URL, this machine's clock and its trusted certificates",
            param="url",
        )
    if _first(causes, TimeoutError, http.ReadTimeoutError) or _connect_timed_out(causes):
        return RemoteError(
            f"{host} did not answer within {timeout:g} s",
            code="remote.timeout",
            remedy="try again, or raise clone.timeout (HYPRSTREAM_CLONE_TIMEOUT)",
        )
    if lost := _first(causes, ConnectionError):
        return RemoteError(f"the connection to {host} broke off: {_reason(lost)}", remedy="try again")
    if unreachable := _first(causes, http.NewConnectionError):
        low = next((cause for cause in causes if isinstance(cause, OSError)), unreachable)
        return _unreachable(f"cannot connect to {host}: {_reason(low)}", "check the URL and the network")
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and everything that led to it: explicit causes, contexts, and urllib3's ``reason``."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        reason = getattr(current, "reason", None)
        pending += [reason if isinstance(reason, BaseException) else None, current.__cause__, current.__context__]


def _first(causes: list[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    return next((cause for cause in causes if isinstance(cause, kinds)), None)


def _connect_timed_out(causes: list[BaseException]) -> bool:
    """urllib3's refused connections are timeouts by class; those are not meant."""
    from urllib3 import exceptions as http

    return any(isinstance(c, http.ConnectTimeoutError) and not isinstance(c, http.NewConnectionError) for c in causes)


def _reason(error: BaseException) -> str:
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return str(text)[:200].lower() if isinstance(error, ConnectionError) else str(text)[:200]


def _unreachable(message: str, remedy: str) -> RemoteError:
    return RemoteError(message, code="remote.unreachable", remedy=remedy, param="url")
