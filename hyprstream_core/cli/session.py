"""Where a verb's questions are answered: by a running server's services, else by the same services here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from hyprstream_core.cli.context import Context
from hyprstream_core.config import Settings
from hyprstream_core.configuration import Configuration
from hyprstream_core.errors import HyprstreamError
from hyprstream_core.front import Front
from hyprstream_core.hosting import service_config
from hyprstream_core.interfaces.inference import Description, Inference, Registry
from hyprstream_core.plugins import load, missing
from hyprstream_core.rpc.client import Client, ClientOptions
from hyprstream_core.rpc.endpoints import endpoint, ipc_path
from hyprstream_core.rpc.service_clients import InferenceClient, RegistryClient

SERVICES = ("registry", "inference")
CONNECT_TIMEOUT = 1.0
"""Seconds that a server may take to accept a connection before it counts as not running."""


@asynccontextmanager
async def open_front(
    context: Context, configuration: Configuration, reference: str
) -> AsyncIterator[tuple[Front, str]]:
    """A front that can answer for ``reference``, and where: "server" or "process".

    A server is used when it runs, has the same store, and no engine setting was given as a flag.
    """
    settings = configuration.settings
    async with AsyncExitStack() as stack:
        services, place = None, "server"
        if not _wants_own_engine(configuration):
            services = await _of_server(stack, settings, reference)
        if services is None:
            services, place = await _in_process(stack, context, settings), "process"
        registry, inference = services
        front = Front(registry, inference, context.plugins.response_formats(), settings.limits, load)
        yield await stack.enter_async_context(front), place


def _wants_own_engine(configuration: Configuration) -> bool:
    return any(k.startswith("engine.") and o.startswith("flag ") for k, o in configuration.origins.items())


async def _of_server(stack: AsyncExitStack, settings: Settings, reference: str) -> tuple[Registry, Inference] | None:
    """The services of a running server, when it serves ``reference`` from the same store.

    NOTE: a server that refuses the reference is not asked which store it has; the services of this process answer
    then, so that every error is one of this store.
    """
    endpoints = [endpoint(service, "ipc", settings.runtime_dir) for service in SERVICES]
    if not all(ipc_path(e).is_socket() for e in endpoints):
        return None
    async with AsyncExitStack() as attempt:
        options = ClientOptions(connect_timeout=CONNECT_TIMEOUT)
        clients = [
            await attempt.enter_async_context(Client(e, limits=settings.limits, options=options)) for e in endpoints
        ]
        registry, inference = RegistryClient(clients[0]), InferenceClient(clients[1])
        try:
            await inference.status()
            description = await registry.describe(reference)
        except HyprstreamError:  # no server, or one with another store, whose faults are not ours
            return None
        if not _is_in(settings.models_dir, description):
            return None
        await stack.enter_async_context(attempt.pop_all())
    return registry, inference


def _is_in(models_dir: Path, description: Description) -> bool:
    """Whether what a server describes is in the store below ``models_dir``, by whatever path either is named."""
    return Path(description.directory).resolve().is_relative_to(models_dir.resolve() / description.model)


async def _in_process(stack: AsyncExitStack, context: Context, settings: Settings) -> tuple[Registry, Inference]:
    registry, inference = [await _start(stack, context, settings, name) for name in SERVICES]
    return registry, inference


async def _start(stack: AsyncExitStack, context: Context, settings: Settings, name: str) -> Any:
    records = {record.name: record for record in context.plugins.services()}
    if name not in records:
        raise missing(f"service {name!r}", name, sorted(records), context.plugins.states)
    service = load(records[name].load).create(service_config(settings))
    await service.start()
    stack.push_async_callback(service.stop)
    return service
