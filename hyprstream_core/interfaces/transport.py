"""Transports: how git and RPC reach another place, chosen by URL scheme."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hyprstream_core.config import CloneSettings, HubSettings, Limits

if TYPE_CHECKING:
    from dulwich.client import GitClient


@dataclass(frozen=True)
class Credential:
    """What proves who asks: a password and its user, or a token, for which ``user`` is empty. ``origin`` says for
    messages where it comes from: "hub.token", "the URL"."""

    user: str
    secret: str = field(repr=False)
    origin: str = ""

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header for git and LFS. Servers that take a token as password want some
        user or this one: https://docs.gitlab.com/topics/git/clone/."""
        return "Basic " + base64.b64encode(f"{self.user or 'oauth2'}:{self.secret}".encode()).decode()


class CredentialOf(Protocol):
    """Who to say one is at a URL."""

    def __call__(self, url: str, given: str = "") -> Credential | None:
        """What proves it at exactly ``url``'s scheme, host and port; None when nothing is known for that place.

        ``given`` is the URL that the user named and that led to ``url``: the same place, or one that it redirected
        or pointed to. What is meant for one place is never told to another, whatever led there.

        Raises:
            ConfigError: where it should be found cannot be read.
        """


def _nobody(url: str, given: str = "") -> Credential | None:  # noqa: ARG001 - the default of a callback
    """Say nothing about who asks."""
    return None


@dataclass(frozen=True)
class Access:
    """How remotes may be reached; handed to every transport and storage filter.

    ``credential(url, given)`` is who to say one is at exactly that URL's scheme, host and port. It is asked anew
    for every place that a remote redirects or points to, so that nothing is told to a host it was not meant for.
    """

    limits: Limits = field(default_factory=Limits)
    clone: CloneSettings = field(default_factory=CloneSettings)
    hub: HubSettings = field(default_factory=HubSettings)
    credential: CredentialOf = _nobody

    @property
    def timeout(self) -> float:
        """Seconds that a remote may stay silent."""
        return self.clone.timeout


@dataclass(frozen=True)
class GitTransport:
    """Speaks git for ``schemes`` (without ``://``). ``load`` names a :class:`Transport`."""

    name: str
    schemes: tuple[str, ...]
    load: str


@dataclass(frozen=True)
class LargeFiles:
    """Where a remote has its large files: an ``http(s)`` LFS endpoint, and headers that go to its host alone."""

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Connection:
    """A git remote, ready to be asked: a dulwich client and the path to give it.

    ``content`` is where large files are: an ``http(s)`` LFS endpoint, a local directory in git-lfs's
    object layout (``aa/bb/<oid>``), or None when it should be derived from the URL. ``ask_content`` asks the remote
    for it instead; it is called only when something is missing, and again before every request for content: what it
    says may expire.
    """

    client: GitClient
    path: str
    content: str | None = None
    ask_content: Callable[[], LargeFiles] | None = None


class Transport(ABC):
    """Turns a URL into a :class:`Connection`. Made by core with the bounds and credentials of ``access``."""

    def __init__(self, access: Access | None = None) -> None:
        self.access = access or Access()

    @abstractmethod
    def connect(self, url: str) -> Connection:
        """Prepare to talk to ``url``; every network wait is bounded by ``access.timeout``.

        Raises:
            RemoteError: the URL is not usable, or the place does not answer.
        """


@dataclass(frozen=True)
class RpcTransport:
    """Carries RPC for endpoint ``schemes``. ``load`` names an :class:`RpcLink`."""

    name: str
    schemes: tuple[str, ...]
    load: str


class RpcLink(ABC):
    """Prepares an endpoint for binding; ZeroMQ does the carrying."""

    @abstractmethod
    def prepare_bind(self, endpoint: str) -> None:
        """Make ``endpoint`` safe to bind: private directory, exclusive lock.

        Raises:
            Conflict: another live process serves it.
            Unavailable: it must not be bound (a public address without keys, a foreign directory).
        """

    def bound(self, endpoint: str) -> None:  # noqa: B027 - most transports have nothing to add
        """The socket is bound now; tighten what binding has left open."""

    @abstractmethod
    def release(self, endpoint: str) -> None:
        """Undo :meth:`prepare_bind` after the socket is closed."""
