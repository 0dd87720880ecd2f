"""Git LFS: pointer files, and fetching what they stand for by the batch API or from a local folder.

Pointers: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md, batch API: docs/api/batch.md there.
SECURITY: ``.lfsconfig`` of a repository is never read, so that content comes from the remote's own endpoint
and nowhere else; what arrives is verified where it is stored, by ``hyprstream_core.repo.large_objects``.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import urllib3

from hyprstream_core.errors import BadObject, RemoteError
from hyprstream_core.interfaces.storage import ContentFilter, ContentSink, Pointer, RemoteSource
from hyprstream_core.interfaces.transport import Access
from hyprstream_core.repo.credentials import unauthorized
from hyprstream_core.repo.network import network_error

SNIFF = b"version https://git-lfs.github.com/spec/"
MEDIA_TYPE = "application/vnd.git-lfs+json"
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,18})\n"
)
_BATCH = 100
_CHUNK = 1 << 18
_RETRIES = urllib3.Retry(
    total=4,
    connect=2,
    read=0,
    other=0,
    redirect=3,
    status=2,
    status_forcelist=(502, 503, 504),
    backoff_factor=0.2,
    raise_on_status=False,
)
Write = Callable[[Pointer], ContentSink]


class _Action(msgspec.Struct, frozen=True):
    href: str
    header: dict[str, str] = {}


class _Actions(msgspec.Struct, frozen=True):
    download: _Action | None = None


class _Failure(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


class _Object(msgspec.Struct, frozen=True):
    oid: str
    size: int = 0
    actions: _Actions | None = None
    error: _Failure | None = None


class _Batch(msgspec.Struct, frozen=True):
    objects: list[_Object]
    transfer: str = "basic"


class Lfs(ContentFilter):
    """The filter for git-lfs's pointers."""

    def parse(self, blob: bytes) -> Pointer:
        """Read a pointer; only the canonical form is one (three lines, nothing else).

        Raises:
            BadObject: ``lfs.bad_object``.
        """
        if len(blob) > self.access.limits.pointer_bytes:
            raise _bad(f"it has {len(blob):,} bytes, a pointer at most {self.access.limits.pointer_bytes:,}")
        match = _POINTER.fullmatch(blob)
        if match is None:
            raise _bad("expected the lines version, oid sha256:<64 lower-case hex digits>, size, and nothing else")
        size = int(match[2])
        if size > 2**63 - 1:
            raise _bad(f"size {size} is out of range")
        return Pointer(match[1].decode(), size)

    def fetch(self, pointers: Sequence[Pointer], source: RemoteSource, write: Write) -> None:
        """Fetch by the batch API, or out of a folder for a remote on this machine."""
        scheme = urlsplit(source.endpoint or source.url).scheme
        if scheme in ("http", "https"):
            _BatchClient(source, self.access).fetch(pointers, write)
        elif source.endpoint is not None and not scheme:
            for pointer in pointers:
                _copy(Path(source.endpoint), pointer, write)
        else:
            raise RemoteError(
                f"the remote has no store of large files; {len(pointers)} are missing, the first is {pointers[0].oid}",
                code="lfs.missing",
                remedy="git lfs fetch --all in the remote repository",
                oid=pointers[0].oid,
            )


def _bad(why: str) -> BadObject:
    return BadObject(f"a file looks like an LFS pointer, but is none: {why}", code="lfs.bad_object")


def _missing(pointer: Pointer, why: str) -> RemoteError:
    return RemoteError(f"the remote does not have large file {pointer.oid}: {why}", code="lfs.missing", oid=pointer.oid)


def _copy(folder: Path, pointer: Pointer, write: Write) -> None:
    path = folder / pointer.oid[:2] / pointer.oid[2:4] / pointer.oid
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _missing(pointer, error.strerror or "cannot be opened") from error
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _missing(pointer, "it is not a regular file")
        with write(pointer) as sink:
            while chunk := file.read(_CHUNK):
                sink.write(chunk)


class _BatchClient:
    """One remote's batch API, basic transfers."""

    def __init__(self, source: RemoteSource, access: Access) -> None:
        timeout = access.timeout
        url = urlsplit(source.endpoint or _endpoint(source.url))
        self._origin = url.scheme, url.netloc.rpartition("@")[2]
        self._url = url._replace(netloc=self._origin[1]).geturl().rstrip("/") + "/objects/batch"
        self._source, self._access, self._given = source, access, source.given or source.url
        self._max_json = access.limits.json_file_bytes
        self._timeout = timeout
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=timeout, read=timeout), retries=_RETRIES)

    def fetch(self, pointers: Sequence[Pointer], write: Write) -> None:
        try:
            for start in range(0, len(pointers), _BATCH):
                self._fetch_batch(pointers[start : start + _BATCH], write)
        except urllib3.exceptions.HTTPError as error:
            raise self._failure(error) from error
        finally:
            self._pool.clear()

    def _failure(self, error: urllib3.exceptions.HTTPError) -> RemoteError:
        """The remote may name another host for a file than its own: the pool of that connection knows."""
        host = str(getattr(getattr(error, "pool", None), "host", "") or self._origin[1])
        return network_error(error, host, self._timeout) or RemoteError(
            f"the store of large files at {host} failed: {type(error).__name__}",
            remedy="try again; files that have arrived are kept",
        )

    def _login(self, url: str) -> dict[str, str]:
        """What to say to ``url`` and to nobody else."""
        who = self._access.credential(url, self._given)
        return {"Authorization": who.basic} if who else {}

    def _unauthorized(self, url: str, response: Any) -> RemoteError:
        asking = urljoin(url, str(response.geturl() or ""))
        who = self._access.credential(url, self._given) if asking == url else None
        return unauthorized(asking, who, self._access.hub, "the store of large files at ")

    def _fetch_batch(self, pointers: Sequence[Pointer], write: Write) -> None:
        offers = {o.oid: o for o in self._ask(pointers).objects}
        for pointer in pointers:
            offer = offers.get(pointer.oid)
            if offer is None or offer.error is not None:
                raise _missing(
                    pointer, f"it answers {offer.error.code}" if offer and offer.error else "it is not offered"
                )
            if offer.actions is None or offer.actions.download is None:
                raise _missing(pointer, "it offers no download")
            self._download(pointer, offer.actions.download, write)

    def _ask(self, pointers: Sequence[Pointer]) -> _Batch:
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": p.oid, "size": p.size} for p in pointers],
        }
        who = _header(dict(self._source.headers())) or self._login(self._url)
        headers = {**who, "Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        response = self._pool.request(
            "POST", self._url, body=msgspec.json.encode(body), headers=headers, preload_content=False,
            retries=_leaving_behind(who),
        )  # fmt: skip
        try:
            if response.status in (401, 403):
                raise self._unauthorized(self._url, response)
            if response.status != 200:
                raise _refused(response.status, "the batch request")
            text = b"".join(_read(response, self._max_json))
        finally:
            response.close()
        try:
            batch = msgspec.json.decode(text, type=_Batch)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RemoteError(f"the remote's LFS answer is malformed: {error}") from error
        if batch.transfer != "basic":
            raise RemoteError(f"the remote insists on LFS transfer {batch.transfer[:40]!r}, expected 'basic'")
        return batch

    def _download(self, pointer: Pointer, action: _Action, write: Write) -> None:
        href = urlsplit(action.href)
        if href.scheme not in ("http", "https") or not href.hostname:
            raise RemoteError("the remote names a place for a large file that is no http(s) URL", code="url.scheme")
        who = _header(action.header)
        if "authorization" not in {name.lower() for name in who}:
            who |= self._login(action.href)
        headers = {**who, "Accept-Encoding": "identity"}
        response = self._pool.request(
            "GET", action.href, headers=headers, preload_content=False, retries=_leaving_behind(who)
        )
        try:
            if response.status in (401, 403):
                raise self._unauthorized(action.href, response)
            if response.status != 200:
                raise _refused(response.status, f"large file {pointer.oid}", oid=pointer.oid)
            with write(pointer) as sink:  # which stops when more comes than was announced
                for chunk in response.stream(_CHUNK, decode_content=False):
                    sink.write(chunk)
        except urllib3.exceptions.ProtocolError as error:
            raise BadObject(
                f"large file {pointer.oid} broke off before its {pointer.size:,} bytes had arrived",
                code="lfs.bad_object",
                remedy="try again; files that have arrived are kept",
                oid=pointer.oid,
            ) from error
        finally:
            response.close()


def _endpoint(url: str) -> str:
    """The LFS endpoint that belongs to a git URL."""
    plain = url.split("?", 1)[0].rstrip("/")
    return f"{plain}/info/lfs" if plain.endswith(".git") else f"{plain}.git/info/lfs"


def _header(header: dict[str, str]) -> dict[str, str]:
    """The headers that the remote asks us to send to the place it names; at most 32 sane ones."""
    sane = {k: v for k, v in header.items() if k.isascii() and k.isprintable() and v.isprintable() and len(v) < 8192}
    return dict(list(sane.items())[:32])


def _leaving_behind(headers: dict[str, str]) -> urllib3.Retry:
    """``_RETRIES`` that drop all of ``headers`` when a redirect leaves scheme, host or port."""
    names = frozenset(name.lower() for name in headers) | urllib3.Retry.DEFAULT_REMOVE_HEADERS_ON_REDIRECT
    return _RETRIES.new(remove_headers_on_redirect=names)


def _read(response: Any, maximum: int) -> Iterator[bytes]:
    """The body in chunks; more than ``maximum`` bytes are an error."""
    done = 0
    for chunk in response.stream(_CHUNK, decode_content=False):
        done += len(chunk)
        if done > maximum:
            raise RemoteError(f"the remote's LFS answer has more than {maximum:,} bytes", code="remote.limit")
        yield chunk


def _refused(status: int, what: str, **details: str) -> RemoteError:
    if status == 404:
        return RemoteError(f"the remote does not have {what}", code="lfs.missing", **details)
    return RemoteError(
        f"the remote's store of large files answers {status} for {what}", remedy="try again later", **details
    )
