"""Conformance suite for RPC transports. Subclass it, name the link, give a free place::

class TestMine(RpcTransportSuite):
    link = "my_plugin:MyLink"

    def endpoint(self, folder):
        return f"mine://{folder}/x"
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import pytest

from hyprstream_core.errors import Conflict
from hyprstream_core.interfaces.transport import RpcLink
from hyprstream_core.plugins import load
from hyprstream_core.rpc.client import Client
from hyprstream_core.rpc.contracts import INFERENCE, STATUS, Empty
from hyprstream_core.rpc.server import Server
from hyprstream_core.testing.fakes import ScriptedInference


class _Answering(ScriptedInference):
    """A service that can be asked how it is."""

    contract = INFERENCE


class RpcTransportSuite:
    """What every RPC transport must do. ``endpoint`` names a place that is free."""

    link: ClassVar[str]

    def endpoint(self, folder: Path) -> str:
        """An endpoint of this transport's scheme; ``folder`` is private and empty."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return self.endpoint(tmp_path_factory.mktemp("rpc") / "run")

    def server(self, place: str) -> Server:
        """A server of one service, not bound yet."""
        link: RpcLink = load(self.link)()
        return Server([_Answering([])], [place], {place.partition("://")[0]: link})

    def serving(self, place: str, test: Callable[[], Awaitable[None]]) -> None:
        """Run ``test`` while a server is bound to ``place``."""

        async def main() -> None:
            server = self.server(place)
            await server.start()
            try:
                await test()
            finally:
                await server.stop()

        asyncio.run(main())

    def test_a_place_can_be_taken_given_up_and_taken_again(self, place: str) -> None:
        async def connects() -> None:
            async with Client(place) as client:
                assert (await client.call(STATUS, Empty())).ready

        for _ in range(2):
            self.serving(place, connects)

    def test_a_place_that_is_taken_is_a_conflict(self, place: str) -> None:
        async def second() -> None:
            with pytest.raises(Conflict):
                await self.server(place).start()

        self.serving(place, second)
