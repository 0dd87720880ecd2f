"""What every service process is made from: settings as plain data, and the plugins that they allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hyprstream_core.config import EngineSettings, Settings
from hyprstream_core.errors import PluginError
from hyprstream_core.interfaces.device import Backend
from hyprstream_core.plugins import Plugins, discover, load, missing


def from_config(config: Mapping[str, Any]) -> tuple[Settings, Plugins]:
    """Undo :func:`hyprstream_core.hosting.service_config`, and load the plugins."""
    settings = msgspec.convert(config["settings"], Settings, dec_hook=lambda hint, value: hint(value), strict=True)
    return settings, discover(settings.plugins)


def choose_backend(plugins: Plugins, settings: EngineSettings) -> Backend:
    """The configured device backend, or the one that scores best here.

    Raises:
        PluginMissing: no such backend is installed.
        PluginError: it is, but finds no device.
    """
    probes = {record.name: (record, load(record.probe)()) for record in plugins.device_backends()}
    if settings.device == "auto":
        record, probe = max(probes.values(), key=lambda pair: pair[1].score)
    elif settings.device in probes:
        record, probe = probes[settings.device]
    else:
        raise missing(f"device {settings.device!r}", settings.device, sorted(probes))
    if probe.score <= 0:
        raise PluginError(
            f"device backend {record.name!r} finds no usable device: {probe.reason}",
            remedy=f"choose another: {', '.join(n for n, (_, p) in probes.items() if p.score > 0)}",
        )
    backend: Backend = load(record.load).create(settings)
    return backend


__all__ = ["choose_backend", "from_config"]
