"""From a remote's URL to what can be asked: a connection for git, a source for large files."""

from __future__ import annotations

from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.storage import RemoteSource
from hyprstream_core.interfaces.transport import Access, Connection
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.remotes import hub
from hyprstream_core.repo.remotes.urls import RemoteUrl, parse_url


def connect(parts: Parts, address: RemoteUrl) -> Connection:
    """A connection to ``address``, which is :func:`hyprstream_core.repo.remotes.hub.located`.

    Raises:
        RemoteError: nobody speaks its scheme, or it is not usable.
    """
    return parts.transport(address.scheme).connect(address.text)


def parse_lfs_url(text: str) -> RemoteUrl:
    """Read the URL of an LFS endpoint.

    Raises:
        RemoteError: it is malformed, or not http(s).
    """
    url = parse_url(text)
    if url.scheme not in ("http", "https"):
        raise RemoteError(
            f"cannot fetch large files from a {url.scheme}:// URL",
            code="url.scheme",
            remedy="give the http(s) URL of an LFS server, such as https://host/org/model.git/info/lfs",
            param="lfs_url",
        )
    return url


def content_source(access: Access, address: RemoteUrl, connection: Connection, lfs: RemoteUrl | None) -> RemoteSource:
    """Where the large files of ``address`` are: at ``lfs`` when the user has named that, else where the remote says.
    Asks the remote, when its transport has to.

    Raises:
        RemoteError: the remote failed.
    """
    if lfs is not None:
        found = hub.located(lfs, access.hub)
        return RemoteSource(address.text, _without_user(found.text), given=found.text)
    ask = connection.ask_content
    if ask is None:
        endpoint = connection.content
        if endpoint is not None and "://" in endpoint:
            endpoint = hub.place(endpoint, access.hub)
        return RemoteSource(address.text, endpoint, given=address.text)
    endpoint = hub.place(ask().endpoint, access.hub)
    return RemoteSource(address.text, endpoint, headers=lambda: ask().headers, given=address.text)


def _without_user(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"
