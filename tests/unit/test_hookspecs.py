"""Each hook is documented, typed, and does what its specification says."""

import inspect
import re
import types
from pathlib import Path

import msgspec
import pytest

from hyprstream_core import configuration, hookimpl, hookspecs
from hyprstream_core.errors import ConfigError, PluginMissing
from hyprstream_core.interfaces.command import Command
from hyprstream_core.interfaces.device import DeviceBackend
from hyprstream_core.interfaces.model import Architecture
from hyprstream_core.interfaces.response import ResponseFormat
from hyprstream_core.interfaces.service import Service
from hyprstream_core.interfaces.settings import Settings
from hyprstream_core.interfaces.storage import StorageFilter, WorktreeDriver
from hyprstream_core.interfaces.transport import GitTransport, RpcTransport
from hyprstream_core.plugins import Candidate, Plugins
from hyprstream_core.plugins.rules import RECORDS
from hyprstream_core.telemetry import Event

HOOKS = {n: f for n, f in vars(hookspecs).items() if n.startswith("hyprstream_") and inspect.isfunction(f)}


def plugin(name="p", **hooks):
    """A candidate whose module has the given hook functions."""
    module = types.ModuleType(name)
    module.api_version = "1.0"
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    return Candidate(name, f"dist-{name}", "1.0", lambda: module)


def yielding(hook, *records, name="p"):
    return plugin(name, **{hook: lambda: iter(records)})


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_an_example_and_two_fixed_lines(name):
    text = inspect.getdoc(HOOKS[name])
    lines = text.splitlines()
    assert len(lines[0]) > 20
    assert "Example::\n" in text
    assert f"def {name}(" in text
    assert [line.split(":")[0] for line in lines[-2:]] == ["Called in", "Combine"]
    assert all(len(line.split(":", 1)[1]) > 10 for line in lines[-2:])


@pytest.mark.parametrize("name", HOOKS)
def test_the_example_of_every_hook_compiles(name):
    block = inspect.getdoc(HOOKS[name]).split("Example::\n")[1].split("Called in:")[0]
    code = inspect.cleandoc(block)
    assert f"def {name}(" in code
    compile(code, name, "exec")


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_typed_and_has_no_default_arguments(name):
    signature = inspect.signature(HOOKS[name])
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert parameter.default is inspect.Parameter.empty


def test_every_hook_has_a_test_named_after_it():
    tests = {n for n in globals() if n.startswith("test_hook_")}
    untested = [h for h in HOOKS if not any(t.startswith(f"test_hook_{h.removeprefix('hyprstream_')}") for t in tests)]
    assert untested == []


def test_every_hook_that_yields_has_rules_for_its_records():
    assert set(RECORDS) == set(HOOKS) - {"hyprstream_observe"}
    for name, (record, _) in RECORDS.items():
        assert HOOKS[name].__annotations__["return"] == f"Iterable[{record.__name__}]"


def test_the_generated_page_names_every_hook():
    page = Path(__file__).parents[2].joinpath("docs/hooks.md").read_text()
    assert re.findall(r"^## (hyprstream_\w+)$", page, re.MULTILINE) == list(HOOKS)


def test_hook_architectures_are_found_by_their_hugging_face_name():
    record = Architecture("tiny", ("TinyForCausalLM",), ("tiny",), load="tiny:Family")
    plugins = Plugins([yielding("hyprstream_architectures", record)])
    assert plugins.architecture_for(["Other", "TinyForCausalLM"]) is record
    with pytest.raises(PluginMissing, match=r"no installed plugin provides .*TinyForCausalLM") as caught:
        plugins.architecture_for(["Qwen3ForCausalLM"])
    assert caught.value.remedy == "pip install hyprstream-qwen"
    with pytest.raises(PluginMissing) as caught:  # no distribution of that name exists
        plugins.architecture_for(["Gemma3ForCausalLM"])
    assert "pip" not in caught.value.remedy


def test_hook_device_backends_are_listed_in_the_order_of_plugins():
    a, b = (DeviceBackend(n, probe="x:probe", load="x:Backend") for n in "ab")
    plugins = Plugins([yielding("hyprstream_device_backends", a), yielding("hyprstream_device_backends", b, name="q")])
    assert plugins.device_backends() == [a, b]


ACCESSORS = {
    "hyprstream_storage_filters": (Plugins.storage_filters, StorageFilter("lfs", b"version", load="x:Lfs")),
    "hyprstream_worktree_drivers": (Plugins.worktree_drivers, WorktreeDriver("copy", load="x:Copy")),
    "hyprstream_git_transports": (Plugins.git_transports, GitTransport("demo", ("demo",), load="x:Demo")),
    "hyprstream_rpc_transports": (Plugins.rpc_transports, RpcTransport("ipc", ("ipc",), load="x:Ipc")),
    "hyprstream_services": (Plugins.services, Service("registry", load="x:Registry")),
    "hyprstream_response_formats": (Plugins.response_formats, ResponseFormat("h", ("<t>",), load="x:H")),
    "hyprstream_commands": (Plugins.commands, Command("serve", help="Serve.", load="x:serve")),
}


@pytest.mark.parametrize("hook", ACCESSORS)
def test_what_a_plugin_yields_comes_through(hook):
    accessor, record = ACCESSORS[hook]
    assert accessor(Plugins([yielding(hook, record)])) == [record]


def duplicate_fails(hook):
    _, record = ACCESSORS[hook]
    plugins = Plugins([yielding(hook, record), yielding(hook, record, name="q")])
    assert [s.state for s in plugins.states] == ["failed", "failed"]
    assert all("dist-p 1.0, dist-q 1.0" in s.reason for s in plugins.states)
    assert ACCESSORS[hook][0](plugins) == []


def test_hook_storage_filters_of_one_name_fail_both():
    duplicate_fails("hyprstream_storage_filters")


def test_hook_worktree_drivers_of_one_name_fail_both():
    duplicate_fails("hyprstream_worktree_drivers")


def test_hook_git_transports_for_one_scheme_fail_both():
    duplicate_fails("hyprstream_git_transports")
    one = GitTransport("one", ("same", "more"), load="x:Demo")
    two = GitTransport("two", ("same",), load="x:Demo")
    plugins = Plugins(
        [yielding("hyprstream_git_transports", one), yielding("hyprstream_git_transports", two, name="q")]
    )
    assert "'same://'" in plugins.states[0].reason


def test_hook_rpc_transports_for_one_scheme_fail_both():
    duplicate_fails("hyprstream_rpc_transports")


def test_hook_services_of_one_name_fail_both():
    duplicate_fails("hyprstream_services")


def test_hook_response_formats_of_one_name_fail_both():
    duplicate_fails("hyprstream_response_formats")


def test_hook_commands_of_one_name_fail_both():
    duplicate_fails("hyprstream_commands")


def test_hook_settings_add_a_section_that_file_environment_and_flags_can_set():
    class Demo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        cache_dir: str = "here"
        size: int = 3

    plugins = Plugins([yielding("hyprstream_settings", Settings("demo", Demo), name="demo")])
    sections = {s.name: s.struct for s in plugins.settings()}
    sources = configuration.Sources(
        env={"HYPRSTREAM_DEMO_SIZE": "7"}, file={"plugins": {"demo": {"cache_dir": "there", "size": 5}}}
    )
    assert configuration.resolve(sources, sections).sections["demo"] == Demo("there", 7)
    with pytest.raises(ConfigError, match=r"plugins\.demo\.sise"):
        configuration.resolve(configuration.Sources(file={"plugins": {"demo": {"sise": 1}}}), sections)


def test_hook_observe_is_called_in_every_plugin_even_when_one_raises(capsys):
    seen = []

    def broken(event):
        raise RuntimeError("observer broke")

    plugins = Plugins(
        [
            plugin("a", hyprstream_observe=broken),
            plugin("b", hyprstream_observe=lambda event: seen.append(event)),
            plugin("c", hyprstream_observe=lambda: seen.append("without arguments")),
        ]
    )
    assert [s.state for s in plugins.states] == ["ok"] * 3, plugins.states
    event = Event("model.loaded", {"model": "tiny:main"})
    plugins.observe(event)
    assert seen == [event, "without arguments"]
    assert "observer broke" in capsys.readouterr().err
