"""Storage: filters that stand for large content by pointers in git, and drivers that fill worktrees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from hyprstream_core.interfaces.transport import Access

Progress = Callable[[str, int, int | None], None]
"""``progress(phase, done_bytes, total_bytes_or_None)``; called often, must return quickly, never by two threads at
once. The phases "check" and "checkout" count files instead of bytes. Before large files are fetched comes, once,
``progress("fetch", num_files, total_bytes)``; after it "content" counts their bytes, those of earlier runs too,
while "resume" counts the bytes of earlier runs that are read again."""


@dataclass(frozen=True)
class StorageFilter:
    """A kind of pointer file. ``sniff`` is the exact prefix by which a blob is recognised as one;
    ``load`` names a :class:`ContentFilter`."""

    name: str
    sniff: bytes
    load: str


@dataclass(frozen=True)
class Pointer:
    """Content that lives outside git: its sha256 (64 lower-case hex digits) and size in bytes."""

    oid: str
    size: int


@dataclass(frozen=True)
class RemoteSource:
    """Where content may be fetched from: the remote's git URL, and the batch endpoint that its transport named
    (an ``http(s)`` URL, or a directory of objects for local remotes), or None to derive one.

    ``headers()`` are the headers that the remote wants to see at ``endpoint``'s own scheme, host and port, asked for
    anew before each request: they may expire. ``given`` is the URL whose credentials are meant for the endpoint: what
    the user named for it, or else ``url``.

    ``commit`` is what is being checked out, and ``paths`` says by a pointer's oid where its file is in it: for
    remotes that serve files by revision and path."""

    url: str
    endpoint: str | None = None
    headers: Callable[[], Mapping[str, str]] = dict
    given: str = ""
    commit: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)


class ContentFilter(ABC):
    """Fetches the content behind pointers. Core verifies sha256 and size of every byte that arrives
    before it is visible, whatever the implementation does. Made by core with the bounds and credentials
    of ``access``."""

    def __init__(self, access: Access | None = None) -> None:
        self.access = access or Access()

    @abstractmethod
    def parse(self, blob: bytes) -> Pointer:
        """Read a pointer blob.

        Raises:
            BadObject: the blob starts like a pointer but is not a well-formed one.
        """

    @abstractmethod
    def fetch(self, pointers: Sequence[Pointer], source: RemoteSource, write: Callable[[Pointer], ContentSink]) -> None:
        """Fetch every pointer's content, each into its own ``write(pointer)``; several threads may do so at once.

        A sink says in its ``offset`` what an earlier run has left in it: only the rest is to be fetched, or, when
        the remote can only send all of it, ``restart()`` comes first.

        Raises:
            RemoteError: the remote refused, failed, or does not have an object. What has arrived is kept.
            BadObject: it has the object, but not with the pointer's size.
        """


class ContentSink(ABC):
    """Receives one object's bytes in order. Committed only if length and digest are right; what arrived before an
    exception is kept for the next run, unless it is known to be wrong."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """How many bytes are there: ``write`` goes on after them. The pointer's size when nothing is missing, which
        may be so from the beginning."""

    @abstractmethod
    def restart(self) -> None:
        """Forget what is there: the object comes again from its first byte."""

    @abstractmethod
    def __enter__(self) -> ContentSink:
        """Begin, or go on; waits while another process fetches the same object."""

    @abstractmethod
    def __exit__(self, *exc: object) -> None:
        """On success verify and publish atomically; on an exception nothing is visible.

        Raises:
            BadObject: too few bytes, or not those of the digest; they are deleted.
        """

    @abstractmethod
    def write(self, chunk: bytes) -> None:
        """Append ``chunk``.

        Raises:
            BadObject: more bytes than the pointer announced.
            DiskFull: no space left.
        """


@dataclass(frozen=True)
class WorktreeDriver:
    """A way to fill a worktree from read-only blobs. ``load`` names a :class:`Materialiser`."""

    name: str
    load: str


class Materialiser(ABC):
    """Makes ``target`` hold the bytes of a read-only ``blob`` on the same store."""

    shares: ClassVar[bool] = False
    """Whether what it makes takes no space of its own until it is written."""

    @abstractmethod
    def probe(self, directory: Path) -> int:
        """How well this works on ``directory``'s file system: 0 is not at all, more is better."""

    @abstractmethod
    def materialise(self, blob: Path, target: Path) -> None:
        """Create ``target`` (must not exist) with ``blob``'s content.

        Raises:
            OSError: the file system refuses.
        """

    @abstractmethod
    def saved_bytes(self, path: Path) -> int:
        """Bytes of ``path`` that share storage with another file."""
