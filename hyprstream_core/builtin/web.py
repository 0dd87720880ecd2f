"""Requests to a remote and to the places that it points to, each with the credentials of its own host.

SECURITY: a redirect is followed here, not by the HTTP library: what proves who we are is asked for anew by URL,
and headers that a remote wants to be sent to one place are not sent to another.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import urllib3

from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import Access, Credential
from hyprstream_core.repo.network import network_error

CONNECTIONS = 3
"""Large files that are fetched at once."""
_REDIRECTS = 5
_TOKEN_USER = "x-access-token"  # noqa: S105 - the user name that stands for a token
_PORTS = {"http": 80, "https": 443}


class Stopped(Exception):
    """Another file failed, or the caller was interrupted."""


@dataclass(frozen=True)
class Place:
    """Where something is, with the headers that are meant for its host alone.

    ``is_file`` tells a file's own address, to which a token goes as a bearer token, from an LFS API, where it is
    a password.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_file: bool = False


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL, comparable.

    Raises:
        RemoteError: it is no ``http(s)`` URL (code ``url.scheme``).
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in _PORTS and parts.hostname:
            return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
    except ValueError:
        pass
    raise RemoteError("the remote names a place for a large file that is no http(s) URL", code="url.scheme")


class Web:
    """Connections to one remote. Used by several threads at once; :meth:`stop` ends what they wait for."""

    def __init__(self, access: Access, home: str) -> None:
        """``home`` is the remote's URL: a user and password in it are for its own host."""
        self._timeout = access.timeout
        self._credential = access.credential
        self._home, self._own = origin(home), _credential_of(urlsplit(home))
        timeout = urllib3.Timeout(connect=self._timeout, read=self._timeout)
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=CONNECTIONS)
        self._open = set[urllib3.HTTPResponse]()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def stop(self) -> None:
        """Make every thread that uses this raise :class:`Stopped` soon."""
        self._stopped.set()
        with self._lock:
            for response in self._open:
                with suppress(ValueError, RuntimeError, OSError):  # it has ended meanwhile
                    response.shutdown()

    def check(self) -> None:
        """Raise :class:`Stopped` when :meth:`stop` was called."""
        if self._stopped.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait, unless stopped."""
        self._stopped.wait(seconds)
        self.check()

    @contextmanager
    def request(
        self, method: str, place: Place, headers: Mapping[str, str], body: bytes | None = None
    ) -> Iterator[urllib3.HTTPResponse]:
        """The answer, its body unread, after at most five redirects; ``headers`` are sent to all hosts on the way.

        Raises:
            RemoteError: the network failed, also inside the block; or it leads to nowhere.
        """
        url = place.url
        for _ in range(_REDIRECTS + 1):
            self.check()
            sent = {"Accept-Encoding": "identity", **headers, **self._private(place, url)}
            with self._errors_named(url), self._answer(method, _without_user(url), sent, body) as response:
                if not (target := response.get_redirect_location()):
                    yield response
                    return
            url = _next(url, target)
        raise RemoteError(f"the remote redirects more than {_REDIRECTS} times", code="remote.limit")

    @contextmanager
    def _answer(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Iterator[urllib3.HTTPResponse]:
        response: Any = self._pool.request(
            method, url, body=body, headers=headers, redirect=False, preload_content=False
        )
        with self._lock:
            self._open.add(response)
        try:
            self.check()
            yield response
        finally:
            with self._lock:
                self._open.discard(response)
            response.close()

    def _private(self, place: Place, url: str) -> Mapping[str, str]:
        """What only the host of ``url`` is told: who asks, unless the headers that are meant for it say so."""
        meant = place.headers if origin(url) == origin(place.url) else {}
        if "authorization" in {name.lower() for name in meant}:
            return meant
        return {**self._authorization(url, bearer=place.is_file), **meant}

    def _authorization(self, url: str, *, bearer: bool) -> dict[str, str]:
        own = self._own if origin(url) == self._home else None
        known = own or self._credential(_without_user(url))
        if known is None:
            return {}
        if bearer and not known.user:
            return {"Authorization": f"Bearer {known.secret}"}
        plain = f"{known.user or _TOKEN_USER}:{known.secret}".encode()
        return {"Authorization": f"Basic {base64.b64encode(plain).decode()}"}

    @contextmanager
    def _errors_named(self, url: str) -> Iterator[None]:
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            host = urlsplit(_without_user(url)).netloc
            if named := network_error(error, host, self._timeout):
                raise named from error
            what = (
                f"the connection to {host} broke off"
                if isinstance(error, urllib3.exceptions.ProtocolError)
                else f"{host} failed: {type(error).__name__}"
            )
            raise RemoteError(what, remedy="try again") from error


def _credential_of(parts: SplitResult) -> Credential | None:
    if not parts.username:
        return None
    return Credential(unquote(parts.username), unquote(parts.password or ""))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _next(url: str, target: str) -> str:
    try:
        found = urljoin(url, target)
    except ValueError:
        raise RemoteError("the remote redirects to what is no URL", code="url.scheme") from None
    if origin(url)[0] == "https" and origin(found)[0] != "https":
        raise RemoteError("the remote redirects from https to http", code="url.scheme")
    return found


def in_parallel(jobs: list[Callable[[], None]], web: Web) -> None:
    """Do all jobs, a few at once. The first that fails, or an interrupt of the caller, stops the others.

    The threads are daemons: one that waits for a silent host does not keep an interrupted program from ending.
    """
    if len(jobs) < 2:
        for job in jobs:
            job()
        return
    turn, results = iter(jobs), list[BaseException | None]()
    lock, news = threading.Lock(), threading.Semaphore(0)

    def work() -> None:
        while True:
            with lock:
                job = next(turn, None)
            if job is None:
                return
            failure: BaseException | None = None
            try:
                web.check()
                job()
            except BaseException as error:
                failure = error
            results.append(failure)
            news.release()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(CONNECTIONS, len(jobs)))]
    try:
        for thread in threads:
            thread.start()
        for number in range(len(jobs)):
            news.acquire()
            if (error := results[number]) is not None:
                raise error
    except BaseException:
        web.stop()
        raise
    finally:
        for thread in threads:
            thread.join(5)
