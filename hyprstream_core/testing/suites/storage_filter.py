"""Conformance suite for storage filters. Subclass it, give the record, write a pointer, and put content somewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import pytest

from hyprstream_core.config import CloneSettings, Limits
from hyprstream_core.errors import BadObject, RemoteError
from hyprstream_core.interfaces.storage import ContentFilter, ContentSink, Pointer, RemoteSource, StorageFilter
from hyprstream_core.interfaces.transport import Access
from hyprstream_core.plugins import load

CONTENT = b"0123456789abcdef" * 50_000


class MemorySink(ContentSink):
    """Takes one object into memory; ``begun`` is what an earlier run has left."""

    def __init__(self, begun: bytes = b"") -> None:
        self.data = bytearray(begun)
        self.received = 0
        self.is_whole = False

    @property
    def offset(self) -> int:
        return len(self.data)

    def restart(self) -> None:
        self.data.clear()

    def __enter__(self) -> MemorySink:
        return self

    def __exit__(self, *exc: object) -> None:
        self.is_whole = exc[0] is None

    def write(self, chunk: bytes) -> None:
        self.data += chunk
        self.received += len(chunk)


class StorageFilterSuite:
    """What every kind of pointer must do. ``pointer`` writes a well-formed one, ``source`` offers content."""

    record: ClassVar[StorageFilter]

    def pointer(self, oid: str, size: int) -> bytes:
        """The pointer blob of content with this sha256 and size."""
        raise NotImplementedError

    def source(self, folder: Path, *contents: bytes) -> RemoteSource:
        """A place that has these contents and nothing else; ``folder`` is empty and private."""
        raise NotImplementedError

    @pytest.fixture
    def made(self) -> ContentFilter:
        opened: ContentFilter = load(self.record.load)(Access(clone=CloneSettings(timeout=10.0)))
        return opened

    @pytest.mark.parametrize("size", [0, 1, 2**40])
    def test_a_pointer_is_read(self, made: ContentFilter, size: int) -> None:
        oid = hashlib.sha256(str(size).encode()).hexdigest()
        blob = self.pointer(oid, size)
        found = made.parse(blob)
        assert (found.oid, found.size) == (oid, size)
        assert blob.startswith(self.record.sniff)
        assert len(blob) <= Limits().pointer_bytes

    @pytest.mark.parametrize("oid", ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, "0" * 63 + "\n"])
    def test_case_014_a_malformed_digest_is_refused(self, made: ContentFilter, oid: str) -> None:
        with pytest.raises(BadObject):
            made.parse(self.pointer(oid, 1))

    def test_case_014_a_malformed_pointer_is_refused(self, made: ContentFilter) -> None:
        good = self.pointer("0" * 64, 1)
        for bad in (good[:-3], good + b"x" * 10, good * 2, self.record.sniff, self.record.sniff + b"\xff" * 2000):
            with pytest.raises(BadObject):
                made.parse(bad)
        with pytest.raises(BadObject):
            made.parse(self.pointer("0" * 64, -1))

    def fetch(self, made: ContentFilter, source: RemoteSource, sinks: dict[bytes, MemorySink]) -> None:
        """Fetch all keys of ``sinks``, each into its sink."""
        pointers = {_pointer(content): sink for content, sink in sinks.items()}
        made.fetch(list(pointers), source, pointers.__getitem__)

    def test_every_object_is_delivered_into_its_own_sink(self, made: ContentFilter, tmp_path: Path) -> None:
        sinks = {CONTENT + bytes([number]): MemorySink() for number in range(5)}
        self.fetch(made, self.source(tmp_path, *sinks), sinks)
        for content, sink in sinks.items():
            assert sink.is_whole
            assert bytes(sink.data) == content

    @pytest.mark.parametrize("begun", [0, 1, len(CONTENT) // 2, len(CONTENT) - 1, len(CONTENT)])
    def test_case_017_what_an_earlier_run_has_left_is_continued(
        self, made: ContentFilter, tmp_path: Path, begun: int
    ) -> None:
        sink = MemorySink(CONTENT[:begun])
        self.fetch(made, self.source(tmp_path, CONTENT), {CONTENT: sink})
        assert sink.is_whole
        assert bytes(sink.data) == CONTENT
        assert sink.received in (len(CONTENT) - begun, len(CONTENT)), "the rest, or after a restart everything"

    def test_an_object_that_is_not_there_is_a_remote_error(self, made: ContentFilter, tmp_path: Path) -> None:
        sink = MemorySink()
        with pytest.raises(RemoteError):
            self.fetch(made, self.source(tmp_path, CONTENT), {CONTENT + b"other": sink})
        assert not sink.is_whole


def _pointer(content: bytes) -> Pointer:
    return Pointer(hashlib.sha256(content).hexdigest(), len(content))
