"""Conformance suite for storage filters. Subclass it, give the record, and write a pointer."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import pytest

from hyprstream_core.config import CloneSettings, Limits
from hyprstream_core.errors import BadObject
from hyprstream_core.interfaces.storage import ContentFilter, StorageFilter
from hyprstream_core.interfaces.transport import Access
from hyprstream_core.plugins import load


class StorageFilterSuite:
    """What every kind of pointer must do. ``pointer`` writes a well-formed one."""

    record: ClassVar[StorageFilter]

    def pointer(self, oid: str, size: int) -> bytes:
        """The pointer blob of content with this sha256 and size."""
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
