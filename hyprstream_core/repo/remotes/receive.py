"""Receiving from a remote: what it has and we lack, within limits, trusting nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, HyprstreamError, RefError, RemoteError, UnsafeTree
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.interfaces.transport import Connection
from hyprstream_core.repo.disk.durable import FULL
from hyprstream_core.repo.git import pack
from hyprstream_core.repo.git.gitdir import GitDir, is_oid
from hyprstream_core.repo.git.haves import Haves
from hyprstream_core.repo.git.history import History
from hyprstream_core.repo.refs import check_ref
from hyprstream_core.repo.remotes.network import network_error

_MAX_CHATTER = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Fetched:
    """What a remote had: its branches and tags by short name, and the branch that its HEAD names."""

    heads: Mapping[str, str]
    tags: Mapping[str, str]
    default: str | None
    """None when HEAD names no branch of the remote, and is at none's commit."""
    is_default_named: bool = True
    """Whether the remote said so, rather than that it was concluded from the commit its HEAD is at."""
    shallow: frozenset[str] = frozenset()
    """The commits whose parents we do not have afterwards."""


@dataclass(frozen=True)
class Owned:
    """What the receiving repository has already, whole: a fetch asks only for more."""

    refs: frozenset[str] = frozenset()
    """Ids that its references hold."""
    haves: Haves | None = None
    """Its commits, to be offered to the remote."""


class _Incoming:
    """Counts what arrives, and stops what is too much."""

    def __init__(self, file: BinaryIO, limits: Limits, progress: Progress, owned: frozenset[str]) -> None:
        self._file = file
        self._owned = owned
        self._limits = limits
        self._progress = progress
        self.received = self._chatter = 0
        self.refs: dict[str, str] = {}
        self.wanted: list[bytes] = []

    def wants(self, refs: Mapping[bytes, bytes], depth: int | None = None) -> list[bytes]:  # noqa: ARG002 - dulwich's
        """All branches and tags that are not ``owned``, for dulwich's ``determine_wants``. Refs that git would not
        allow are ignored."""
        if len(refs) > self._limits.repo_refs:
            raise RemoteError(
                f"the remote has {len(refs):,} references, at most {self._limits.repo_refs:,} are allowed",
                code="remote.limit",
            )
        for name, oid in refs.items():
            text, value = _ref_name(name), (oid or b"").decode("ascii", "replace")
            if _SHA256.fullmatch(value):
                raise _other_format("sha256")
            if text and is_oid(value):
                self.refs[text] = value
        found = dict.fromkeys(oid for name, oid in self.refs.items() if name != "HEAD")
        self.wanted = [oid.encode() for oid in found if oid not in self._owned]
        return self.wanted

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
    connection: Connection,
    git: GitDir,
    limits: Limits,
    progress: Progress,
    *,
    host: str,
    timeout: float,
    owned: Owned | None = None,
    depth: int = 0,
) -> Fetched:
    """Fetch all branches and tags into ``git``, with their history as far as it is not ``owned``.

    ``host`` is who is asked, and ``timeout`` how many seconds it may stay silent: both for messages. With a
    ``depth`` other than 0 the history ends after so many commits, whatever is owned.

    Raises:
        RemoteError: the remote failed, is empty, has no branch, or can only send whole histories.
        UnsafeTree: it sends too much (``repo.too_large``).
        BadObject: what it sends is damaged.
    """
    owned = owned or Owned()
    haves = owned.haves or Haves(History(git), (), ())
    file, commit, abort = git.store.add_pack()
    incoming = _Incoming(file, limits, progress, frozenset() if depth else owned.refs)
    fetch_pack: Any = connection.client.fetch_pack  # its types tell names of references from ids; both are bytes
    try:
        with _errors_named(host, timeout):
            result = fetch_pack(
                connection.path, incoming.wants, haves, incoming.write, progress=incoming.hear,
                **({"depth": depth} if depth else {}),
            )  # fmt: skip
        count = _check(file, incoming, result, limits)
    except BaseException:
        abort()
        raise
    if count == 0:
        abort()
    else:
        progress("index", incoming.received, incoming.received)
        try:
            _index(commit)
        finally:
            file.close()
    return _sort(incoming.refs, result.symrefs, _shallow(haves, result))


def _check(file: BinaryIO, incoming: _Incoming, result: Any, limits: Limits) -> int:
    """Look through the pack before anything believes it; the number of its objects."""
    if not incoming.refs or (incoming.wanted and not incoming.received):
        raise RemoteError(
            "the remote repository is empty", code="remote.empty", remedy="push a branch to it first", param="url"
        )
    if result.object_format not in (None, "sha1"):
        raise _other_format(str(result.object_format))
    if not incoming.received:
        return 0
    file.flush()
    file.seek(0)
    count = pack.scan(file, incoming.received, limits)
    file.seek(0, 2)
    return count


def _shallow(haves: Haves, result: Any) -> frozenset[str]:
    """The commits without parents afterwards: said by a remote, or written into ``haves`` by a local client."""
    told = (haves.shallow | set(result.new_shallow or ())) - set(result.new_unshallow or ())
    found = {oid.decode("ascii", "replace") for oid in told}
    if not all(map(is_oid, found)):
        raise RemoteError("the remote ends its history at something that is no commit", code="remote.failed")
    return frozenset(found)


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
    from dulwich.errors import GitProtocolError, HangupException, NotGitRepository

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
        if isinstance(error, GitProtocolError) and "does not support shallow" in str(error):
            raise _no_shallow() from error
        if isinstance(error, HangupException) or "IncompleteRead" in str(error) or "pkt read" in str(error):
            raise RemoteError(f"the connection to {host} broke off", remedy="try again") from error
        raise RemoteError(f"the remote failed: {type(error).__name__}: {error}", remedy="try again later") from error


def _other_format(name: str) -> RemoteError:
    return RemoteError(
        f"the remote repository uses {name} ids, expected sha1",
        code="remote.object_format",
        remedy="convert it to sha1, git's default (git fast-export into a new repository), and clone that",
        param="url",
    )


def _no_shallow() -> RemoteError:
    return RemoteError(
        "the remote can only send whole histories, not the last commits alone",
        code="remote.no_shallow",
        remedy="leave out --depth (or pass --full)",
        param="depth",
    )


def _sort(refs: Mapping[str, str], symrefs: Mapping[bytes, bytes], shallow: frozenset[str]) -> Fetched:
    heads = {n.removeprefix("refs/heads/"): o for n, o in refs.items() if n.startswith("refs/heads/")}
    tags = {n.removeprefix("refs/tags/"): o for n, o in refs.items() if n.startswith("refs/tags/")}
    for names, kind in ((heads, "branch"), (tags, "tag")):
        for name in names:
            if clash := next((p for p in _parents(name) if p in names), None):
                raise RemoteError(f"the remote has a {kind} {clash!r} and a {kind} {name!r}; git allows only one")
    named = (symrefs.get(b"HEAD") or b"").decode("utf-8", "replace").removeprefix("refs/heads/")
    return Fetched(heads, tags, _default(heads, refs.get("HEAD"), named), named in heads, shallow)


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _default(heads: Mapping[str, str], head: str | None, named: str) -> str | None:
    """The branch that HEAD names. When the remote does not say, or HEAD is detached: one that is at its commit; the
    only one there is."""
    if not heads:
        raise RemoteError("the remote repository has no branch", code="remote.empty")
    if named in heads:
        return named
    same = sorted(name for name, oid in heads.items() if oid == head)
    if same or len(heads) == 1:
        return same[0] if same else next(iter(heads))
    return None
