"""Fetching everything a remote has, within limits, trusting nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, HyprstreamError, RefError, RemoteError, UnsafeTree
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.interfaces.transport import Connection
from hyprstream_core.repo import pack
from hyprstream_core.repo.durable import FULL
from hyprstream_core.repo.gitdir import GitDir, is_oid
from hyprstream_core.repo.network import network_error
from hyprstream_core.repo.refs import check_ref

_MAX_CHATTER = 1 << 20


@dataclass(frozen=True)
class Fetched:
    """What a remote had: its branches and tags by short name, and the branch that its HEAD names."""

    heads: Mapping[str, str]
    tags: Mapping[str, str]
    default: str


class _Incoming:
    """Counts what arrives, and stops what is too much."""

    def __init__(self, file: BinaryIO, limits: Limits, progress: Progress) -> None:
        self._file = file
        self._limits = limits
        self._progress = progress
        self.received = self._chatter = 0
        self.refs: dict[str, str] = {}

    def wants(self, refs: Mapping[bytes, bytes], _depth: int | None = None) -> list[bytes]:
        """All branches and tags, for dulwich's ``determine_wants``. Refs that git would not allow are ignored."""
        if len(refs) > self._limits.repo_refs:
            raise RemoteError(
                f"the remote has {len(refs):,} references, at most {self._limits.repo_refs:,} are allowed",
                code="remote.limit",
            )
        for name, oid in refs.items():
            text, value = _ref_name(name), (oid or b"").decode("ascii", "replace")
            if text and is_oid(value):
                self.refs[text] = value
        return [oid.encode() for oid in dict.fromkeys(self.refs.values())]

    def write(self, chunk: bytes) -> int:
        """Take a piece of the pack."""
        self.received += len(chunk)
        if self.received > self._limits.repo_pack_bytes:
            raise UnsafeTree(
                f"the remote's git pack has more than {self._limits.repo_pack_bytes:,} bytes",
                code="repo.too_large",
                remedy="large files belong in LFS; raise limits.repo_pack_bytes if you trust the remote",
            )
        self._file.write(chunk)
        self._progress("git", self.received, None)
        return len(chunk)

    def hear(self, message: bytes) -> None:
        """Take a progress message of the server, which nobody reads."""
        self._chatter += len(message)
        if self._chatter > _MAX_CHATTER:
            raise RemoteError("the remote sends endless messages", code="remote.limit")


def _ref_name(raw: bytes) -> str | None:
    """A branch's or tag's full name, or "HEAD"; None for what is not fetched."""
    if raw == b"HEAD":
        return "HEAD"
    if not raw.startswith((b"refs/heads/", b"refs/tags/")) or raw.endswith(b"^{}"):
        return None
    try:
        short = check_ref(raw.decode().split("/", 2)[2])
    except (UnicodeDecodeError, RefError):
        return None
    return raw.decode() if short != "HEAD" else None


def fetch(
    connection: Connection, git: GitDir, limits: Limits, progress: Progress, *, host: str, timeout: float
) -> Fetched:
    """Fetch all branches and tags with their whole history into the empty repository ``git``.

    ``host`` is who is asked, and ``timeout`` how many seconds it may stay silent: both for messages.

    Raises:
        RemoteError: the remote failed, is empty, or has no branch.
        UnsafeTree: it sends too much (``repo.too_large``).
        BadObject: what it sends is damaged.
    """
    from dulwich.object_store import ObjectStoreGraphWalker

    file, commit, abort = git.store.add_pack()
    incoming = _Incoming(file, limits, progress)
    fetch_pack: Any = connection.client.fetch_pack  # its types tell names of references from ids; both are bytes
    try:
        with _errors_named(host, timeout):
            result = fetch_pack(
                connection.path, incoming.wants, ObjectStoreGraphWalker([], lambda _oid: []), incoming.write,
                progress=incoming.hear,
            )  # fmt: skip
        if not incoming.refs or not incoming.received:
            raise RemoteError("the remote repository is empty", code="remote.empty")
        if result.object_format not in (None, "sha1"):
            raise RemoteError(
                f"the remote repository uses {result.object_format} ids, expected sha1", code="remote.object_format"
            )
        file.flush()
        file.seek(0)
        pack.scan(file, incoming.received, limits)
        file.seek(0, 2)
    except BaseException:
        abort()
        raise
    progress("index", incoming.received, incoming.received)
    try:
        _index(commit)
    finally:
        file.close()
    return _sort(incoming.refs, result.symrefs)


def _index(commit: Callable[[], object]) -> None:
    try:
        commit()
    except (HyprstreamError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged pack provokes in the library
        raise BadObject(
            f"the git pack is damaged: {type(error).__name__}: {error}",
            remedy="try again; if it stays, the remote is broken",
        ) from error


@contextmanager
def _errors_named(host: str, timeout: float) -> Iterator[None]:
    """What the library raises in a network call becomes a :class:`RemoteError`."""
    from dulwich.client import HTTPUnauthorized
    from dulwich.errors import NotGitRepository

    try:
        yield
    except HyprstreamError:
        raise
    except NotGitRepository as error:
        raise RemoteError("there is no git repository at that URL", code="remote.not_found", param="url") from error
    except HTTPUnauthorized as error:
        raise RemoteError("the remote asks for credentials", code="remote.unauthorized", param="url") from error
    except MemoryError:
        raise
    except Exception as error:  # KeyError, AssertionError, … : dulwich on a remote that lies
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        if named := network_error(error, host, timeout):
            raise named from error
        raise RemoteError(f"the remote failed: {type(error).__name__}: {error}", remedy="try again later") from error


def _sort(refs: Mapping[str, str], symrefs: Mapping[bytes, bytes]) -> Fetched:
    heads = {n.removeprefix("refs/heads/"): o for n, o in refs.items() if n.startswith("refs/heads/")}
    tags = {n.removeprefix("refs/tags/"): o for n, o in refs.items() if n.startswith("refs/tags/")}
    for names, kind in ((heads, "branch"), (tags, "tag")):
        for name in names:
            if clash := next((p for p in _parents(name) if p in names), None):
                raise RemoteError(f"the remote has a {kind} {clash!r} and a {kind} {name!r}; git allows only one")
    return Fetched(heads, tags, _default(heads, refs.get("HEAD"), symrefs.get(b"HEAD")))


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _default(heads: Mapping[str, str], head: str | None, symref: bytes | None) -> str:
    """The branch that HEAD names. When the remote does not say, or HEAD is detached: one that is at its commit."""
    if not heads:
        raise RemoteError("the remote repository has no branch", code="remote.empty")
    named = (symref or b"").decode("utf-8", "replace").removeprefix("refs/heads/")
    if named in heads:
        return named
    same = sorted(name for name, oid in heads.items() if oid == head)
    return same[0] if same else sorted(heads)[0]
