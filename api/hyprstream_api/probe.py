"""Asks the server itself, over HTTP, whether it serves: the only answer that counts. And asks the services, over
RPC, what there is to tell about them."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

from hyprstream_core.config import Limits
from hyprstream_core.errors import HyprstreamError, Unavailable
from hyprstream_core.rpc.client import Client, ClientOptions
from hyprstream_core.rpc.service_clients import InferenceClient, RegistryClient

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
ANSWER_BYTES = 2**20
COUNT_SECONDS = 0.5
"""How long a server that is told to stop asks for the number of its open answers."""


async def wait_until_ready(address: tuple[str, int], timeout: float = READY_SECONDS) -> None:
    """Wait until the server at ``address`` is ready.

    Raises:
        Unavailable: it is not ready within ``timeout`` seconds; says why not.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        status, body = await asyncio.to_thread(_get, address, "/readyz")
        if status == 200:
            return
        if asyncio.get_running_loop().time() > deadline:
            reason = body.get("error", {}).get("message", "it does not answer")
            raise Unavailable(f"the server was not ready within {timeout:.0f} s: {reason}")
        await asyncio.sleep(POLL_SECONDS)


def _get(address: tuple[str, int], path: str) -> tuple[int, dict[str, Any]]:
    """Status and document; 0 when nobody answers."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        document = json.loads(response.read(ANSWER_BYTES))
        return response.status, document if isinstance(document, dict) else {}
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()


async def listed_models(endpoint: str, limits: Limits) -> tuple[str, ...]:
    """Ids of the models that the registry at ``endpoint`` lists.

    Raises:
        Unavailable: it is not there.
    """
    async with Client(endpoint, limits=limits) as client:
        return tuple(model.id for model in await RegistryClient(client).models())


async def open_answers(endpoint: str, limits: Limits) -> int:
    """How many answers the engine at ``endpoint`` computes or will compute; 0 when it does not say."""
    options = ClientOptions(connect_timeout=COUNT_SECONDS, call_timeout=COUNT_SECONDS)
    try:
        async with Client(endpoint, limits=limits, options=options) as client:
            status = await InferenceClient(client).status()
    except HyprstreamError:
        return 0
    return status.running + status.waiting
