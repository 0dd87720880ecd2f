"""The gunicorn process: ``python -m hyprstream_api.gunicorn_process`` reads a :class:`Setup` from stdin and serves.

It is a process of its own because gunicorn's arbiter reaps every child it finds and owns the signals; the
process that started it (see ``launcher``) keeps the engine and the control process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped] # gunicorn ships no types
from msgspec import Struct

from hyprstream_api.app import Application, create_app
from hyprstream_api.services import Connect, Services
from hyprstream_api.worker import DRAIN_SECONDS, LEAVE_SECONDS
from hyprstream_core import plugins
from hyprstream_core.config import Limits, LogSettings, PluginSettings
from hyprstream_core.front import Front
from hyprstream_core.plugins import Plugins
from hyprstream_core.rpc.client import Client
from hyprstream_core.rpc.service_clients import InferenceClient, RegistryClient
from hyprstream_core.telemetry import setup_logging

PR_SET_PDEATHSIG = 1
SETUP_BYTES = 2**20


class Setup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the process needs to know. ``parent`` is the process it must not outlive."""

    fd: int
    parent: int
    workers: int
    registry: str
    inference: str
    hosts: tuple[str, ...] = ()
    limits: Limits
    log: LogSettings
    plugins: PluginSettings
    drain_seconds: int = DRAIN_SECONDS


class Host(BaseApplication):  # type: ignore[misc] # the base class is untyped
    """gunicorn's view of us: settings, and the application, made in each worker."""

    def __init__(self, setup: Setup, connect: Connect) -> None:
        self._setup = setup
        self._connect = connect
        super().__init__()

    def load_config(self) -> None:
        """Our settings on top of gunicorn's defaults; no file, no environment."""
        values = {
            "bind": f"fd://{self._setup.fd}",
            "workers": self._setup.workers,
            "worker_class": "hyprstream_api.worker.Worker",
            "logger_class": "hyprstream_api.worker.StructuredLog",
            "loglevel": "debug" if self._setup.log.level == "debug" else "warning",
            "graceful_timeout": self._setup.drain_seconds + LEAVE_SECONDS,
            "asgi_disconnect_grace_period": 0,  # a client that leaves cancels its request at once
            "asgi_lifespan": "on",
            "asgi_loop": "asyncio",
            "control_socket_disable": True,
            "proc_name": "hyprstream",
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        """The application of one worker."""
        return create_app(self._connect, self._setup.limits, self._setup.hosts)


def connect_to(setup: Setup, found: Plugins) -> Connect:
    """How a worker reaches the services: sockets of its own, opened after the fork."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Services]:
        async with (
            Client(setup.registry, limits=setup.limits) as registry_client,
            Client(setup.inference, limits=setup.limits) as inference_client,
        ):
            registry, inference = RegistryClient(registry_client), InferenceClient(inference_client)
            async with Front(registry, inference, found.response_formats(), setup.limits, plugins.load) as front:
                yield Services(registry, inference, front)

    return connect


def _die_with(parent: int) -> None:
    """Get SIGTERM when ``parent`` is gone, however it went."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)


def main() -> None:
    """Serve until told to stop."""
    setup = msgspec.json.decode(sys.stdin.buffer.read(SETUP_BYTES), type=Setup)
    _die_with(setup.parent)
    setup_logging(setup.log.level, setup.log.format)
    Host(setup, connect_to(setup, plugins.discover(setup.plugins))).run()


if __name__ == "__main__":
    main()
