"""Which processes serve beside the HTTP workers, and which services each of them hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hyprstream_core import plugins as plugin_loader
from hyprstream_core.config import Settings
from hyprstream_core.errors import PluginMissing
from hyprstream_core.plugins import Plugins
from hyprstream_core.spawn.program import Program

PROCESSES: Mapping[str, Sequence[str]] = {"control": ("registry",), "engine": ("inference",)}
"""Process → its services. They are found by name among the plugins' records; this package knows none of them."""

_HOSTING = "hyprstream_core.builtin.host"


def program(name: str, settings: Settings, plugins: Plugins) -> Program:
    """What to spawn for process ``name``.

    Raises:
        PluginMissing: no plugin provides one of its services.
    """
    hosted, host_config, host = (plugin_loader.load(f"{_HOSTING}:{part}") for part in ("Hosted", "host_config", "HOST"))
    records = {service.name: service for service in plugins.services()}
    if absent := [service for service in PROCESSES[name] if service not in records]:
        raise PluginMissing(
            f"no loaded plugin provides the service {absent[0]!r}", remedy="see why: hyprstream plugins"
        )
    settings_data = {"settings": msgspec.to_builtins(settings, enc_hook=str)}
    config: dict[str, Any] = host_config(
        [hosted(service, records[service].load, settings_data) for service in PROCESSES[name]],
        settings.runtime_dir,
        plugins.rpc_transports(),
        limits=settings.limits,
    )
    return Program(name, host, config, mode="subprocess", log=settings.log)
