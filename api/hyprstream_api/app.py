"""The ASGI application: routes, errors, request ids."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import falcon
import falcon.asgi

from hyprstream_api import errors
from hyprstream_api.completions import ANSWER_ID, ChatResource, CompletionResource
from hyprstream_api.draining import Lifetime
from hyprstream_api.health import LiveResource, ReadyResource, VersionResource
from hyprstream_api.hosts import Hosts
from hyprstream_api.models import ModelResource, ModelsResource
from hyprstream_api.services import Connect, Connection
from hyprstream_api.sse import PING_SECONDS
from hyprstream_core.config import Limits
from hyprstream_core.telemetry import bind, logger

PREFIXES = ("/oai/v1", "/v1")
PROBES = frozenset({"/livez", "/readyz"})
"""Asked every few seconds by whoever watches the server; logged at debug level only."""
CLIENT_LEFT = 499
"""Status in the log of a request whose client left before there was an answer (nginx's number for it)."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
log = logger(__name__)


def create_app(
    connect: Connect, limits: Limits, hosts: Collection[str] = (), ping_seconds: float = PING_SECONDS
) -> Application:
    """The application. ``connect`` is entered when a worker starts, in its event loop, after the fork; ``hosts`` are
    the names beside loopback's own that requests may be addressed to."""
    connection, lifetime = Connection(), Lifetime()
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App()
    app.add_middleware([Worker(connect, connection, lifetime), Hosts(hosts)])
    for cls in (Exception, falcon.HTTPError):  # Falcon has a handler of its own for the latter
        app.add_error_handler(cls, _answer_error)
    models, model = ModelsResource(connection), ModelResource(connection)
    chat = ChatResource(connection, limits, lifetime, ping_seconds)
    completion = CompletionResource(connection, limits, lifetime, ping_seconds)
    for prefix in PREFIXES:
        app.add_route(f"{prefix}/models", models)
        app.add_route(f"{prefix}/models/{{id:path}}", model)
        app.add_route(f"{prefix}/chat/completions", chat)
        app.add_route(f"{prefix}/completions", completion)
    app.add_route("/livez", LiveResource())
    app.add_route("/readyz", ReadyResource(connection))
    app.add_route("/version", VersionResource())
    return Application(app, lifetime)


async def _answer_error(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: Exception, _: dict[str, Any]
) -> None:
    errors.apply(errors.problem_of(error, expected=req.path in PROBES), resp)


class Worker:
    """Falcon middleware: connects when the worker starts, ends open answers when it stops."""

    def __init__(self, connect: Connect, connection: Connection, lifetime: Lifetime) -> None:
        self._connect = connect
        self._connection = connection
        self._lifetime = lifetime
        self._stack = AsyncExitStack()

    # Falcon names the arguments; what a worker does at either moment depends on neither.
    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Connect to the services."""
        self._connection.open(await self._stack.enter_async_context(self._connect()))

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:  # noqa: ARG002
        """End what is still open, then disconnect."""
        await self._lifetime.end()
        await self._stack.aclose()


class Application:
    """Wraps the Falcon application: one request id on the request, its response and its log lines, one line per
    request in the log, no second spelling of an address, and HEAD wherever there is GET."""

    def __init__(self, app: falcon.asgi.App[Any, Any], lifetime: Lifetime) -> None:
        self._app = app
        self.lifetime = lifetime

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, routed = _request_id(scope), _routed(scope)
        status = 0

        async def with_request_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        started = time.monotonic()
        with bind(request_id=request_id):
            try:
                await self._app(routed, receive, with_request_id)
            except asyncio.CancelledError:
                status = status or CLIENT_LEFT
                raise
            finally:
                _log_request(scope, routed.get(ANSWER_ID), status or 500, time.monotonic() - started)


def _routed(scope: Message) -> Message:
    """``scope`` as Falcon gets it. It takes ``//v1`` for ``/v1``; a rule in front of us that goes by path would not:
    no such route. HEAD is GET whose body is left out."""
    path = "/" if "//" in scope["path"] else scope["path"]
    return {**scope, "path": path, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}


def _log_request(scope: Message, answer: str | None, status: int, seconds: float) -> None:
    (log.debug if scope["path"] in PROBES else log.info)(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        **({} if answer is None else {"answer": answer}),
        seconds=round(seconds, 4),
    )


def _request_id(scope: Message) -> str:
    """The client's ``x-request-id`` when it is one short word, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return f"req_{uuid4().hex}"
