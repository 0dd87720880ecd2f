"""``/livez``, ``/readyz`` and ``/version``: for those who keep the server running."""

from __future__ import annotations

from dataclasses import asdict

import falcon
import falcon.asgi

from hyprstream_api.services import Connection
from hyprstream_core import __version__


class LiveResource:
    """The worker answers."""

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Always 200."""
        resp.media = {"status": "ok"}


class ReadyResource:
    """Requests will be served: registry and engine answer, and no model is being loaded."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200 with the engine's counters, or 503 with the reason in the error's message."""
        status = await self._connection.require_ready()
        resp.media = {**asdict(status), "status": "ready"}


class VersionResource:
    """Which hyprstream this is."""

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The version of all its distributions."""
        resp.media = {"version": __version__}
