"""The URLs of remotes: read once, before anything else looks at them.

::

    user@host:org/model     →  connect to ssh://user@host/~/org/model, record as it is
    https://a:b@host/model  →  connect to it as it is, record https://host/model
    ./folder                →  file:///the/whole/path/folder

SECURITY: a host or user that ssh would take for an option, and what git takes for a command (``ext::``), is refused
here (CVE-2017-1000117), and so is what a shell would read more into (CVE-2023-51385).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from hyprstream_core.errors import RemoteError

MAX_URL = 4096
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_SCP_LIKE = re.compile(r"(?:(?P<user>[^/@:]+)@)?(?P<host>[^/@:\[\]]{2,}|\[[0-9A-Fa-f:]+\]):(?P<path>.+)")
_COLON = re.compile(r"[^/]+:.*")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]*")


@dataclass(frozen=True)
class RemoteUrl:
    """A remote's URL: ``text`` to connect to, ``clean`` (no password) to show and to record."""

    scheme: str
    text: str
    clean: str

    @property
    def named(self) -> str:
        """What a default name is taken from: the URL with the path behind a slash, and without a password."""
        return self.text if self.scheme == "ssh" else self.clean

    @property
    def host(self) -> str:
        """Who is asked, with the port, for messages."""
        return urlsplit(self.text).netloc.rpartition("@")[2] or self.clean


def parse_url(url: str) -> RemoteUrl:
    """Read a URL, ``[user@]host:path`` for ssh, or a local path, which becomes ``file://``.

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
    text = f"{scheme}{url[len(head) :]}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise _invalid(str(error)) from None
    if " " in url or not (parts.netloc or parts.path):
        raise _invalid("it names no place, or contains a blank")
    if host.startswith("-") or parts.netloc.startswith("-"):
        raise _bad_scheme(parts.netloc)
    if scheme in ("ssh", "git"):
        return RemoteUrl(scheme, _checked(text), text)
    return RemoteUrl(scheme, text, parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())


def stream_parts(url: str) -> tuple[str, str, int | None, str]:
    """User (may be empty), host, port and path of an ``ssh://`` or ``git://`` URL, as git reads them.

    ``/~/x``, below the home folder, becomes ``x``: what ``host:x`` sends, which hosts of repositories expect.
    ``/~user/x`` becomes ``~user/x``. Everything behind the host is path, also "?" and "#".
    """
    place, _, rest = url.partition("://")[2].partition("/")
    user, _, netloc = place.rpartition("@")
    parts, path = urlsplit(f"//{netloc}"), "/" + unquote(rest)
    if path.startswith("/~"):
        path = path.removeprefix("/~/") if path.startswith("/~/") else path[1:]
    return unquote(user), netloc.removesuffix(f":{parts.port}").rstrip(":"), parts.port, path


def _checked(url: str) -> str:
    """``url`` itself, which is ``ssh://`` or ``git://``.

    Raises:
        RemoteError: its user, host or path are not what ssh or a git server may be given.
    """
    user, host, _, path = stream_parts(url)
    if user.startswith("-") or host.startswith("-") or path.startswith("-"):
        raise _bad_scheme(url)
    if user and url.startswith("git:"):
        raise _invalid("git:// knows no users")
    if ":" in user:
        raise _invalid("ssh takes no password in it; use a key")
    if not _HOST.fullmatch(host) or (user and not _USER.fullmatch(user)):
        raise _invalid("its user and host may have ASCII letters, digits, '.', '-' and '_'")
    if not path.strip("/") or not path.isprintable():
        raise _invalid("it names no repository on the host, or one with control characters")
    return url


def _local(text: str) -> RemoteUrl:
    if text.startswith("-") or "::" in text.partition("/")[0].partition("[")[0]:
        raise _bad_scheme(text)
    if (path := _folder(text)) is not None:
        url = f"file://{quote(str(path.resolve()))}"
        return RemoteUrl("file", url, url)
    if not text.startswith(("/", ".", "~")) and _COLON.fullmatch(text):
        return _scp_like(text)
    raise RemoteError(
        f"{text!r} is neither a URL nor a folder", code="remote.not_found", remedy=_meant(text), param="url"
    )


def _scp_like(text: str) -> RemoteUrl:
    """``[user@]host:path``. One letter before the colon is a drive of another system, not a host."""
    match = _SCP_LIKE.fullmatch(text)
    if match is None or match["path"].startswith("-"):
        raise _bad_scheme(text)
    user, path = f"{match['user']}@" if match["user"] else "", quote(match["path"], safe="/~")
    place = path if path.startswith("/") else f"/{path}" if path.startswith("~") else f"/~/{path}"
    return RemoteUrl("ssh", _checked(f"ssh://{user}{match['host']}{place}"), text)


def _meant(text: str) -> str:
    if _HUB_NAME.fullmatch(text):
        return f"for the model of that name on the hub: https://huggingface.co/{text}"
    return "give a URL such as https://host/org/model, or the path of a git repository"


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
