"""Who makes a commit or tag, in the form that git writes it."""

from __future__ import annotations

import os
import pwd
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from hyprstream_core.config import UserSettings
from hyprstream_core.errors import InvalidRequest

_CRUD = "".join(map(chr, range(33))) + ".,:;<>\"\\'"
"""What git takes off both ends of a name or address (``ident.c``)."""
_MAX_CHARS = 200


@dataclass(frozen=True)
class Identity:
    """A name and an address, clean."""

    name: str
    email: str

    def stamp(self, now: float | None = None) -> bytes:
        """``Name <address> seconds zone``, as in a commit."""
        seconds = int(time.time() if now is None else now)
        minutes = time.localtime(seconds).tm_gmtoff // 60
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
        return f"{self.name} <{self.email}> {seconds} {zone}".encode("utf-8", "surrogateescape")


def committer(settings: UserSettings, env: Mapping[str, str]) -> Identity:
    """``GIT_COMMITTER_NAME`` and ``GIT_COMMITTER_EMAIL`` as for git, else the settings ``user.name`` and
    ``user.email``, else (also as git does) the account's name and ``login@host``.

    Raises:
        InvalidRequest: a name or address that was given has nothing in it.
    """
    name = env.get("GIT_COMMITTER_NAME") or settings.name
    email = env.get("GIT_COMMITTER_EMAIL") or settings.email
    return Identity(
        _clean(name or _account_name(), "name"),
        _clean(email or f"{_account()[0]}@{socket.gethostname() or 'localhost'}", "email"),
    )


def _account() -> tuple[str, str]:
    """Login and real name of the user."""
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return f"uid{os.getuid()}", ""
    return entry.pw_name, entry.pw_gecos.split(",")[0].replace("&", entry.pw_name.capitalize())


def _account_name() -> str:
    login, name = _account()
    return name.strip(_CRUD) or login


def _clean(text: str, what: str) -> str:
    """Without what would break the line that it stands in, and what git takes off its ends."""
    clean = re.sub(r"[<>\x00-\x1f\x7f]", "", text).strip(_CRUD)
    if not clean:
        raise InvalidRequest(
            f"the {what} {text[:80]!r} of whoever makes this has nothing in it",
            remedy=f"hyprstream --set user.{what}=… , or GIT_COMMITTER_{what.upper()}",
            param=f"user.{what}",
        )
    return clean[:_MAX_CHARS]
