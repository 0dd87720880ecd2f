"""Remotes: reading their URLs, trusting nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from hyprstream_core.errors import RemoteError

MAX_URL = 4096
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_SCP_LIKE = re.compile(r"[^/]+:.*")


@dataclass(frozen=True)
class RemoteUrl:
    """A remote's URL: ``text`` to connect to, ``clean`` (no user, no password) to show and to record."""

    scheme: str
    text: str
    clean: str

    @property
    def host(self) -> str:
        """Who is asked, with the port, for messages."""
        return urlsplit(self.clean).netloc or self.clean


def parse_url(url: str) -> RemoteUrl:
    """Read a URL, or a local path, which becomes ``file://``.

    Raises:
        RemoteError: it is malformed (``url.invalid``), looks like an option or a command (``url.scheme``),
            or is a path where nothing is (``remote.not_found``).
    """
    if not url or len(url) > MAX_URL or not url.isprintable():
        raise _invalid(f"it must have 1 to {MAX_URL} printable characters")
    head, separator, _ = url.partition("://")
    if not separator:
        return _local(url)
    scheme = head.lower()
    if not _SCHEME.fullmatch(scheme):
        raise _bad_scheme(head)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise _invalid(str(error)) from None
    if " " in url or not (parts.netloc or parts.path):
        raise _invalid("it names no place, or contains a blank")
    if host.startswith("-") or parts.netloc.startswith("-"):
        raise _bad_scheme(parts.netloc)
    return RemoteUrl(
        scheme, f"{scheme}{url[len(head) :]}", parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    )


def _local(text: str) -> RemoteUrl:
    if text.startswith("-") or "::" in text.partition("/")[0]:
        raise _bad_scheme(text)
    if (path := _folder(text)) is not None:
        url = f"file://{quote(str(path.resolve()))}"
        return RemoteUrl("file", url, url)
    if _SCP_LIKE.fullmatch(text) and not text.startswith(("/", ".", "~")):
        raise _bad_scheme(text)
    raise RemoteError(
        f"{text!r} is neither a URL nor a folder",
        code="remote.not_found",
        remedy="give a URL such as https://host/org/model, or the path of a git repository",
        param="url",
    )


def _folder(text: str) -> Path | None:
    """The folder called ``text``, "~" expanded; None when there is none, or no such user, or the name is too long."""
    try:
        path = Path(text).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError):
        return None


def _invalid(why: str) -> RemoteError:
    return RemoteError(f"the URL is malformed: {why}", code="url.invalid", param="url")


def _bad_scheme(what: str) -> RemoteError:
    return RemoteError(
        f"cannot fetch from {what[:80]!r}",
        code="url.scheme",
        remedy="give a URL such as https://host/org/model, or the path of a git repository",
        param="url",
    )
