"""Which processes serve beside the HTTP workers, and which services each of them hosts.

Services of plugins get a process each: whatever one of them does, the models are served all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hyprstream_core.config import Settings
from hyprstream_core.errors import PluginMissing
from hyprstream_core.hosting import HOST, Hosted, host_config, service_config
from hyprstream_core.plugins import Plugins
from hyprstream_core.spawn.program import Program

PROCESSES: Mapping[str, Sequence[str]] = {"control": ("registry",), "engine": ("inference",)}
"""Process → its services. They are found by name among the plugins' records; this package knows none of them."""
PLUGINS = "service:"
"""What the names of the other processes start with; the rest is the name of the one service."""


def plugin_processes(plugins: Plugins) -> list[str]:
    """A process for each service that none of :data:`PROCESSES` hosts."""
    ours = {service for services in PROCESSES.values() for service in services}
    return [f"{PLUGINS}{service.name}" for service in plugins.services() if service.name not in ours]


def program(name: str, settings: Settings, plugins: Plugins) -> Program:
    """What to spawn for process ``name``.

    Raises:
        PluginMissing: no plugin provides one of its services.
    """
    records = {service.name: service for service in plugins.services()}
    services = PROCESSES.get(name, (name.removeprefix(PLUGINS),))
    if absent := [service for service in services if service not in records]:
        raise PluginMissing(
            f"no loaded plugin provides the service {absent[0]!r}", remedy="see why: hyprstream plugins"
        )
    config = host_config(
        [Hosted(service, records[service].load, service_config(settings)) for service in services],
        settings.runtime_dir,
        plugins.rpc_transports(),
        limits=settings.limits,
    )
    return Program(name, HOST, config, mode="subprocess", log=settings.log)
