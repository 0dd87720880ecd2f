"""What one API worker talks to: the registry, the engine and its own front."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from hyprstream_api.errors import Notice
from hyprstream_core import __version__
from hyprstream_core.errors import HyprstreamError
from hyprstream_core.front import Answer, Front
from hyprstream_core.interfaces.inference import EngineStatus, Inference, Registry

READY_SECONDS = 3.0
"""How long a service may take to say that it is well; more than an RPC client waits for a connection."""


@dataclass(frozen=True)
class Services:
    """Clients of the services, made inside the worker's event loop."""

    registry: Registry
    inference: Inference
    front: Front


Connect = Callable[[], AbstractAsyncContextManager[Services]]


class Connection:
    """The services, once connected, and what is derived from them."""

    def __init__(self) -> None:
        self._services: Services | None = None
        self._device: str | None = None

    def open(self, services: Services) -> None:
        """The worker has started."""
        self._services = services

    @property
    def services(self) -> Services:
        """The clients.

        Raises:
            Notice: the worker has not started yet.
        """
        if self._services is None:
            raise Notice("the server is starting", code="starting")
        return self._services

    async def require_ready(self) -> EngineStatus:
        """The engine's counters.

        Raises:
            Unavailable: a service does not answer.
            Notice: they do not answer in time, or the engine is loading a model.
        """
        try:
            async with asyncio.timeout(READY_SECONDS):
                status, _ = await asyncio.gather(self.services.inference.status(), self.services.registry.ready())
        except TimeoutError:
            raise Notice(f"the services did not answer within {READY_SECONDS:.0f} s") from None
        if not status.ready:
            raise Notice("the engine is loading a model", code="model_loading")
        return status

    async def loaded(self) -> tuple[str, ...]:
        """What the engine has in memory; nothing when it does not answer."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                return (await self.services.inference.status()).loaded
        except (HyprstreamError, TimeoutError):
            return ()

    async def fingerprint(self, answer: Answer) -> str:
        """``<commit12>-<hash8>``: two answers with one fingerprint came from the same weights, computed alike."""
        if self._device is None:
            self._device = (await self.services.inference.status()).device
        build = f"{__version__}\n{answer.description.dtype}\n{self._device}"
        return f"{answer.commit[:12]}-{hashlib.sha256(build.encode()).hexdigest()[:8]}"
