"""git's smart protocol over ``http(s)://``.

Source: https://git-scm.com/docs/http-protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from dulwich.client import Urllib3HttpGitClient, default_urllib3_manager
from dulwich.config import ConfigFile

from hyprstream_core.builtin.transports.streams import REF_BYTES
from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import Access, Connection, Transport
from hyprstream_core.repo.remotes.credentials import unauthorized

_RETRIES = urllib3.Retry(connect=2, read=0, status=0, other=0, redirect=5)


class Http(Transport):
    """git's smart protocol over HTTP. Each host is told the credentials that are meant for it, and no others."""

    def connect(self, url: str) -> Connection:
        """See :meth:`Transport.connect`; nothing is sent yet."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise RemoteError("the URL names no host", code="url.invalid", param="url")
        return Connection(HttpClient(url, self.access), "")


class _Pool(urllib3.PoolManager):
    """A pool that retries as we want it to. It drops ``Authorization`` where a redirect leaves the place."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "retries": _RETRIES})


class HttpClient(Urllib3HttpGitClient):
    """dulwich's client, with our configuration instead of the user's, bounded where it reads all at once."""

    def __init__(self, url: str, access: Access) -> None:
        parts = urlsplit(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        config = ConfigFile()
        manager = default_urllib3_manager(config, pool_manager_cls=_Pool, base_url=bare, timeout=access.timeout)
        super().__init__(bare, pool_manager=manager, config=config, timeout=access.timeout)
        self._given, self._access = url, access
        self._discovery_bytes = access.limits.repo_refs * REF_BYTES
        self._pack_bytes = access.limits.repo_pack_bytes + self._discovery_bytes

    def close(self) -> None:
        """Close the connections."""
        self.pool_manager.clear()

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: ARG002 - every status but 200 is an error here
    ) -> tuple[Any, Callable[[int], bytes]]:
        who = self._access.credential(url, self._given)
        sent = {**(headers or {}), **({"Authorization": who.basic} if who else {})}
        response, read = super()._http_request(url, sent, data, raise_for_status=False)
        kind = response.headers.get("Content-Type") or ""
        if response.status != 200 or not (data is not None or kind.startswith("application/x-git-")):
            response.close()  # dulwich would leave it open
        if response.status in (401, 403):
            asking = urljoin(url, str(response.geturl() or ""))
            raise unauthorized(asking, who if asking == url else None, self._access.hub)
        if error := _refusal(response.status, is_git=data is not None or kind.startswith("application/x-git-")):
            raise error
        listing = data is None or (isinstance(data, bytes) and b"command=ls-refs" in data[:64])
        return response, _bounded(read, self._discovery_bytes if listing else self._pack_bytes)


def _refusal(status: int, *, is_git: bool) -> RemoteError | None:
    if status == 404 or (status == 200 and not is_git):
        return RemoteError("there is no git repository at that URL", code="remote.not_found", param="url")
    return RemoteError(f"the remote answers {status}", remedy="try again later") if status != 200 else None


def _bounded(read: Callable[[int], bytes], maximum: int) -> Callable[[int], bytes]:
    """``read``, which refuses to go beyond ``maximum`` bytes in total."""
    done = 0

    def bounded(size: int) -> bytes:
        nonlocal done
        chunk = read(size)
        done += len(chunk)
        if done > maximum:
            raise RemoteError(f"the remote sends more than {maximum:,} bytes", code="remote.limit")
        return chunk

    return bounded
