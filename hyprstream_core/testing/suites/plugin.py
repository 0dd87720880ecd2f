"""Conformance suite for what a plugin yields. Subclass it, name the plugin, run pytest::

    class TestMyPlugin(PluginSuite):
        plugin = "mine"

The other suites check the behaviour of one part.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import click
import msgspec
import pytest

from hyprstream_core.configuration import Sources, keys_of, resolve
from hyprstream_core.interfaces.command import Command
from hyprstream_core.interfaces.device import Backend, DeviceBackend, Probe
from hyprstream_core.interfaces.model import Architecture, Family
from hyprstream_core.interfaces.response import ResponseFormat, ResponseParser
from hyprstream_core.interfaces.service import Service
from hyprstream_core.interfaces.settings import Settings
from hyprstream_core.interfaces.storage import ContentFilter, Materialiser, StorageFilter, WorktreeDriver
from hyprstream_core.interfaces.transport import GitTransport, RpcLink, RpcTransport, Transport
from hyprstream_core.plugins import Plugins, PluginState, discover, load

PROMISES: Mapping[type[Any], type[Any]] = {
    Architecture: Family,
    DeviceBackend: Backend,
    StorageFilter: ContentFilter,
    WorktreeDriver: Materialiser,
    GitTransport: Transport,
    RpcTransport: RpcLink,
    ResponseFormat: ResponseParser,
}
"""Record → the class that what its ``load`` names must be a subclass of."""

HEAVY = ("torch", "numpy", "transformers", "tokenizers", "dulwich", "zmq", "capnp", "structlog", "rich", "falcon")
"""What listing a plugin must not import."""


class PluginSuite:
    """What every plugin must do, whatever it provides."""

    plugin: ClassVar[str]

    @pytest.fixture
    def plugins(self) -> Plugins:
        """The loaded plugins; those of this environment unless overridden."""
        return discover()

    @pytest.fixture
    def state(self, plugins: Plugins) -> PluginState:
        (state,) = [s for s in plugins.states if s.name == self.plugin]
        return state

    @pytest.fixture
    def records(self, state: PluginState) -> list[Any]:
        return [r for hook, f in state.functions.items() if hook != "hyprstream_observe" for r in f()]

    def test_it_is_ok_and_provides_something(self, state: PluginState) -> None:
        assert (state.state, state.reason) == ("ok", "")
        assert state.hooks

    def test_it_yields_the_same_records_each_time(self, state: PluginState, records: list[Any]) -> None:
        assert records == [r for hook, f in state.functions.items() if hook != "hyprstream_observe" for r in f()]

    def test_what_its_records_name_can_be_loaded_and_is_what_they_promise(self, records: list[Any]) -> None:
        for record in records:
            if promise := PROMISES.get(type(record)):
                part = load(record.load)
                assert inspect.isclass(part), record
                assert issubclass(part, promise), record
                assert not inspect.isabstract(part), record

    def test_probes_answer_without_raising(self, records: list[Any]) -> None:
        for record in records:
            if isinstance(record, DeviceBackend):
                probe = load(record.probe)()
                assert isinstance(probe, Probe)
                assert probe.score >= 0
                assert probe.reason or probe.score, "a score of 0 needs a reason"

    def test_services_have_the_life_cycle_that_spawning_needs(self, records: list[Any]) -> None:
        for record in records:
            if isinstance(record, Service):
                service = load(record.load)
                assert callable(service.create)
                assert inspect.iscoroutinefunction(service.start)
                assert inspect.iscoroutinefunction(service.stop)

    def test_verbs_are_click_commands_with_help_and_examples(self, records: list[Any]) -> None:
        for record in records:
            if isinstance(record, Command):
                command = load(record.load)
                assert isinstance(command, click.Command)
                assert record.help.endswith("."), record
                assert len(record.help) <= 60, record
                _check_help(command, record.name)

    def test_settings_have_defaults_and_a_docstring_under_each_field(self, records: list[Any]) -> None:
        for record in records:
            if isinstance(record, Settings):
                configuration = resolve(Sources(), {record.name: record.struct})
                assert configuration.sections[record.name] == record.struct()
                source = inspect.getsource(record.struct)
                fields = msgspec.structs.fields(record.struct)
                assert source.count('"""') >= 2 * len(fields), f"{record.struct.__name__}: document each field"
                assert len({key.env for key in keys_of(record.struct)}) == len(fields)

    def test_listing_it_imports_nothing_heavy(self, state: PluginState) -> None:
        assert state.module
        code = (
            f"import sys, {state.module} as plugin; print(plugin.__name__, *(m for m in {HEAVY!r} if m in sys.modules))"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": _path()}
        )
        assert run.stdout.split() == [state.module]


def _path() -> str:
    return ":".join(sys.path)


def _check_help(command: click.Command, path: str) -> None:
    assert "Examples:\n" in inspect.cleandoc(command.help or ""), f"{path} --help has no examples"
    examples = inspect.cleandoc(command.help or "").partition("Examples:\n")[2]
    assert re.search(rf"\bhyprstream {path}\b", examples), f"no example of {path} --help calls it"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts[0]} has no help"
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            _check_help(child, f"{path} {name}")
