"""git's protocol over one stream in both directions, bounded in silence and size: what ssh and git:// share.

Source: https://git-scm.com/docs/pack-protocol.
"""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import IO, Any

from dulwich.client import FetchPackResult, TraditionalGitClient
from dulwich.protocol import Protocol

from hyprstream_core.errors import HyprstreamError, RemoteError
from hyprstream_core.interfaces.transport import Access

REF_BYTES = 1024
"""What one advertised reference may take, with its name and attributes."""
_CHUNK = 1 << 16


class Stream(ABC):
    """Bytes to and from one remote. No read or write waits longer than the remote may stay silent."""

    @abstractmethod
    def receive(self, size: int) -> bytes:
        """Up to ``size`` bytes, at least one; b"" at the end.

        Raises:
            TimeoutError: nothing came in time.
        """

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises:
            TimeoutError: the remote did not take it in time.
        """

    @abstractmethod
    def fileno(self) -> int:
        """What becomes readable when something has come."""

    @abstractmethod
    def end(self) -> None:
        """Nothing more will be sent."""

    @abstractmethod
    def close(self) -> None:
        """Hang up, and leave nobody behind. May be called again."""

    def failure(self, error: Exception) -> Exception:
        """What ``error`` of the protocol really means, when the stream knows better."""
        return error


class StreamClient(TraditionalGitClient):
    """dulwich's client over a :class:`Stream`, bounded where it reads all at once."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access
        self._reader: _Reader | None = None

    def open(self, service: str, path: str) -> Stream:
        """Start ``service`` ("git-upload-pack") for the repository at ``path``."""
        raise NotImplementedError

    def close(self) -> None:
        """Hang up."""
        if self._reader is not None:
            self._reader.stream.close()
            self._reader = None

    def fetch_pack(self, path: Any, determine_wants: Any, *arguments: Any, **options: Any) -> FetchPackResult:
        """See dulwich; the references may take as much as so many may, what follows as much as a pack."""

        def wants(refs: Any, depth: int | None = None) -> Any:
            if self._reader is not None:
                self._reader.allow(self._access.limits.repo_pack_bytes)
            return determine_wants(refs, depth)

        result: FetchPackResult = self._asked(
            lambda: super(StreamClient, self).fetch_pack(path, wants, *arguments, **options)
        )
        return result

    def get_refs(self, path: Any, *arguments: Any, **options: Any) -> Any:
        """See dulwich."""
        return self._asked(lambda: super(StreamClient, self).get_refs(path, *arguments, **options))

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except HyprstreamError:
            raise
        except Exception as error:
            better = self._reader.stream.failure(error) if self._reader is not None else error
            if better is error:
                raise
            raise better from error
        finally:
            self.close()

    def _connect(
        self,
        cmd: bytes,
        path: str | bytes,
        protocol_version: int | None = None,  # noqa: ARG002 - the newest that both sides speak
    ) -> tuple[Protocol, Callable[[], bool], IO[bytes] | None]:
        stream = self.open(f"git-{cmd.decode()}", path.decode() if isinstance(path, bytes) else path)
        reader = self._reader = _Reader(stream, self._access.limits.repo_refs * REF_BYTES)
        # Without a function to close it: whoever opened the stream closes it, whatever happens in between.
        return Protocol(reader.read, stream.send, shutdown_write=stream.end), reader.can_read, None


class _Reader:
    """Reads from a stream through a buffer, so many bytes at most."""

    def __init__(self, stream: Stream, maximum: int) -> None:
        self.stream = stream
        self._left = self._maximum = maximum
        self._buffer = b""

    def allow(self, maximum: int) -> None:
        """So many bytes may follow."""
        self._left = self._maximum = maximum

    def can_read(self) -> bool:
        """Whether something has come."""
        return bool(self._buffer) or bool(select.select([self.stream.fileno()], [], [], 0)[0])

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer at the end alone."""
        parts, missing = [], size
        while missing:
            if not self._buffer:
                self._buffer = self._receive()
            if not self._buffer:
                break
            part, self._buffer = self._buffer[:missing], self._buffer[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _receive(self) -> bytes:
        chunk = self.stream.receive(_CHUNK)
        self._left -= len(chunk)
        if self._left < 0:
            raise RemoteError(f"the remote sends more than {self._maximum:,} bytes", code="remote.limit")
        return chunk
