"""The hub: which URLs are its own, and where they are really asked."""

from __future__ import annotations

from urllib.parse import urlsplit

from hyprstream_core.config import HubSettings
from hyprstream_core.errors import RemoteError
from hyprstream_core.repo.remotes.urls import RemoteUrl, stream_parts

HOSTS = frozenset({"huggingface.co", "hf.co"})
"""Names that stand for ``hub.endpoint``, when they are reached by https."""


def is_hub(url: str, hub: HubSettings) -> bool:
    """Whether ``url`` is answered by the hub: by one of its names, by ssh too, or at the endpoint."""
    if url.startswith("ssh://"):
        return stream_parts(url)[1].lower() in HOSTS
    return _has_hub_name(url) or origin(url) == origin(hub.endpoint)


def place(url: str, hub: HubSettings) -> str:
    """Where to ask for ``url``: at ``hub.endpoint`` for a URL of the hub, else at itself.

    User and password of the URL stay behind when that is another place: they are the hub's own.

    Raises:
        RemoteError: it is a URL of the hub, and ``hub.offline`` forbids that (code ``remote.offline``).
    """
    if hub.offline and is_hub(url, hub):
        raise RemoteError(
            "the hub is switched off by hub.offline",
            code="remote.offline",
            remedy="unset HF_HUB_OFFLINE, or set hub.offline to false",
            param="url",
        )
    if not _has_hub_name(url) or origin(hub.endpoint) == origin("https://huggingface.co") == origin(url):
        return url
    parts = urlsplit(url)
    return f"{hub.endpoint.rstrip('/')}{parts._replace(scheme='', netloc='').geturl()}"


def located(address: RemoteUrl, hub: HubSettings) -> RemoteUrl:
    """``address`` with the place where it is asked; what is recorded stays.

    Raises:
        RemoteError: as for :func:`place`.
    """
    text = place(address.text, hub)
    return RemoteUrl(text.partition("://")[0], text, address.clean)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an http(s) URL, which together are a place that a secret may be meant for.

    SECURITY: read by the library that connects; another one may see another host in ``https://a\\@b``.

    Raises:
        ValueError: it has none.
    """
    from urllib3.util import parse_url

    parts = parse_url(url)
    return parts.scheme or "", parts.host or "", parts.port or (443 if parts.scheme == "https" else 80)


def _has_hub_name(url: str) -> bool:
    scheme, host, port = origin(url)
    return (scheme, port) == ("https", 443) and host in HOSTS
