"""One large object over HTTP: begun, cut off, continued by range, until it is there or nothing new comes.

Ranges: RFC 9110 section 14. SECURITY: what a server says of lengths only decides what is asked next; whether the
content is right is found out where it is stored, by ``hyprstream_core.repo.files.large_objects``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import urllib3

from hyprstream_core.builtin.web import Place, Web
from hyprstream_core.errors import BadObject, RemoteError
from hyprstream_core.interfaces.storage import ContentSink, Pointer
from hyprstream_core.units import size

ATTEMPTS = 5
"""Attempts in a row that may bring nothing new."""
FIRST_PAUSE = 0.5
"""Seconds before the second of them; doubled each time."""
_MAX_PAUSE = 30.0
_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_EXPIRED = frozenset({401, 403, 404, 410})
_PASSING = frozenset({"remote.failed", "remote.unreachable"})
"""Codes of errors that another attempt may get around. After a timeout none is made unless something new had come:
the remote has had the time that ``clone.timeout`` gives it."""
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Answer(Exception):
    """The server does not send the object: its status, the error to raise, and how long it asks to wait."""

    def __init__(self, status: int, error: RemoteError, wait: float = 0.0) -> None:
        self.status, self.error, self.wait = status, error, wait


def download(web: Web, pointer: Pointer, place: Place, renew: Callable[[], Place] | None, sink: ContentSink) -> None:
    """Fetch what ``sink`` lacks. ``renew`` asks for another place once this one does not answer any more.

    Raises:
        RemoteError: the server refuses, or broke off too often without bringing anything new.
        BadObject: it has the object with another size, or (from the sink) other content.
    """
    _Download(web, pointer, place, renew, sink).run()


class _Download:
    def __init__(
        self, web: Web, pointer: Pointer, place: Place, renew: Callable[[], Place] | None, sink: ContentSink
    ) -> None:
        self._web, self._pointer, self._place, self._renew, self._sink = web, pointer, place, renew, sink
        self._best = sink.offset
        self._renewed_at = -1
        self._ranges = True
        self._failed = 0

    def run(self) -> None:
        while self._sink.offset < self._pointer.size:
            self._web.check()
            try:
                self._attempt()
            except RemoteError as error:
                if error.error_code == "remote.unauthorized":
                    self._answered(_Answer(401, error))
                else:
                    self._again(error)
            except _Answer as answer:
                self._answered(answer)
            else:
                if self._sink.offset < self._pointer.size:  # it ended early without saying how much was to come
                    self._again(RemoteError("the connection ended early", remedy="try again"))

    def _attempt(self) -> None:
        offset = self._sink.offset if self._ranges else 0
        asked = {"Range": f"bytes={offset}-"} if offset else {}
        with self._web.request("GET", self._place, asked) as response:
            if not self._begin(response, offset):
                return
            while chunk := response.read1(_CHUNK, decode_content=False):
                self._sink.write(chunk)
                self._web.check()

    def _begin(self, response: urllib3.HTTPResponse, offset: int) -> bool:
        """Whether what follows goes on where the sink is; else it is to be asked for from the beginning."""
        if response.status == 206 and offset:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found and found[3] not in ("*", str(self._pointer.size)):
                raise self._other_size(int(found[3]))
            self._ranges = found is not None and int(found[1]) == offset and int(found[2]) < self._pointer.size
            return self._ranges
        if response.status == 416 and offset:
            self._ranges = False
            return False
        if response.status != 200:
            error = refused(response.status, f"large file {self._pointer.oid}", oid=self._pointer.oid)
            raise _Answer(response.status, error, _retry_after(response))
        if (length := response.length_remaining) is not None and length != self._pointer.size:
            raise self._other_size(length)
        if self._sink.offset:
            self._sink.restart()
        return True

    def _answered(self, answer: _Answer) -> None:
        if answer.status in _EXPIRED and self._renew is not None and self._renewed_at < self._best:
            self._renewed_at = self._best = max(self._best, self._sink.offset)
            self._place = self._renew()
            return
        if answer.status not in _BUSY:
            raise answer.error
        self._again(answer.error, answer.wait)

    def _again(self, error: RemoteError, wait: float = 0.0) -> None:
        """Get ready for another attempt.

        Raises:
            RemoteError: ``error``, with what is kept; there were too many, or another cannot help.
        """
        if self._sink.offset > self._best:
            self._best, self._failed = self._sink.offset, 0
        else:
            self._failed += 1
            if self._failed >= ATTEMPTS or error.error_code not in _PASSING:
                raise self._kept(error) from error
        pause = FIRST_PAUSE * 2 ** (self._failed - 1) if self._failed else 0.0
        self._web.pause(min(max(wait, pause), _MAX_PAUSE))

    def _kept(self, error: RemoteError) -> RemoteError:
        done, whole = self._sink.offset, self._pointer.size
        if not done:
            return error
        return RemoteError(
            f"{error.message}; {size(done)} of {size(whole)} are kept",
            code="lfs.incomplete" if error.error_code == RemoteError.code else error.error_code,
            remedy="run the same command again: it continues there",
            oid=self._pointer.oid,
            kept=done,
        )

    def _other_size(self, got: int) -> BadObject:
        return BadObject(
            f"large file {self._pointer.oid}: the remote has {got:,} bytes, expected {self._pointer.size:,}",
            code="lfs.bad_object",
            remedy="the remote is broken or lies; nothing of this answer was kept",
            oid=self._pointer.oid,
        )


def _retry_after(response: urllib3.HTTPResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def refused(status: int, what: str, **details: str) -> RemoteError:
    """The error for a server that does not send ``what``."""
    if status in (404, 410):
        return RemoteError(f"the remote does not have {what}", code="lfs.missing", **details)
    return RemoteError(
        f"the remote's store of large files answers {status} for {what}", remedy="try again later", **details
    )
