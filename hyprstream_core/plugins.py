"""Discovery of plugins: isolated, with provenance, and with every conflict named.

Own loader instead of pluggy's ``load_setuptools_entrypoints``, which is all-or-nothing: one plugin that
raises at import would end the program, and the first of two equal names would win silently.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, TypeVar

import pluggy

from hyprstream_core import API_VERSION, hookspecs
from hyprstream_core.config import PluginSettings
from hyprstream_core.errors import PluginConflict, PluginError, PluginMissing
from hyprstream_core.interfaces.command import Command
from hyprstream_core.interfaces.device import DeviceBackend
from hyprstream_core.interfaces.model import Architecture
from hyprstream_core.interfaces.response import ResponseFormat
from hyprstream_core.interfaces.service import Service
from hyprstream_core.interfaces.settings import Settings
from hyprstream_core.interfaces.storage import StorageFilter, WorktreeDriver
from hyprstream_core.interfaces.transport import GitTransport, RpcTransport
from hyprstream_core.telemetry import Event, logger

GROUP = "hyprstream.plugins"
BUILTIN = "hyprstream_core.builtin"
BUILTIN_DISTRIBUTION = "hyprstream"
State = Literal["ok", "failed", "blocked", "incompatible"]
log = logger(__name__)
R = TypeVar("R")

PACKAGES = {
    "Qwen": "hyprstream-qwen",
    "Llama": "hyprstream-llama",
    "Gemma": "hyprstream-gemma",
    "Mistral": "hyprstream-mistral",
    "cuda": "hyprstream-cuda",
    "rocm": "hyprstream-rocm",
    "demo": "hyprstream-demo",
    "server": "hyprstream-api",
}
"""First letters of what is missing → the distribution that provides it."""


@dataclass(frozen=True)
class Candidate:
    """A plugin that may be loaded: an entry point, or one of ours. ``find`` imports its module."""

    name: str
    distribution: str
    version: str
    find: Callable[[], Any]


@dataclass
class PluginState:
    """One line of ``hyprstream plugins``."""

    name: str
    distribution: str
    version: str
    state: State
    reason: str = ""
    hooks: tuple[str, ...] = ()
    module: ModuleType | None = field(default=None, repr=False)


def installed() -> list[Candidate]:
    """Every plugin of this environment, ours first, the others by name."""
    builtin = Candidate(
        "builtin", BUILTIN_DISTRIBUTION, _version(BUILTIN_DISTRIBUTION), lambda: importlib.import_module(BUILTIN)
    )
    found = [
        Candidate(
            point.name, point.dist.name if point.dist else "?", point.dist.version if point.dist else "?", point.load
        )
        for point in importlib.metadata.entry_points(group=GROUP)
    ]
    return [builtin, *sorted(found, key=lambda c: (c.name, c.distribution))]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "?"


class Plugins:
    """The loaded plugins and everything they yield. Made once per process and passed around."""

    def __init__(self, candidates: Iterable[Candidate], settings: PluginSettings | None = None) -> None:
        """Load ``candidates``; a bad one becomes a state, not an exception.

        Raises:
            PluginError: ``plugins.strict`` is set and a plugin is not ok.
        """
        self._settings = settings or PluginSettings()
        self._manager = pluggy.PluginManager("hyprstream")
        self._manager.add_hookspecs(hookspecs)
        self.states: list[PluginState] = []
        taken: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            taken.setdefault(candidate.name, []).append(candidate)
        for rivals in taken.values():
            self._admit(rivals)
        self._check_records()
        if self._settings.strict and (bad := [s for s in self.states if s.state in ("failed", "incompatible")]):
            raise PluginError(
                "; ".join(f"plugin {s.name!r} ({s.distribution} {s.version}) is {s.state}: {s.reason}" for s in bad),
                remedy="mend or uninstall it, or unset plugins.strict",
            )

    def _admit(self, rivals: list[Candidate]) -> None:
        """Load the only candidate of a name; of several, a built-in stays and the others fail."""
        ours = [c for c in rivals if c.distribution == BUILTIN_DISTRIBUTION and c.name == "builtin"]
        if len(rivals) == 1 or ours:
            winner = ours[0] if ours else rivals[0]
            self.states.append(self._load(winner))
            rivals = [c for c in rivals if c is not winner]
        if rivals and (len(rivals) > 1 or ours):
            names = ", ".join(f"{c.distribution} {c.version}" for c in [*ours, *rivals])
            reason = f"the plugin name {rivals[0].name!r} is claimed by several distributions: {names}"
            self.states += [PluginState(c.name, c.distribution, c.version, "failed", reason) for c in rivals]

    def _load(self, candidate: Candidate) -> PluginState:
        state = PluginState(candidate.name, candidate.distribution, candidate.version, "ok")
        if reason := self._blocked(candidate):
            state.state, state.reason = "blocked", reason
            return state
        try:
            module = candidate.find()
            self._register(module, state)
        except (Exception, SystemExit) as error:  # a plugin's SystemExit must not end the program
            state.state, state.reason = "failed", f"{type(error).__name__}: {error}"
        return state

    def _blocked(self, candidate: Candidate) -> str:
        if candidate.distribution == BUILTIN_DISTRIBUTION and candidate.name == "builtin":
            return ""
        if self._settings.allow is not None and candidate.name not in self._settings.allow:
            return "not in plugins.allow"
        return "in plugins.disable" if candidate.name in self._settings.disable else ""

    def _register(self, module: ModuleType, state: PluginState) -> None:
        version = str(getattr(module, "api_version", "missing"))
        if version.split(".")[0] != API_VERSION.split(".")[0]:
            state.state = "incompatible"
            state.reason = f"api_version is {version}, this hyprstream speaks {API_VERSION}"
            return
        self._manager.register(module, name=state.name)
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            self._manager.unregister(module)
            raise
        callers = self._manager.get_hookcallers(module) or []
        state.hooks, state.module = tuple(sorted(c.name for c in callers)), module

    def _check_records(self) -> None:
        """Ask every plugin for its records now; one that cannot answer, or claims what is taken, fails."""
        self._records: dict[str, list[tuple[PluginState, Any]]] = {name: [] for name in _KEYS}
        for state in [s for s in self.states if s.module]:
            try:
                answers = [(h, list(getattr(state.module, h)())) for h in state.hooks if h in _KEYS]
                for hook, records in answers:
                    self._check_conflicts(hook, records, state)
            except (Exception, SystemExit) as error:
                state.state, state.reason = "failed", f"{type(error).__name__}: {error}"
                self._manager.unregister(state.module)
                state.module = None
                continue
            for hook, records in answers:
                self._records[hook] += [(state, record) for record in records]

    def _check_conflicts(self, hook: str, records: list[Any], state: PluginState) -> None:
        record_type, keys = _KEYS[hook]
        own: set[str] = set()
        owners = {key: owner for owner, record in self._records[hook] for key in keys(record)}
        for record in records:
            if not isinstance(record, record_type):
                raise PluginError(f"{hook} yielded {record!r}, expected {record_type.__name__}")
            for key in keys(record):
                if key in own:
                    raise PluginConflict(f"{hook}: {key!r} is yielded twice by {state.distribution} {state.version}")
                if rival := owners.get(key):
                    raise PluginConflict(
                        f"{hook}: {key!r} of {state.distribution} {state.version} is already provided by "
                        f"{rival.distribution} {rival.version}"
                    )
                own.add(key)

    def _all(self, hook: str, record_type: type[R]) -> list[R]:
        return [record for _, record in self._records[hook] if isinstance(record, record_type)]

    def architectures(self) -> list[Architecture]:
        """All model families."""
        return self._all("hyprstream_architectures", Architecture)

    def device_backends(self) -> list[DeviceBackend]:
        """All hardware targets."""
        return self._all("hyprstream_device_backends", DeviceBackend)

    def storage_filters(self) -> list[StorageFilter]:
        """All kinds of pointer files."""
        return self._all("hyprstream_storage_filters", StorageFilter)

    def worktree_drivers(self) -> list[WorktreeDriver]:
        """All worktree drivers."""
        return self._all("hyprstream_worktree_drivers", WorktreeDriver)

    def git_transports(self) -> list[GitTransport]:
        """All git transports."""
        return self._all("hyprstream_git_transports", GitTransport)

    def rpc_transports(self) -> list[RpcTransport]:
        """All RPC transports."""
        return self._all("hyprstream_rpc_transports", RpcTransport)

    def services(self) -> list[Service]:
        """All services."""
        return self._all("hyprstream_services", Service)

    def response_formats(self) -> list[ResponseFormat]:
        """All response formats."""
        return self._all("hyprstream_response_formats", ResponseFormat)

    def commands(self) -> list[Command]:
        """All command-line verbs."""
        return self._all("hyprstream_commands", Command)

    def settings(self) -> list[Settings]:
        """All configuration sections."""
        return self._all("hyprstream_settings", Settings)

    def architecture_for(self, hf_architectures: Sequence[str]) -> Architecture:
        """The family that implements one of ``hf_architectures`` (``config.json``'s list).

        Raises:
            PluginMissing: none does; names the distribution to install when it is known.
        """
        for architecture in self.architectures():
            if set(architecture.hf_architectures) & set(hf_architectures):
                return architecture
        wanted = ", ".join(map(repr, hf_architectures)) or "none named in config.json"
        known = sorted(n for a in self.architectures() for n in a.hf_architectures)
        raise missing(f"architecture {wanted}", hf_architectures[0] if hf_architectures else "", known)

    def observe(self, event: Event) -> None:
        """Tell every observer; an exception is logged."""
        for state in self.states:
            if state.module and "hyprstream_observe" in state.hooks:
                try:
                    state.module.hyprstream_observe(event)
                except Exception:
                    log.exception("observer failed", plugin=state.name, event_name=event.name)


def missing(what: str, name: str, known: Iterable[str]) -> PluginMissing:
    """The error for something that no installed plugin provides."""
    package = next((dist for prefix, dist in PACKAGES.items() if name.startswith(prefix)), None)
    remedy = f"pip install {package}" if package else "install the plugin that provides it; see: hyprstream plugins"
    return PluginMissing(
        f"{what} needs a plugin that is not installed; available: {', '.join(known) or 'none'}", remedy=remedy
    )


def load(path: str) -> Any:
    """Import ``"module:attribute"``.

    Raises:
        PluginError: it cannot be imported or does not exist.
    """
    module, _, attribute = path.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"cannot load {path!r}: {type(error).__name__}: {error}") from error
    return value


def discover(settings: PluginSettings | None = None) -> Plugins:
    """Load every installed plugin that ``settings`` allows."""
    return Plugins(installed(), settings)


def _by_name(record: Any) -> tuple[str, ...]:
    return (record.name,)


def _by_scheme(record: Any) -> tuple[str, ...]:
    return tuple(f"{s}://" for s in record.schemes)


_KEYS: dict[str, tuple[type[Any], Callable[[Any], tuple[str, ...]]]] = {
    "hyprstream_architectures": (Architecture, lambda r: (r.name, *r.hf_architectures)),
    "hyprstream_device_backends": (DeviceBackend, _by_name),
    "hyprstream_storage_filters": (StorageFilter, _by_name),
    "hyprstream_worktree_drivers": (WorktreeDriver, _by_name),
    "hyprstream_git_transports": (GitTransport, _by_scheme),
    "hyprstream_rpc_transports": (RpcTransport, _by_scheme),
    "hyprstream_services": (Service, _by_name),
    "hyprstream_response_formats": (ResponseFormat, _by_name),
    "hyprstream_commands": (Command, _by_name),
    "hyprstream_settings": (Settings, _by_name),
}
"""Hook → type of its records, and what must be unique among them."""

__all__ = ["Candidate", "PluginState", "Plugins", "discover", "installed", "load", "missing"]
