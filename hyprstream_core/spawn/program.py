"""What is run: a class by name, and its configuration as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hyprstream_core import lazy
from hyprstream_core.config import LogSettings
from hyprstream_core.errors import HyprstreamError, InternalError
from hyprstream_core.interfaces.service import SpawnMode
from hyprstream_core.telemetry import logger

log = logger(__name__)


class Runnable(Protocol):
    """What :func:`~hyprstream_core.spawn.spawned.spawn` runs."""

    @classmethod
    def create(cls, config: dict[str, Any]) -> Runnable:
        """Make one from plain data; cheap, nothing is opened yet."""

    async def start(self) -> Mapping[str, Any] | None:
        """Open everything; what it returns (plain data) is ``Spawned.info``."""

    async def stop(self) -> None:
        """Close everything."""


@dataclass(frozen=True)
class Program:
    """A class ("module:Class") to run as ``mode``, under ``name``.

    ``tied_to``: only for a subprocess: it ends with the process of this id, instead of with the one that spawned
    it. ``log``: only for a subprocess, which writes its log to the standard error of this process.
    """

    name: str
    load: str
    config: Mapping[str, Any] = field(default_factory=dict)
    mode: SpawnMode = "subprocess"
    log: LogSettings = field(default_factory=LogSettings)
    tied_to: int | None = None


async def started(load: str, config: Mapping[str, Any]) -> tuple[Runnable, Mapping[str, Any]]:
    """Load, make and start a runnable; with the plain data that it returned.

    Raises:
        PluginError: the class cannot be imported or does not exist.
        HyprstreamError: the runnable's own, or InternalError for anything else that it raised (which is logged).
    """
    try:
        runnable: Runnable = lazy.load(load).create(dict(config))
        return runnable, dict(await runnable.start() or {})
    except HyprstreamError:
        raise
    except Exception as error:
        log.exception("a service failed to start", load=load)
        raise InternalError(
            f"{load} failed to start: {type(error).__name__}: {error}", remedy="the log has the traceback"
        ) from error
