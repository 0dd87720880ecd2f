"""Asks the server itself, over HTTP, whether it serves: the only answer that counts."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

from hyprstream_core.errors import Unavailable

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
ANSWER_BYTES = 2**24


async def wait_until_ready(address: tuple[str, int], timeout: float = READY_SECONDS) -> tuple[str, ...]:
    """Ids of the models that the server at ``address`` lists, once it is ready.

    Raises:
        Unavailable: it is not ready within ``timeout`` seconds; says why not.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        status, body = await asyncio.to_thread(_get, address, "/readyz")
        if status == 200:
            _, listed = await asyncio.to_thread(_get, address, "/v1/models")
            return tuple(str(model["id"]) for model in listed.get("data", ()))
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
