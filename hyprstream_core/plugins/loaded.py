"""The plugins of this process: their states, and everything they yield."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import pluggy

from hyprstream_core import API_VERSION, hookspecs
from hyprstream_core.config import PluginSettings
from hyprstream_core.errors import PluginError
from hyprstream_core.interfaces.command import Command
from hyprstream_core.interfaces.device import DeviceBackend
from hyprstream_core.interfaces.model import Architecture
from hyprstream_core.interfaces.response import ResponseFormat
from hyprstream_core.interfaces.service import Service
from hyprstream_core.interfaces.settings import Settings
from hyprstream_core.interfaces.storage import StorageFilter, WorktreeDriver
from hyprstream_core.interfaces.transport import GitTransport, RpcTransport
from hyprstream_core.lazy import is_interrupt
from hyprstream_core.plugins.discovery import Candidate, installed, missing
from hyprstream_core.plugins.rules import MAX_RECORDS, RECORDS, check_records
from hyprstream_core.telemetry import Event, logger

State = Literal["ok", "failed", "blocked", "incompatible"]
log = logger(__name__)
R = TypeVar("R")


@dataclass
class PluginState:
    """One line of ``hyprstream plugins``."""

    name: str
    distribution: str
    version: str
    state: State
    reason: str = ""
    hooks: tuple[str, ...] = ()
    builtin: bool = field(default=False, repr=False)
    module: str = field(default="", repr=False)
    """Name of the module that was imported, "" when there is none."""
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict, repr=False)
    """Hook → its implementation, while the state is ok."""

    def fail(self, reason: str) -> None:
        """Take this plugin out of use."""
        self.state, self.reason = "failed", " ".join(reason.split())
        self.functions = {}

    @property
    def problem(self) -> str:
        """What is wrong with it, for messages; one line."""
        return f"its plugin {self.name!r} is {self.state}: {self.reason}"

    @property
    def origin(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}"


class Plugins:
    """The loaded plugins and everything they yield. Made once per process and passed around."""

    def __init__(self, candidates: Iterable[Candidate], settings: PluginSettings | None = None) -> None:
        """Load ``candidates``; a bad one becomes a state, not an exception."""
        self._settings = settings or PluginSettings()
        self._manager = pluggy.PluginManager("hyprstream")
        self._manager.add_hookspecs(hookspecs)
        self.states: list[PluginState] = []
        taken: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            taken.setdefault(candidate.name, []).append(candidate)
        with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints must not end up in our JSON
            for rivals in taken.values():
                self._admit(rivals)
            self._ask()

    def check_strict(self) -> None:
        """Insist on every plugin, when the settings do.

        Raises:
            PluginError: ``plugins.strict`` is set and a plugin failed or is incompatible.
        """
        bad = [s for s in self.states if s.state in ("failed", "incompatible")]
        if self._settings.strict and bad:
            lines = [f"  {s.origin}: {s.problem}" for s in bad]
            raise PluginError(
                "\n".join(
                    [f"plugins.strict is set, and not all plugins work: {len(bad)} of {len(self.states)}", *lines]
                ),
                remedy="mend or uninstall what does not work, or unset plugins.strict; see: hyprstream plugins",
            )

    def _admit(self, rivals: list[Candidate]) -> None:
        """Load the only candidate of a name; of several, a built-in stays and the others fail."""
        ours = [c for c in rivals if c.is_builtin]
        if len(rivals) == 1 or ours:
            winner = ours[0] if ours else rivals[0]
            self.states.append(self._load(winner))
            rivals = [c for c in rivals if c is not winner]
        if rivals and (len(rivals) > 1 or ours):
            names = ", ".join(f"{c.distribution} {c.version}" for c in [*ours, *rivals])
            reason = f"the plugin name {rivals[0].name!r} is claimed by several distributions: {names}"
            self.states += [PluginState(c.name, c.distribution, c.version, "failed", reason) for c in rivals]

    def _load(self, candidate: Candidate) -> PluginState:
        state = PluginState(
            candidate.name, candidate.distribution, candidate.version, "ok", builtin=candidate.is_builtin
        )
        if reason := self._blocked(candidate):
            state.state, state.reason = "blocked", reason
            return state
        try:
            self._register(candidate.find(), state)
        except (Exception, SystemExit) as error:  # a plugin's SystemExit must not end the program
            state.fail(_reason(error))
        return state

    def _blocked(self, candidate: Candidate) -> str:
        if candidate.is_builtin:
            return ""
        if self._settings.allow is not None and candidate.name not in self._settings.allow:
            return "not in plugins.allow"
        return "in plugins.disable" if candidate.name in self._settings.disable else ""

    def _register(self, module: object, state: PluginState) -> None:
        state.module = str(getattr(module, "__name__", ""))
        version = str(getattr(module, "api_version", "missing"))
        if version.split(".")[0] != API_VERSION.split(".")[0]:
            state.state = "incompatible"
            state.reason = f"api_version is {version}, this hyprstream speaks {API_VERSION}"
            return
        try:
            self._manager.register(module, name=state.name)
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            self._manager.unregister(name=state.name)
            raise
        for caller in self._manager.get_hookcallers(module) or []:
            (implementation,) = [i for i in caller.get_hookimpls() if i.plugin is module]
            state.functions[caller.name] = _with_known_arguments(implementation)
        state.hooks = tuple(sorted(state.functions))

    def _ask(self) -> None:
        """Ask every plugin for its records, once; one that cannot answer, or claims what is taken, fails."""
        answers: list[tuple[PluginState, str, list[Any], dict[str, Any]]] = []
        for state in self.states:
            try:
                found = [(hook, _collect(function)) for hook, function in state.functions.items() if hook in RECORDS]
                answers += [(state, hook, records, check_records(state.name, hook, records)) for hook, records in found]
            except (Exception, SystemExit) as error:
                state.fail(_reason(error))
        _settle([(state, hook, names) for state, hook, _, names in answers if state.state == "ok"])
        self._records: dict[str, list[Any]] = {hook: [] for hook in RECORDS}
        self._verbs: dict[str, PluginState] = {}
        for state, hook, records, _ in answers:
            if state.state == "ok":
                self._records[hook] += records
                self._verbs |= {r.name: state for r in records if isinstance(r, Command)}

    def _all(self, hook: str, record_type: type[R]) -> list[R]:
        return [record for record in self._records[hook] if isinstance(record, record_type)]

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

    def of_verb(self, name: str) -> PluginState | None:
        """The plugin that provides the verb ``name``."""
        return self._verbs.get(name)

    def settings(self) -> list[Settings]:
        """All configuration sections."""
        return self._all("hyprstream_settings", Settings)

    def architecture_for(self, hf_architectures: Sequence[str], model_type: str = "") -> Architecture:
        """The family that implements one of ``hf_architectures`` (``config.json``'s list); for a model that lists
        none, the only one for its ``model_type``.

        Raises:
            PluginMissing: none does; names the distribution to install when it is known.
        """
        for architecture in self.architectures():
            if set(architecture.hf_architectures) & set(hf_architectures):
                return architecture
        of_type = [a for a in self.architectures() if model_type in a.model_types]
        if not hf_architectures and len(of_type) == 1:
            return of_type[0]
        wanted = ", ".join(map(repr, hf_architectures)) or "none named in config.json"
        known = sorted(n for a in self.architectures() for n in a.hf_architectures)
        raise missing(f"architecture {wanted}", hf_architectures[0] if hf_architectures else "", known, self.states)

    def observe(self, event: Event) -> None:
        """Tell every observer; an exception is logged."""
        for state in self.states:
            if function := state.functions.get("hyprstream_observe"):
                try:
                    function(event=event)
                except Exception:
                    log.exception("observer failed", plugin=state.name, event_name=event.name)


def discover(settings: PluginSettings | None = None) -> Plugins:
    """Load every installed plugin that ``settings`` allows.

    Raises:
        PluginError: ``plugins.strict`` is set and a plugin failed or is incompatible.
    """
    plugins = Plugins(installed(), settings)
    plugins.check_strict()
    return plugins


def _with_known_arguments(implementation: pluggy.HookImpl) -> Callable[..., Any]:
    """A hook may leave out arguments that it does not need; call it with those that it names."""
    function, names = implementation.function, implementation.argnames
    return lambda **arguments: function(**{name: arguments[name] for name in names})


def _collect(function: Callable[..., Any]) -> list[Any]:
    records = list(itertools.islice(iter(function()), MAX_RECORDS + 1))
    if len(records) > MAX_RECORDS:
        raise PluginError(f"a hook yields more than {MAX_RECORDS} records")
    return records


def _settle(claims: list[tuple[PluginState, str, dict[str, Any]]]) -> None:
    """Of two plugins that claim one name a built-in stays; otherwise both fail, whatever their order."""
    owners: dict[tuple[str, str], list[PluginState]] = {}
    for state, hook, names in claims:
        for name in names:
            owners.setdefault((hook, name), []).append(state)
    for (hook, name), rivals in owners.items():
        if len(rivals) > 1:
            origins = ", ".join(rival.origin for rival in rivals)
            for rival in rivals:
                if not rival.builtin:
                    rival.fail(f"PluginConflict: {hook}: {name!r} is provided by several distributions: {origins}")


def _reason(error: BaseException) -> str:
    """Why a plugin failed; ctrl-C while it was loaded is not its fault, and ends the program."""
    if is_interrupt(error):
        raise KeyboardInterrupt from error
    return f"{type(error).__name__}: {error}"
