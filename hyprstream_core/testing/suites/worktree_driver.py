"""Conformance suite for worktree drivers. Subclass it and name the driver::

class TestMyDriver(WorktreeDriverSuite):
    driver = "my_driver:Driver"
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from hyprstream_core.interfaces.storage import Materialiser
from hyprstream_core.plugins import load


class WorktreeDriverSuite:
    """What every way to fill a worktree must do, on the file system of pytest's temporary folder."""

    driver: ClassVar[str]
    CONTENT: ClassVar[bytes] = b"0123456789abcdef" * 8192

    @pytest.fixture
    def made(self) -> Materialiser:
        driver: Materialiser = load(self.driver)()
        return driver

    @pytest.fixture
    def blob(self, tmp_path: Path) -> Path:
        """A read-only blob of the store."""
        path = tmp_path / "blob"
        path.write_bytes(self.CONTENT)
        path.chmod(0o444)
        return path

    def test_probing_leaves_nothing_behind(self, tmp_path: Path) -> None:
        score = load(self.driver)().probe(tmp_path)
        assert isinstance(score, int)
        assert score >= 0
        assert list(tmp_path.iterdir()) == []

    def fill(self, driver: Materialiser, blob: Path, *targets: Path) -> bool:
        """Materialise; False where the driver says that it cannot, and refuses leaving nothing behind."""
        works = driver.probe(blob.parent) > 0
        for target in targets:
            if works:
                driver.materialise(blob, target)
            else:
                with pytest.raises(OSError, match=r"Errno"):
                    driver.materialise(blob, target)
                assert not target.exists()
        return works

    def test_the_target_holds_the_content_of_the_blob(self, made: Materialiser, blob: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        if self.fill(made, blob, target):
            assert target.read_bytes() == self.CONTENT
            assert not target.is_symlink()
        assert blob.read_bytes() == self.CONTENT

    def test_what_exists_is_not_replaced(self, made: Materialiser, blob: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_bytes(b"mine")
        with pytest.raises(OSError, match=r"Errno"):
            made.materialise(blob, target)
        assert target.read_bytes() == b"mine"

    def test_replacing_the_target_leaves_the_blob_and_other_targets(
        self, made: Materialiser, blob: Path, tmp_path: Path
    ) -> None:
        one, two, new = tmp_path / "one", tmp_path / "two", tmp_path / "new"
        filled = self.fill(made, blob, one, two)
        new.write_bytes(b"changed")
        new.replace(one)
        assert blob.read_bytes() == self.CONTENT
        assert not filled or two.read_bytes() == self.CONTENT

    def test_saved_bytes_are_between_nothing_and_everything(
        self, made: Materialiser, blob: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "target"
        if self.fill(made, blob, target):
            assert 0 <= made.saved_bytes(target) <= len(self.CONTENT)
