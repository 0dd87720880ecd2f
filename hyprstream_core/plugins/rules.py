"""What the records of each hook must look like, and what must be unique among them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from hyprstream_core.config import Settings as CoreSettings
from hyprstream_core.configuration import keys_of, section_env
from hyprstream_core.errors import PluginConflict, PluginError
from hyprstream_core.interfaces.command import Command
from hyprstream_core.interfaces.device import DeviceBackend
from hyprstream_core.interfaces.model import Architecture
from hyprstream_core.interfaces.response import ResponseFormat
from hyprstream_core.interfaces.service import SERVICE_NAME, Service
from hyprstream_core.interfaces.settings import Settings
from hyprstream_core.interfaces.storage import StorageFilter, WorktreeDriver
from hyprstream_core.interfaces.transport import GitTransport, RpcTransport

MAX_RECORDS = 1000
"""Records that one plugin may yield from one hook."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII)
_LAZY = ("load", "probe")


def _by_name(record: Any) -> tuple[str, ...]:
    return (record.name,)


def _by_scheme(record: Any) -> tuple[str, ...]:
    return (record.name, *(f"{s}://" for s in record.schemes))


RECORDS: dict[str, tuple[type[Any], Callable[[Any], tuple[str, ...]]]] = {
    "hyprstream_architectures": (Architecture, lambda r: (r.name, *r.hf_architectures)),
    "hyprstream_device_backends": (DeviceBackend, _by_name),
    "hyprstream_storage_filters": (StorageFilter, _by_name),
    "hyprstream_worktree_drivers": (WorktreeDriver, _by_name),
    "hyprstream_git_transports": (GitTransport, _by_scheme),
    "hyprstream_rpc_transports": (RpcTransport, _by_scheme),
    "hyprstream_services": (Service, _by_name),
    "hyprstream_response_formats": (ResponseFormat, _by_name),
    "hyprstream_commands": (Command, _by_name),
    "hyprstream_settings": (Settings, lambda r: (r.name, *(k.env for k in settings_keys(r)))),
}
"""Hook → type of its records, and the names that no two of them may share."""


def settings_keys(record: Settings) -> list[Any]:
    """The keys that a plugin's section adds to the configuration."""
    return keys_of(record.struct, f"plugins.{record.name}.", section_env(record.name))


def check_records(plugin: str, hook: str, records: list[Any]) -> dict[str, Any]:
    """The unique names of the ``records`` of ``plugin`` (its entry point's name), each with its record.

    Raises:
        PluginError: a record is of the wrong type or malformed; names hook and field.
        PluginConflict: a name occurs twice.
    """
    kind, names_of = RECORDS[hook]
    found: dict[str, Any] = {}
    for record in records:
        if not isinstance(record, kind):
            raise PluginError(f"{hook} yielded {_show(record)}, expected {kind.__name__}")
        for problem in _problems(plugin, record):
            raise PluginError(f"{hook} yielded {_show(record)}: {problem}")
        for name in names_of(record):
            if name in found:
                raise PluginConflict(f"{hook} yields {name!r} twice")
            found[name] = record
    return found


def _problems(plugin: str, record: Any) -> Iterator[str]:
    """What is wrong with ``record``; nothing when it is well-formed."""
    if not isinstance(record.name, str) or not _NAME.fullmatch(record.name):
        yield "the name must be lower-case ASCII letters, digits, '.', '_' and '-', at most 64"
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.name in _LAZY and not (isinstance(value, str) and _PATH.fullmatch(value)):
            yield f"{field.name} must be 'module:attribute', so that it is imported when it is needed"
        if str(field.type).startswith("tuple[str") and not _texts(value):
            yield f"{field.name} must be a tuple of strings"
    if isinstance(record, Service) and not SERVICE_NAME.fullmatch(record.name):
        yield f"the name of a service must match {SERVICE_NAME.pattern}: it is that of its socket"
    if isinstance(record, Settings):
        yield from _settings_problems(plugin, record)


def _texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, str) and v for v in value)


def _settings_problems(plugin: str, record: Settings) -> Iterator[str]:
    struct: Any = record.struct
    if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
        yield "struct must be a msgspec.Struct type"
        return
    config = struct.__struct_config__
    if not (config.frozen and config.forbid_unknown_fields):
        yield "struct must be frozen and forbid unknown fields"
    if any(f.required for f in msgspec.structs.fields(struct)):
        yield "every field of struct must have a default"
        return
    core = keys_of(CoreSettings)
    if f"plugins.{record.name}" in {key.name for key in core}:
        yield f"plugins.{record.name} is a setting of core"
    if taken := {key.env for key in settings_keys(record)} & {key.env for key in core}:
        yield f"{min(taken)} is a setting of core"
    if record.name != plugin:  # else nobody knew whose the keys are while the plugin is not loaded
        yield f"a plugin's section has the plugin's own name, here {plugin!r}"
    if "." in record.name:
        yield "the name of a plugin with a section has no '.'"


def _show(record: Any) -> str:
    text = repr(record)
    return text if len(text) <= 200 else f"{text[:200]}…"
