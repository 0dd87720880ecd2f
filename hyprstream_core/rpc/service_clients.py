"""The service Protocols, spoken over RPC: what the API and a remote command line hold."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hyprstream_core.interfaces.inference import Description, EngineStatus, GenerateRequest, ModelInfo, TokenChunk
from hyprstream_core.rpc.client import Client
from hyprstream_core.rpc.contracts import DESCRIBE, GENERATE, MODEL, MODELS, READY, STATUS, Empty, RefRequest


class RegistryClient:
    """:class:`~hyprstream_core.interfaces.inference.Registry` over RPC, on behalf of ``subject``."""

    def __init__(self, client: Client, subject: str = "anonymous") -> None:
        self._client, self._subject = client, subject

    async def ready(self) -> None:
        """Return when the store can be read."""
        await self._client.call(READY, Empty(), subject=self._subject)

    async def models(self) -> list[ModelInfo]:
        """One entry per branch worktree."""
        return list((await self._client.call(MODELS, Empty(), subject=self._subject)).models)

    async def model(self, ref: str) -> ModelInfo:
        """Any reference: branch, tag, full or short commit; a bare name is its default branch."""
        return await self._client.call(MODEL, RefRequest(ref), subject=self._subject)

    async def describe(self, ref: str) -> Description:
        """Resolve ``ref`` and say what the front needs."""
        return await self._client.call(DESCRIBE, RefRequest(ref), subject=self._subject)


class InferenceClient:
    """:class:`~hyprstream_core.interfaces.inference.Inference` over RPC."""

    def __init__(self, client: Client, subject: str = "anonymous") -> None:
        self._client, self._subject = client, subject

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Stream an answer's tokens, as ``request.subject``. Closing the iterator early cancels the request."""
        return self._client.stream(GENERATE, request, subject=request.subject, request_id=request.request_id)

    async def status(self) -> EngineStatus:
        """Current counters."""
        return await self._client.call(STATUS, Empty(), subject=self._subject)
