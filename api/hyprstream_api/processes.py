"""Which processes serve beside the HTTP workers, and which services each of them hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hyprstream_core.config import Settings
from hyprstream_core.errors import PluginMissing
from hyprstream_core.hosting import HOST, Hosted, host_config, service_config
from hyprstream_core.plugins import Plugins
from hyprstream_core.spawn.program import Program

PROCESSES: Mapping[str, Sequence[str]] = {"control": ("registry",), "engine": ("inference",)}
"""Process → its services. They are found by name among the plugins' records; this package knows none of them."""


def program(name: str, settings: Settings, plugins: Plugins) -> Program:
    """What to spawn for process ``name``.

    Raises:
        PluginMissing: no plugin provides one of its services.
    """
    records = {service.name: service for service in plugins.services()}
    if absent := [service for service in PROCESSES[name] if service not in records]:
        raise PluginMissing(
            f"no loaded plugin provides the service {absent[0]!r}", remedy="see why: hyprstream plugins"
        )
    config = host_config(
        [Hosted(service, records[service].load, service_config(settings)) for service in PROCESSES[name]],
        settings.runtime_dir,
        plugins.rpc_transports(),
        limits=settings.limits,
    )
    return Program(name, HOST, config, mode="subprocess", log=settings.log)
