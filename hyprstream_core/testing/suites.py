"""Conformance suites for plugin authors. Subclass one, name the part, run pytest::

    class TestMyPlugin(PluginSuite):
        plugin = "mine"

    class TestMyDriver(WorktreeDriverSuite):
        driver = "my_driver:Driver"

:class:`PluginSuite` checks what a plugin yields; the others check one part's behaviour. Model families and
device backends have suites of their own (``testing.architecture``, ``testing.device``), which need torch, and so do
git transports (``testing.transport``).
"""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import click
import msgspec
import pytest

from hyprstream_core.config import Limits, Sources, keys_of, resolve
from hyprstream_core.errors import BadObject, Conflict
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
        module = next(iter(state.functions.values())).__module__
        code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": _path()}
        )
        assert run.stdout.split() == []


def _path() -> str:
    return ":".join(sys.path)


def _check_help(command: click.Command, path: str) -> None:
    assert "Examples:\n" in inspect.cleandoc(command.help or ""), f"{path} --help has no examples"
    assert f"hyprstream {path} " in f"{command.help} ".replace("\n", " ") or "hyprstream " in (command.help or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts[0]} has no help"
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            _check_help(child, f"{path} {name}")


class WorktreeDriverSuite:
    """What every way to fill a worktree must do, on the file system of pytest's temporary folder."""

    driver: ClassVar[str]
    CONTENT: ClassVar[bytes] = b"0123456789abcdef" * 8192

    @pytest.fixture
    def made(self) -> Materialiser:
        driver: Materialiser = load(self.driver)()
        return driver

    @pytest.fixture
    def blob(self, tmp_path: Path) -> Path:
        """A read-only blob of the store."""
        path = tmp_path / "blob"
        path.write_bytes(self.CONTENT)
        path.chmod(0o444)
        return path

    def test_probing_leaves_nothing_behind(self, tmp_path: Path) -> None:
        score = load(self.driver)().probe(tmp_path)
        assert isinstance(score, int)
        assert score >= 0
        assert list(tmp_path.iterdir()) == []

    def fill(self, driver: Materialiser, blob: Path, *targets: Path) -> bool:
        """Materialise; False where the driver says that it cannot, and refuses leaving nothing behind."""
        works = driver.probe(blob.parent) > 0
        for target in targets:
            if works:
                driver.materialise(blob, target)
            else:
                with pytest.raises(OSError, match=r"Errno"):
                    driver.materialise(blob, target)
                assert not target.exists()
        return works

    def test_the_target_holds_the_content_of_the_blob(self, made: Materialiser, blob: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        if self.fill(made, blob, target):
            assert target.read_bytes() == self.CONTENT
            assert not target.is_symlink()
        assert blob.read_bytes() == self.CONTENT

    def test_what_exists_is_not_replaced(self, made: Materialiser, blob: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_bytes(b"mine")
        with pytest.raises(OSError, match=r"Errno"):
            made.materialise(blob, target)
        assert target.read_bytes() == b"mine"

    def test_replacing_the_target_leaves_the_blob_and_other_targets(
        self, made: Materialiser, blob: Path, tmp_path: Path
    ) -> None:
        one, two, new = tmp_path / "one", tmp_path / "two", tmp_path / "new"
        filled = self.fill(made, blob, one, two)
        new.write_bytes(b"changed")
        new.replace(one)
        assert blob.read_bytes() == self.CONTENT
        assert not filled or two.read_bytes() == self.CONTENT

    def test_saved_bytes_are_between_nothing_and_everything(
        self, made: Materialiser, blob: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "target"
        if self.fill(made, blob, target):
            assert 0 <= made.saved_bytes(target) <= len(self.CONTENT)


class StorageFilterSuite:
    """What every kind of pointer must do. ``pointer`` writes a well-formed one."""

    record: ClassVar[StorageFilter]

    def pointer(self, oid: str, size: int) -> bytes:
        """The pointer blob of content with this sha256 and size."""
        raise NotImplementedError

    @pytest.fixture
    def made(self) -> ContentFilter:
        opened: ContentFilter = load(self.record.load)(10.0, Limits())
        return opened

    @pytest.mark.parametrize("size", [0, 1, 2**40])
    def test_a_pointer_is_read(self, made: ContentFilter, size: int) -> None:
        oid = hashlib.sha256(str(size).encode()).hexdigest()
        blob = self.pointer(oid, size)
        found = made.parse(blob)
        assert (found.oid, found.size) == (oid, size)
        assert blob.startswith(self.record.sniff)
        assert len(blob) <= Limits().pointer_bytes

    @pytest.mark.parametrize("oid", ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, "0" * 63 + "\n"])
    def test_case_014_a_malformed_digest_is_refused(self, made: ContentFilter, oid: str) -> None:
        with pytest.raises(BadObject):
            made.parse(self.pointer(oid, 1))

    def test_case_014_a_malformed_pointer_is_refused(self, made: ContentFilter) -> None:
        good = self.pointer("0" * 64, 1)
        for bad in (good[:-3], good + b"x" * 10, good * 2, self.record.sniff, self.record.sniff + b"\xff" * 2000):
            with pytest.raises(BadObject):
                made.parse(bad)
        with pytest.raises(BadObject):
            made.parse(self.pointer("0" * 64, -1))


class RpcTransportSuite:
    """What every RPC transport must do. ``endpoint`` names a place that is free."""

    link: ClassVar[str]
    is_exclusive: ClassVar[bool] = True
    """Whether a second bind is refused here (else ZeroMQ itself refuses it)."""

    def endpoint(self, folder: Path) -> str:
        """An endpoint of this transport's scheme; ``folder`` is private and empty."""
        raise NotImplementedError

    def test_a_place_can_be_taken_given_up_and_taken_again(self, tmp_path: Path) -> None:
        link: RpcLink = load(self.link)()
        for _ in range(2):
            link.prepare_bind(self.endpoint(tmp_path / "run"))
            link.release(self.endpoint(tmp_path / "run"))

    def test_a_place_that_is_taken_is_a_conflict(self, tmp_path: Path) -> None:
        first, second = (load(self.link)() for _ in range(2))
        place = self.endpoint(tmp_path / "run")
        first.prepare_bind(place)
        try:
            if self.is_exclusive:
                with pytest.raises(Conflict):
                    second.prepare_bind(place)
        finally:
            first.release(place)
