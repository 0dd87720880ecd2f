"""Transports: how git and RPC reach another place, chosen by URL scheme."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hyprstream_core.config import CloneSettings, Limits

if TYPE_CHECKING:
    from dulwich.client import GitClient


@dataclass(frozen=True)
class Credential:
    """What proves who asks: a password and its user, or a token, for which ``user`` is empty."""

    user: str
    secret: str = field(repr=False)


def _nobody(url: str) -> Credential | None:  # noqa: ARG001 - the default of a callback
    """Say nothing about who asks."""
    return None


@dataclass(frozen=True)
class Access:
    """How remotes may be reached; handed to every transport and storage filter.

    ``credential(url)`` is who to say one is at exactly that URL's scheme, host and port. It is asked anew for
    every place that a remote redirects or points to, so that nothing is told to a host it was not meant for.
    """

    limits: Limits = field(default_factory=Limits)
    clone: CloneSettings = field(default_factory=CloneSettings)
    credential: Callable[[str], Credential | None] = _nobody
    hub: str = "https://huggingface.co"
    """The Hugging Face style hub: repositories below it also serve files by revision and path."""

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
class Connection:
    """A git remote, ready to be asked: a dulwich client and the path to give it.

    ``content`` is where large files are: an ``http(s)`` LFS endpoint, a local directory in git-lfs's
    object layout (``aa/bb/<oid>``), or None when it should be derived from the URL.
    """

    client: GitClient
    path: str
    content: str | None = None


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
