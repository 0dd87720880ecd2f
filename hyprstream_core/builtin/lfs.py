"""Git LFS: pointer files, and fetching what they stand for by the batch API, from a hub or a local folder.

Pointers: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md, batch API: docs/api/batch.md there.
SECURITY: ``.lfsconfig`` of a repository is never read, so that content comes from the remote's own endpoint
and nowhere else; what arrives is verified where it is stored, by ``hyprstream_core.repo.files.large_objects``.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import urllib3

from hyprstream_core.builtin.downloads import download, refused
from hyprstream_core.builtin.hub_files import file_place, hub_repository
from hyprstream_core.builtin.web import Place, Web, in_parallel
from hyprstream_core.errors import BadObject, RemoteError
from hyprstream_core.interfaces.storage import ContentFilter, ContentSink, Pointer, RemoteSource

SNIFF = b"version https://git-lfs.github.com/spec/"
MEDIA_TYPE = "application/vnd.git-lfs+json"
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,18})\n"
)
_BATCH = 100
_CHUNK = 1 << 18
_NO_API = frozenset({404, 405, 410, 501})
_BUSY = frozenset({429, 502, 503, 504})
_ATTEMPTS = 3
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
            self._fetch_by_http(pointers, source, write)
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

    def _fetch_by_http(self, pointers: Sequence[Pointer], source: RemoteSource, write: Write) -> None:
        """By the batch API; what it does not have, by revision and path when the remote is the hub."""
        hub = hub_repository(source.url, self.access.hub.endpoint)
        web = Web(self.access, source.given or source.url)
        client = _BatchClient(web, source, self.access.limits.json_file_bytes)

        def job(pointer: Pointer, found: Place | RemoteError) -> Callable[[], None]:
            place, renew = found, partial(client.where, pointer)
            if isinstance(place, RemoteError):
                if hub is None or (by_path := file_place(hub, source, pointer)) is None:
                    raise place
                return partial(_download, web, pointer, by_path, None, write)
            return partial(_download, web, pointer, place, renew, write)

        with closing(web), _place_named(source):
            for start in range(0, len(pointers), _BATCH):
                batch = pointers[start : start + _BATCH]
                offers = client.ask(batch)
                in_parallel([job(pointer, offers[pointer.oid]) for pointer in batch], web)


@contextmanager
def _place_named(source: RemoteSource) -> Iterator[None]:
    """For remotes that are no web servers: say where their large files are looked for, when nobody answers there."""
    try:
        yield
    except RemoteError as error:
        if error.error_code != "remote.unreachable" or urlsplit(source.url).scheme in ("http", "https"):
            raise
        raise RemoteError(
            f"large files are looked for at {source.endpoint}: {error.message}",
            code=error.error_code,
            remedy="name the LFS server that has them: hyprstream clone --lfs-url URL",
            param="lfs_url",
        ) from error


def _download(web: Web, pointer: Pointer, place: Place, renew: Callable[[], Place] | None, write: Write) -> None:
    with write(pointer) as sink:
        download(web, pointer, place, renew, sink)


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
            file.seek(sink.offset)
            while chunk := file.read(_CHUNK):
                sink.write(chunk)


class _BatchClient:
    """Asks one remote's batch API where objects are; basic transfers only."""

    def __init__(self, web: Web, source: RemoteSource, max_json: int) -> None:
        self._web, self._source, self._max_json = web, source, max_json
        self._url = (source.endpoint or _endpoint(source.url)).rstrip("/") + "/objects/batch"

    def ask(self, pointers: Sequence[Pointer]) -> dict[str, Place | RemoteError]:
        """By oid: where each object is, or why it is not to be had.

        Raises:
            RemoteError: the API failed, refuses, or answers nonsense.
        """
        batch = self._batch(pointers)
        if batch is None:
            return {p.oid: _missing(p, "it has no LFS API") for p in pointers}
        offers = {offer.oid: offer for offer in batch.objects}
        return {p.oid: _place(p, offers.get(p.oid)) for p in pointers}

    def where(self, pointer: Pointer) -> Place:
        """Where one object is now.

        Raises:
            RemoteError: it is not to be had.
        """
        found = self.ask([pointer])[pointer.oid]
        if isinstance(found, RemoteError):
            raise found
        return found

    def _batch(self, pointers: Sequence[Pointer]) -> _Batch | None:
        """The answer; None when there is no such API."""
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": p.oid, "size": p.size} for p in pointers],
        }
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        for attempt in itertools.count(1):
            place = Place(self._url, _header(self._source.headers()))
            with self._web.request("POST", place, headers, msgspec.json.encode(body)) as response:
                if response.status == 200:
                    text = b"".join(_read(response, self._max_json))
                    break
                if response.status in _NO_API:
                    return None
                if response.status not in _BUSY or attempt == _ATTEMPTS:
                    raise refused(response.status, "the batch request")
            self._web.pause(0.2 * 2**attempt)
        try:
            batch = msgspec.json.decode(text, type=_Batch)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RemoteError(f"the remote's LFS answer is malformed: {error}") from error
        if batch.transfer != "basic":
            raise RemoteError(f"the remote insists on LFS transfer {batch.transfer[:40]!r}, expected 'basic'")
        return batch


def _place(pointer: Pointer, offer: _Object | None) -> Place | RemoteError:
    if offer is None or offer.error is not None:
        return _missing(pointer, f"it answers {offer.error.code}" if offer and offer.error else "it is not offered")
    if offer.actions is None or offer.actions.download is None:
        return _missing(pointer, "it offers no download")
    return Place(offer.actions.download.href, _header(offer.actions.download.header))


def _endpoint(url: str) -> str:
    """The LFS endpoint that belongs to a git URL."""
    plain = url.split("?", 1)[0].rstrip("/")
    return f"{plain}/info/lfs" if plain.endswith(".git") else f"{plain}.git/info/lfs"


def _header(header: Mapping[str, str]) -> dict[str, str]:
    """The headers that the remote asks us to send to the place it names; at most 32 sane ones."""
    sane = {k: v for k, v in header.items() if k.isascii() and k.isprintable() and v.isprintable() and len(v) < 8192}
    return dict(list(sane.items())[:32])


def _read(response: urllib3.HTTPResponse, maximum: int) -> Iterator[bytes]:
    """The body in chunks; more than ``maximum`` bytes are an error."""
    done = 0
    for chunk in response.stream(_CHUNK, decode_content=False):
        done += len(chunk)
        if done > maximum:
            raise RemoteError(f"the remote's LFS answer has more than {maximum:,} bytes", code="remote.limit")
        yield chunk
