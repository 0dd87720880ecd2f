"""``POST chat/completions`` and ``POST completions``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any
from uuid import uuid4

import falcon
import falcon.asgi
import msgspec

from hyprstream_api.answers import ChatWriter, CompletionWriter, Writer
from hyprstream_api.body import read_json
from hyprstream_api.chat_fields import read_chat
from hyprstream_api.completion_fields import read_completion
from hyprstream_api.draining import Lifetime
from hyprstream_api.services import Connection
from hyprstream_api.sse import PING_SECONDS, EventStream
from hyprstream_core.config import Limits
from hyprstream_core.front import Answer, Options
from hyprstream_core.telemetry import bound

ANSWER_ID = "hyprstream.answer"
"""Key of the ASGI scope under which the answer's id (the engine logs it as its request id) is left for the log."""
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class GenerateResource(ABC):
    """Reads a request, starts its answer, and sends it whole or as a stream.

    A client that goes away cancels: the server cancels this coroutine, or closes the stream, and either
    closes the answer.
    """

    def __init__(
        self, connection: Connection, limits: Limits, lifetime: Lifetime, ping_seconds: float = PING_SECONDS
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._lifetime = lifetime
        self._ping_seconds = ping_seconds

    @abstractmethod
    async def _start(self, raw: dict[str, Any]) -> Writer:
        """The answer to ``raw``, ready to be iterated, and how to write it."""

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Generate."""
        raw = await read_json(req, self._limits)
        writer = await self._lifetime.run(self._start(raw))
        req.scope[ANSWER_ID] = writer.answer.request_id
        resp.set_header("x-hyprstream-commit", writer.answer.commit)
        if writer.fields.stream:
            await self._stream(writer, resp)
        else:
            async with writer.answer:
                resp.data = msgspec.json.encode(await self._lifetime.run(writer.whole()))
            resp.content_type = falcon.MEDIA_JSON

    async def _stream(self, writer: Writer, resp: falcon.asgi.Response) -> None:
        stream = EventStream(writer.events(), writer.answer.aclose, self._lifetime, self._ping_seconds)
        await stream.begin()
        resp.content_type = "text/event-stream; charset=utf-8"
        for name, value in STREAM_HEADERS.items():
            resp.set_header(name, value)
        resp.stream = stream

    async def _fingerprint(self, answer: Answer) -> str:
        try:
            return await self._connection.fingerprint(answer)
        except BaseException:
            await answer.aclose()
            raise


class ChatResource(GenerateResource):
    """Conversations."""

    async def _start(self, raw: dict[str, Any]) -> Writer:
        fields, prompt, options = read_chat(raw, self._limits)
        answer = await self._connection.services.front.chat(prompt, _named(options))
        return ChatWriter(answer, fields, await self._fingerprint(answer), options.n)


class CompletionResource(GenerateResource):
    """Text to be continued."""

    async def _start(self, raw: dict[str, Any]) -> Writer:
        fields, prompts, options = read_completion(raw, self._limits)
        answer = await self._connection.services.front.complete(prompts, _named(options))
        return CompletionWriter(answer, fields, await self._fingerprint(answer), options.n * len(prompts.prompts))


def _named(options: Options) -> Options:
    """With a unique id that begins with the client's ``x-request-id``: what to look for in the engine's log."""
    return replace(options, request_id=f"{bound('request_id') or 'req'}-{uuid4().hex[:12]}")
