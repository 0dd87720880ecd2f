"""Requests to a remote and to the places that it points to, each with the credentials of its own host.

SECURITY: a redirect is followed here, not by the HTTP library: what proves who we are is asked for anew by URL,
and headers that a remote wants to be sent to one place are not sent to another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3

from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import Access, Credential
from hyprstream_core.repo.remotes.credentials import unauthorized
from hyprstream_core.repo.remotes.hub import origin
from hyprstream_core.repo.remotes.network import network_error

CONNECTIONS = 3
"""Large files that are fetched at once."""
_REDIRECTS = 5


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


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL, comparable.

    Raises:
        RemoteError: it is no ``http(s)`` URL (code ``url.scheme``).
    """
    with suppress(ValueError):
        scheme, host, port = origin(url)
        if scheme in ("http", "https") and host:
            return scheme, host, port
    raise RemoteError("the remote names a place for a large file that is no http(s) URL", code="url.scheme")


class Web:
    """Connections to one remote. Used by several threads at once; :meth:`stop` ends what they wait for."""

    def __init__(self, access: Access, given: str) -> None:
        """``given`` is the URL that the user named: a user and password in it are for its own host."""
        self._access, self._given = access, given
        self._timeout = access.timeout
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
            RemoteError: the network failed, also inside the block; it leads to nowhere; or who asks is refused
                (code ``remote.unauthorized``).
        """
        url = place.url
        for _ in range(_REDIRECTS + 1):
            self.check()
            who = self._who(place, url)
            sent = {"Accept-Encoding": "identity", **headers, **self._private(place, url, who)}
            with self._errors_named(url), self._answer(method, _without_user(url), sent, body) as response:
                if response.status in (401, 403):
                    raise unauthorized(url, who, self._access.hub, "the store of large files at ")
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

    def _who(self, place: Place, url: str) -> Credential | None:
        """Who to say one is to the host of ``url``; nobody where the headers that are meant for it say that."""
        if "authorization" in {name.lower() for name in self._meant(place, url)}:
            return None
        return self._access.credential(url, self._given)

    def _private(self, place: Place, url: str, who: Credential | None) -> dict[str, str]:
        """What only the host of ``url`` is told."""
        known: dict[str, str] = {}
        if who is not None:
            is_bearer = place.is_file and not who.user
            known = {"Authorization": f"Bearer {who.secret}" if is_bearer else who.basic}
        return {**known, **self._meant(place, url)}

    @staticmethod
    def _meant(place: Place, url: str) -> Mapping[str, str]:
        return place.headers if origin_of(url) == origin_of(place.url) else {}

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


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _next(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise RemoteError("the remote redirects to what is no URL", code="url.scheme") from None


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
