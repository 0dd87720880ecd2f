"""Starts "module:Class" as a task, a thread or a subprocess, and stops it.

The class, wherever it runs, looks like this::

    class Thing:
        @classmethod
        def create(cls, config: dict) -> "Thing": ...
        async def start(self) -> dict | None: ...     # ready when this returns; plain data for the caller
        async def stop(self) -> None: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hyprstream_core.config import LogSettings
from hyprstream_core.interfaces.service import SpawnMode

State = Literal["created", "spawning", "active", "stopping", "stopped"]


class Runnable(Protocol):
    """What :func:`spawn` runs."""

    @classmethod
    def create(cls, config: dict[str, Any]) -> Runnable:
        """Make one from plain data; cheap, nothing is opened yet."""

    async def start(self) -> Mapping[str, Any] | None:
        """Open everything; what it returns (plain data) is :attr:`Spawned.info`."""

    async def stop(self) -> None:
        """Close everything."""


@dataclass(frozen=True)
class Program:
    """What to run: a class by name, and its configuration as plain (JSON) data.

    ``tied_to``: only for a subprocess: end with the process of this id instead of with the one that spawned.
    """

    name: str
    load: str
    config: Mapping[str, Any] = field(default_factory=dict)
    mode: SpawnMode = "subprocess"
    log: LogSettings = LogSettings()
    tied_to: int | None = None


class Spawned:
    """A program that was started. ``state``: created → spawning → active → stopping → stopped."""

    name: str
    state: State
    pid: int
    info: Mapping[str, Any]

    async def stop(self, grace: float = 10.0) -> None:
        """Stop it and wait; a subprocess gets SIGTERM, and SIGKILL after ``grace`` seconds."""
        raise NotImplementedError

    async def wait(self) -> int | None:
        """Return when it has stopped, for whatever reason: a subprocess's exit status (negative: signal)."""
        raise NotImplementedError


async def spawn(program: Program, timeout: float = 60.0) -> Spawned:
    """Start ``program``; returns when it is active.

    Raises:
        HyprstreamError: the error that its class raised while starting (``Conflict`` for a taken endpoint …).
        Unavailable: it died or was not ready within ``timeout`` seconds; it has been killed.
    """
    raise NotImplementedError
