"""Conformance suite for RPC transports. Subclass it, name the link, give a free place."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from hyprstream_core.errors import Conflict
from hyprstream_core.interfaces.transport import RpcLink
from hyprstream_core.plugins import load


class RpcTransportSuite:
    """What every RPC transport must do. ``endpoint`` names a place that is free."""

    link: ClassVar[str]
    is_exclusive: ClassVar[bool] = True
    """Whether a second bind is refused here (else ZeroMQ itself refuses it)."""

    def endpoint(self, folder: Path) -> str:
        """An endpoint of this transport's scheme; ``folder`` is private and empty."""
        raise NotImplementedError

    def test_a_place_can_be_taken_given_up_and_taken_again(self, tmp_path: Path) -> None:
        link: RpcLink = load(self.link)()
        for _ in range(2):
            link.prepare_bind(self.endpoint(tmp_path / "run"))
            link.release(self.endpoint(tmp_path / "run"))

    def test_a_place_that_is_taken_is_a_conflict(self, tmp_path: Path) -> None:
        first, second = (load(self.link)() for _ in range(2))
        place = self.endpoint(tmp_path / "run")
        first.prepare_bind(place)
        try:
            if self.is_exclusive:
                with pytest.raises(Conflict):
                    second.prepare_bind(place)
        finally:
            first.release(place)
