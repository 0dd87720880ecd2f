"""Who to say one is at a remote, and to whom this is never said.

In this order: user and password in the URL that the user named, the hub's token, ``clone.tokens``, netrc. Each is
meant for one place, which is scheme, host and port, and told to that place alone::

    asked for             reached from it by redirect or link    what is sent there
    https://a:b@git.org   https://git.org/x.git                  a:b
    https://a:b@git.org   https://cdn.org, https://git.org:8443  what clone.tokens has for exactly that place, or the
                                                                 netrc entry of that host, which must be https at its
                                                                 usual port; never netrc's "default"
    https://a:b@git.org   http://git.org                         nothing, unless clone.tokens has "http://git.org"
"""

from __future__ import annotations

import netrc
import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hyprstream_core.config import CloneSettings, HubSettings
from hyprstream_core.errors import ConfigError, RemoteError
from hyprstream_core.interfaces.transport import Credential
from hyprstream_core.repo.remotes.hub import is_hub, origin

_MAX_FILE = 1 << 20
_MAX_TOKEN = 4096

Place = tuple[str, str, int]
"""Scheme, host and port."""


class Credentials:
    """Finds what the user has for a place; implements :class:`hyprstream_core.interfaces.transport.CredentialOf`."""

    def __init__(self, clone: CloneSettings, hub: HubSettings) -> None:
        """Check the table of tokens; files are read when they are needed, so that changes are seen.

        Raises:
            ConfigError: a key of ``clone.tokens`` is no host.
        """
        self._hub = hub
        self._netrc = clone.netrc
        self._tokens = {_token_place(key): token for key, token in clone.tokens.items()}

    def __call__(self, url: str, given: str = "") -> Credential | None:
        """See :class:`hyprstream_core.interfaces.transport.CredentialOf`."""
        place = _place(url)
        if place is None:
            return None
        is_named = _place(given) == place
        if is_named and (found := _in_url(given)):
            return found
        if place == _place(self._hub.endpoint) and (token := self._hub_token()):
            return token
        if token_of_place := self._tokens.get(place):
            return Credential("", token_of_place, "clone.tokens")
        return self._in_netrc(place, is_named=is_named)

    def _hub_token(self) -> Credential | None:
        if self._hub.token:
            return Credential("", self._hub.token, "hub.token (HF_TOKEN)")
        content = _read(self._hub.token_file, _MAX_TOKEN, "hub.token_file").strip()
        return Credential("", content, f"hub.token_file, {self._hub.token_file}") if content else None

    def _in_netrc(self, place: Place, *, is_named: bool) -> Credential | None:
        """The entry for a host. The user meant it for hosts that he names, else only where nobody can listen."""
        scheme, host, port = place
        if not is_named and (scheme, port) != ("https", 443):
            return None
        hosts = self._netrc_entries()
        entry = hosts.get(host.strip("[]")) or (hosts.get("default") if is_named else None)
        if entry is None or not (entry[0] or entry[2]):
            return None
        _require_private(self._netrc)
        return Credential(entry[0], entry[2], f"clone.netrc, {self._netrc}")

    def _netrc_entries(self) -> dict[str, tuple[str, str, str]]:
        if not _read(self._netrc, _MAX_FILE, "clone.netrc"):
            return {}
        try:
            entries = netrc.netrc(str(self._netrc)).hosts
        except netrc.NetrcParseError as error:  # NOTE: its message may hold a password
            raise ConfigError(
                f"{self._netrc} is no netrc file: something is wrong in line {error.lineno}",
                remedy="mend it, or name another file: clone.netrc (NETRC)",
                param="clone.netrc",
            ) from None
        return {
            host: (login or "", account or "", password or "") for host, (login, account, password) in entries.items()
        }


def unauthorized(url: str, used: Credential | None, hub: HubSettings, what: str = "") -> RemoteError:
    """The error for a remote at ``url`` that refuses, having been told ``used``; ``what`` is said before its name."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    name = f"{what}{host}"
    message = f"{name} does not accept the credentials from {used.origin}" if used else f"{name} asks for credentials"
    if is_hub(url, hub):
        remedy = "set HF_TOKEN or run: hf auth login; a gated model's terms must be accepted on its page first"
    else:
        place = host if url.startswith("https:") else f"http://{host}"
        remedy = f"add a token for {place!r} to clone.tokens, or an entry for the host to the netrc file"
    return RemoteError(message, code="remote.unauthorized", remedy=remedy, param="url")


def _place(url: str) -> Place | None:
    try:
        scheme, host, port = origin(url)
    except ValueError:
        return None
    return (scheme, host, port) if host and scheme in ("http", "https") else None


def _token_place(key: str) -> Place:
    url = key if "://" in key else f"https://{key}"
    place, rest = _place(url), url.partition("://")[2]
    if place is None or set("/?#@").intersection(rest.rstrip("/")):
        raise ConfigError(
            f"clone.tokens has {key!r}, expected a host such as 'git.example.com', 'git.example.com:8443' or "
            "'http://localhost:3000'",
            code="config.bad_value",
            param="clone.tokens",
        )
    return place


def _in_url(url: str) -> Credential | None:
    parts = urlsplit(url)
    return Credential(unquote(parts.username), unquote(parts.password or ""), "the URL") if parts.username else None


def _read(path: Path, maximum: int, key: str) -> str:
    """The text of a file, "" when there is none.

    Raises:
        ConfigError: it cannot be read, or is no text file of at most ``maximum`` bytes.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be read", key) from None
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise _unusable(path, "it is a folder", key)
    with os.fdopen(fd, "rb") as file:
        content = file.read(maximum + 1) or b""
    if len(content) > maximum:
        raise _unusable(path, f"it has more than {maximum:,} bytes", key)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _unusable(path, "it is no UTF-8 text", key) from None


def _require_private(path: Path) -> None:
    """As Python's netrc does for the default file, and ssh for keys.

    Raises:
        ConfigError: somebody else owns or may read the file.
    """
    found = path.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{path} holds a password for this host, but others may own or read the file",
            code="config.not_private",
            remedy=f"chown it to yourself and run: chmod 600 {path}",
            param="clone.netrc",
        )


def _unusable(path: Path, why: str, key: str) -> ConfigError:
    return ConfigError(f"cannot use {path} of {key}: {why}", remedy=f"mend it, or set {key}", param=key)
