"""Hosts services behind an RPC server: the :class:`~hyprstream_core.spawn.spawned.Runnable` of a service process.

A service class looks like this (``rpc/contracts.py`` has the contracts)::

    class RegistryService:
        contract = REGISTRY

        @classmethod
        def create(cls, config: dict) -> "RegistryService": ...
        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        async def models(self) -> list[ModelInfo]: ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyprstream_core.config import Limits
from hyprstream_core.interfaces.transport import RpcTransport
from hyprstream_core.rpc.endpoints import Scheme

HOST = "hyprstream_core.builtin.host:Host"
"""What to spawn for :func:`host_config`."""


@dataclass(frozen=True)
class Hosted:
    """A service to host: its name (which is its endpoint's), class and configuration (plain data)."""

    name: str
    load: str
    config: Mapping[str, Any] = field(default_factory=dict)


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
    """
    raise NotImplementedError
