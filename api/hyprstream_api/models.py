"""``GET models`` and ``GET models/{id}``."""

from __future__ import annotations

import time
from typing import Any

import falcon
import falcon.asgi
import msgspec

from hyprstream_api.errors import UnknownUrl, without_paths
from hyprstream_api.services import Connection
from hyprstream_core.interfaces.inference import ModelInfo
from hyprstream_core.units import age, size


def model_record(info: ModelInfo, loaded: tuple[str, ...], now: float) -> dict[str, Any]:
    """OpenAI's model object with ours in it. ``loaded`` is what the engine has in memory."""
    cached = any(info.commit in entry for entry in loaded)
    since = now - (info.worktree_created or info.created)
    owner = f"system driver:{info.driver or 'none'}, saved:{size(info.saved_bytes)}, age:{age(since)}"
    return {
        "id": info.id,
        "object": "model",
        "created": info.created,
        "owned_by": f"{owner} cached" if cached else owner,
        "root": info.root or info.id,
        "parent": info.parent or None,
        "max_model_len": info.max_model_len,
        "meta": {
            "ref": info.ref,
            "kind": info.kind,
            "commit": info.commit,
            "uuid": info.uuid,
            "architecture": info.architecture,
            "dtype": info.dtype,
            "n_params": info.num_parameters,
            "status": "unservable" if info.status else "ok",
            "problem": without_paths(info.status) or None,
        },
    }


class ModelsResource:
    """The list: one entry per branch worktree."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Every model."""
        models = await self._connection.services.front.models()
        loaded, now = await self._connection.loaded(), time.time()
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode({"object": "list", "data": [model_record(m, loaded, now) for m in models]})


class ModelResource:
    """One model by any reference: branch, tag or commit; ids contain ``/``, ``:``, ``+`` and ``@``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, id: str) -> None:
        """The model that ``id`` names now.

        Raises:
            UnknownUrl: the address ends before the id.
        """
        if not id:
            raise UnknownUrl("no such URL", remedy=f"the list of models is at {req.path.rstrip('/')}")
        info = await self._connection.services.front.model(id)
        resp.set_header("x-hyprstream-commit", info.commit)
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(model_record(info, await self._connection.loaded(), time.time()))
