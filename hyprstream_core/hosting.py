"""Hosts services behind an RPC server: the :class:`~hyprstream_core.spawn.spawned.Runnable` of a service process.

A service class looks like this (``rpc/contracts.py`` has the contracts)::

    class RegistryService:
        contract = REGISTRY

        @classmethod
        def create(cls, config: dict) -> "RegistryService": ...
        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        async def models(self) -> list[ModelInfo]: ...

NOTE: this is not in ``spawn``, which runs anything and knows nothing of RPC, nor in ``rpc``, which loads nothing;
nor in ``services``, since the API hosts services without knowing any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec

from hyprstream_core.config import Limits, Settings
from hyprstream_core.errors import ConfigError
from hyprstream_core.interfaces.transport import RpcLink, RpcTransport
from hyprstream_core.plugins import load
from hyprstream_core.rpc.contracts import Served
from hyprstream_core.rpc.endpoints import Scheme, endpoint
from hyprstream_core.rpc.server import Server

HOST = "hyprstream_core.hosting:Host"
"""What to spawn with a :func:`host_config`."""


def service_config(settings: Settings) -> dict[str, Any]:
    """What every service of ours is created from: ``settings`` as plain data."""
    data: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=str)
    return {"settings": data}


class HostedService(Served, Protocol):
    """A service that a :class:`Host` runs."""

    @classmethod
    def create(cls, config: dict[str, Any]) -> HostedService:
        """Make one from plain data; cheap, nothing is opened yet."""

    async def start(self) -> None:
        """Open everything; calls come only afterwards."""

    async def stop(self) -> None:
        """Close everything; no calls come any more."""


@dataclass(frozen=True)
class Hosted:
    """A service to host: its name (which is its endpoint's), class and configuration (plain data)."""

    name: str
    load: str
    config: Mapping[str, Any] = field(default_factory=dict)


class _HostConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    services: list[Hosted]
    endpoints: dict[str, str]
    links: dict[str, str]
    limits: Limits


def host_config(
    services: Sequence[Hosted],
    runtime_dir: Path,
    transports: Sequence[RpcTransport],
    *,
    scheme: Scheme = "ipc",
    limits: Limits | None = None,
) -> dict[str, Any]:
    """The configuration of a :class:`Host` for ``services``, as plain data::

        spawn(Program("control", HOST, host_config([Hosted("registry", …)], runtime_dir, plugins.rpc_transports())))

    The server spawns its hosts as subprocesses, over "ipc". ``scheme`` "inproc" is for a program that embeds a host
    as a task or thread of its own; nothing of hyprstream does, but tests run all three modes.
    """
    config = _HostConfig(
        services=list(services),
        endpoints={s.name: endpoint(s.name, scheme, runtime_dir) for s in services},
        links={s: t.load for t in transports for s in t.schemes},
        limits=limits or Limits(),
    )
    plain: dict[str, Any] = msgspec.to_builtins(config)
    return plain


class Host:
    """Runs several services and the one server in front of them; each service has its own endpoint."""

    def __init__(self, services: Sequence[HostedService], server: Server, endpoints: Mapping[str, str]) -> None:
        self._services, self._server, self._endpoints = services, server, endpoints
        self._opened = AsyncExitStack()

    @classmethod
    def create(cls, config: Mapping[str, Any]) -> Self:
        """Make the services of a :func:`host_config`.

        Raises:
            ConfigError: not such a configuration.
            PluginError: a class cannot be loaded.
        """
        try:
            c = msgspec.convert(config, _HostConfig)
        except msgspec.ValidationError as error:
            raise ConfigError(f"host configuration: {error}") from None
        services = [load(s.load).create(dict(s.config)) for s in c.services]
        schemes = {e.partition("://")[0] for e in c.endpoints.values()}
        links: dict[str, RpcLink] = {s: load(c.links[s])() for s in schemes if s in c.links}
        return cls(services, Server(services, list(c.endpoints.values()), links, limits=c.limits), c.endpoints)

    async def start(self) -> dict[str, Any]:
        """Start the services in order, then open the endpoints; what was started is stopped when one fails."""
        async with AsyncExitStack() as opened:
            for service in self._services:
                await service.start()
                opened.push_async_callback(service.stop)
            await self._server.start()
            opened.push_async_callback(self._server.stop)
            self._opened = opened.pop_all()
        return {"endpoints": dict(self._endpoints)}

    async def stop(self) -> None:
        """Close the endpoints, then stop the services, last first."""
        await self._opened.aclose()
