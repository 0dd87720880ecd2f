"""Plugins: one broken plugin is a line in the list, never a crash. With really installed distributions."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from hyprstream_core.config import PluginSettings
from hyprstream_core.errors import PluginError, PluginMissing
from hyprstream_core.plugins import PACKAGES, Candidate, Plugins, discover, installed, load, missing

GOOD = """
    from hyprstream_core import hookimpl
    from hyprstream_core.interfaces.command import Command
    api_version = "1.0"

    @hookimpl
    def hyprstream_commands():
        yield Command({name!r}, help="Says hello.", load="{module}_body:hello")
"""
BODY = """
    import click

    @click.command()
    def hello():
        '''Say hello.'''
        click.echo("hello")
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on sys.path, into which distributions are installed as pip would."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


def install(site, dist, source, *, plugin=None, version="1.0", target=None):
    """Install distribution ``dist`` with a plugin module of the given source; returns the module's name."""
    module = dist.replace("-", "_")
    (site / f"{module}.py").write_text(textwrap.dedent(source))
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
    info.joinpath("entry_points.txt").write_text(
        f"[hyprstream.plugins]\n{plugin or dist.removeprefix('third-')} = {target or module}\n"
    )
    info.joinpath("RECORD").write_text("")
    return module


def good(site, dist, name, **options):
    module = dist.replace("-", "_")
    (site / f"{module}_body.py").write_text(textwrap.dedent(BODY))
    return install(site, dist, GOOD.format(name=name, module=module), **options)


def state_of(plugins, name):
    (state,) = [s for s in plugins.states if s.name == name]
    return state


def broken(source):
    return f"from hyprstream_core import hookimpl\napi_version = '1.0'\n{textwrap.dedent(source)}"


BROKEN = {
    "raises": ("raise RuntimeError('at import')", "failed", "RuntimeError: at import"),
    "import-error": ("import no_such_module_anywhere", "failed", "ModuleNotFoundError"),
    "syntax-error": ("def :", "failed", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "failed", "SystemExit: 3"),
    "recursion": ("def f(): f()\nf()", "failed", "RecursionError"),
    "no-version": ("pass", "incompatible", "api_version is missing, this hyprstream speaks 1.0"),
    "old-version": ("api_version = '0.9'", "incompatible", "api_version is 0.9"),
    "new-version": ("api_version = '2.0'", "incompatible", "api_version is 2.0"),
    "odd-version": ("api_version = object()", "incompatible", "api_version is <object"),
    "misspelt": (broken("@hookimpl\ndef hyprstream_comands(): yield 1"), "failed", "hyprstream_comands"),
    "arguments": (broken("@hookimpl\ndef hyprstream_commands(app): yield 1"), "failed", "app"),
    "garbage": (broken("@hookimpl\ndef hyprstream_commands(): yield 'a command'"), "failed", "yielded 'a command'"),
    "returns-none": (broken("@hookimpl\ndef hyprstream_commands(): return None"), "failed", "TypeError"),
    "hook-raises": (broken("@hookimpl\ndef hyprstream_commands(): raise KeyError('x')"), "failed", "KeyError: 'x'"),
    "hook-exits": (broken("@hookimpl\ndef hyprstream_commands(): raise SystemExit"), "failed", "SystemExit"),
    "endless": (
        broken(
            """
            import itertools
            from hyprstream_core.interfaces.command import Command
            @hookimpl
            def hyprstream_commands(): return (Command(f"c{i}", "h", "m:a") for i in itertools.count())
            """
        ),
        "failed",
        "more than 1000 records",
    ),
    "twice": (
        broken(
            """
            from hyprstream_core.interfaces.command import Command
            @hookimpl
            def hyprstream_commands(): return [Command("same", "h", "m:a"), Command("same", "h", "m:a")]
            """
        ),
        "failed",
        "PluginConflict: hyprstream_commands yields 'same' twice",
    ),
    "eager-load": (
        broken(
            """
            from hyprstream_core.interfaces.command import Command
            @hookimpl
            def hyprstream_commands(): yield Command("verb", "h", load=print)
            """
        ),
        "failed",
        "load must be 'module:attribute'",
    ),
    "bad-name": (
        broken(
            """
            from hyprstream_core.interfaces.command import Command
            @hookimpl
            def hyprstream_commands(): yield Command("--help", "h", "m:a")
            """
        ),
        "failed",
        "the name must be lower-case",
    ),
    "shadows-a-setting": (
        broken(
            """
            import msgspec
            from hyprstream_core.interfaces.settings import Settings
            class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
                port: int = 1
            @hookimpl
            def hyprstream_settings(): yield Settings("server", Port)
            """
        ),
        "failed",
        "HYPRSTREAM_SERVER_PORT is a setting of core",
    ),
    "shadows-the-list": (
        broken(
            """
            import msgspec
            from hyprstream_core.interfaces.settings import Settings
            class Any(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
                x: int = 1
            @hookimpl
            def hyprstream_settings(): yield Settings("allow", Any)
            """
        ),
        "failed",
        "plugins.allow is a setting of core",
    ),
    "loose-settings": (
        broken(
            """
            import msgspec
            from hyprstream_core.interfaces.settings import Settings
            class Loose(msgspec.Struct):
                x: int = 1
            @hookimpl
            def hyprstream_settings(): yield Settings("loose", Loose)
            """
        ),
        "failed",
        "frozen and forbid unknown fields",
    ),
    "no-socket": (
        broken(
            """
            from hyprstream_core.interfaces.service import Service
            @hookimpl
            def hyprstream_services(): yield Service("my.service", load="m:A")
            """
        ),
        "failed",
        "the name of a service must match",
    ),
    "named-otherwise": (
        broken(
            """
            import msgspec
            from hyprstream_core.interfaces.settings import Settings
            class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
                size: int = 1
            @hookimpl
            def hyprstream_settings(): yield Settings("sizes", Own)
            """
        ),
        "failed",
        "a plugin's section has the plugin's own name, here '",
    ),
    "required-settings": (
        broken(
            """
            import msgspec
            from hyprstream_core.interfaces.settings import Settings
            class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
                x: int
            @hookimpl
            def hyprstream_settings(): yield Settings("needs", Needs)
            """
        ),
        "failed",
        "must have a default",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_case_102_a_broken_plugin_is_a_line_with_its_reason_and_the_rest_works(site, kind):
    source, state, reason = BROKEN[kind]
    install(site, "third-broken", source)
    good(site, "third-fine", "hello")
    plugins = Plugins(installed())
    found = state_of(plugins, "broken")
    assert (found.state, found.distribution, found.version) == (state, "third-broken", "1.0")
    assert reason in found.reason
    assert state_of(plugins, "fine").state == "ok"
    assert state_of(plugins, "builtin").state == "ok"
    assert "hello" in {c.name for c in plugins.commands()}


def test_case_102_everything_broken_at_once_still_leaves_the_command_line(site):
    for kind, (source, _, _) in BROKEN.items():
        install(site, f"third-{kind}", source)
    run = command_line(site, "plugins", "--json")
    assert run.returncode == 0, run.stderr
    states = {p["name"]: p for p in json.loads(run.stdout)}
    assert {kind: states[kind]["state"] for kind in BROKEN} == {kind: state for kind, (_, state, _) in BROKEN.items()}
    assert states["builtin"]["state"] == "ok"
    assert set(states["builtin"]) == {"name", "distribution", "version", "state", "reason", "hooks"}


def command_line(site, *arguments, **env):
    inherited = {k: v for k, v in os.environ.items() if k != "HYPRSTREAM_PLUGINS"}
    return subprocess.run(
        [sys.executable, "-m", "hyprstream_core.cli", *arguments],
        env={**inherited, "PYTHONPATH": str(site), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_case_102_what_a_plugin_prints_does_not_spoil_json(site):
    install(site, "third-loud", "print('hello from the plugin')\n" + textwrap.dedent(broken("print('again')")))
    run = command_line(site, "plugins", "--json")
    assert "loud" in {p["name"] for p in json.loads(run.stdout)}
    assert "hello from the plugin" in run.stderr


def test_case_102_a_third_party_cannot_take_the_name_of_a_builtin(site):
    good(site, "third-evil", "hello", plugin="builtin")
    plugins = Plugins(installed())
    ours, theirs = [s for s in plugins.states if s.name == "builtin"]
    assert (ours.state, theirs.state) == ("ok", "failed")
    assert "hyprstream " in theirs.reason
    assert "third-evil 1.0" in theirs.reason


def test_case_102_two_third_parties_with_one_plugin_name_both_fail(site):
    good(site, "third-one", "one", plugin="same")
    good(site, "third-two", "two", plugin="same")
    states = [s for s in Plugins(installed()).states if s.name == "same"]
    assert [s.state for s in states] == ["failed", "failed"]
    assert all("third-one 1.0, third-two 1.0" in s.reason for s in states)


def test_case_102_a_verb_of_core_cannot_be_shadowed(site):
    good(site, "third-evil", "list")
    plugins = Plugins(installed())
    evil = state_of(plugins, "evil")
    assert evil.state == "failed"
    assert evil.reason.startswith("PluginConflict: hyprstream_commands: 'list' is provided by several distributions")
    assert "third-evil 1.0" in evil.reason
    (record,) = [c for c in plugins.commands() if c.name == "list"]
    assert record.load.startswith("hyprstream_core.")


SECTION = """
    import msgspec
    from hyprstream_core import hookimpl
    from hyprstream_core.interfaces.settings import Settings
    api_version = "1.0"

    class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        size: int = 1

    @hookimpl
    def hyprstream_settings():
        yield Settings("sized", Own)
"""


def test_the_settings_of_a_plugin_that_is_not_loaded_stop_no_verb(site, tmp_path):
    install(site, "third-sized", SECTION)
    file = tmp_path / "config.toml"
    file.write_text("[plugins.sized]\nsize = 2\n")
    for given in ({"HYPRSTREAM_SIZED_SIZE": "3"}, {"HYPRSTREAM_CONFIG": str(file)}):
        run = command_line(site, "config", "show", "--json", **given)
        assert json.loads(run.stdout)["plugins.sized.size"] in (2, 3), run.stderr
        run = command_line(site, "config", "show", HYPRSTREAM_DISABLE_PLUGINS="sized", **given)
        assert run.returncode == 0, run.stderr


def test_two_third_parties_with_one_verb_both_fail_whatever_their_order(site):
    good(site, "third-a", "hello")
    good(site, "third-b", "hello")
    for candidates in (installed(), installed()[::-1]):
        plugins = Plugins(candidates)
        assert [state_of(plugins, n).state for n in "ab"] == ["failed", "failed"]
        assert "third-a 1.0" in state_of(plugins, "b").reason
        assert "hello" not in {c.name for c in plugins.commands()}


def test_case_103_a_plugin_that_is_not_allowed_is_not_even_imported(site):
    module = install(site, "third-secret", "raise AssertionError('imported')")
    for settings, reason in (
        (PluginSettings(allow=("qwen",)), "not in plugins.allow"),
        (PluginSettings(disable=("secret",)), "in plugins.disable"),
    ):
        found = state_of(Plugins(installed(), settings), "secret")
        assert (found.state, found.reason) == ("blocked", reason)
        assert module not in sys.modules


def test_the_builtins_cannot_be_left_out():
    plugins = Plugins(installed(), PluginSettings(allow=(), disable=("builtin",)))
    assert state_of(plugins, "builtin").state == "ok"
    assert {s.state for s in plugins.states if s.name != "builtin"} <= {"blocked"}


def test_strict_turns_a_failed_plugin_into_an_error(site):
    install(site, "third-broken", "raise RuntimeError('at import')")
    install(site, "third-other", "raise RuntimeError('two\\nlines')")
    with pytest.raises(PluginError, match=r"third-broken 1\.0: its plugin 'broken' is failed: RuntimeError: at import"):
        discover(PluginSettings(strict=True))
    for verb in (["list"], ["version"], ["config", "show"]):
        run = command_line(site, *verb, HYPRSTREAM_STRICT_PLUGINS="1")
        assert run.returncode == 1
        first, *problems, remedy = run.stderr.splitlines()
        assert first.startswith("error: plugins.strict is set, and not all plugins work: 2 of ")
        assert [problem.split()[0] for problem in problems] == ["third-broken", "third-other"]
        assert "hyprstream plugins" in remedy


def test_strict_still_lists_the_plugins_and_the_verbs(site):
    install(site, "third-broken", "raise RuntimeError('at import')")
    run = command_line(site, "plugins", "--json", HYPRSTREAM_STRICT_PLUGINS="1")
    assert run.returncode == 0, run.stderr
    assert {p["name"]: p["state"] for p in json.loads(run.stdout)}["broken"] == "failed"
    assert command_line(site, "--help", HYPRSTREAM_STRICT_PLUGINS="1").returncode == 0


def test_a_rival_for_the_name_of_our_plugin_is_not_answered_with_its_installation(site):
    good(site, "third-rival", "hello", plugin="api")
    run = command_line(site, "server")
    assert run.returncode == 2
    assert "pip install" not in run.stderr
    assert "hyprstream-api is installed, but its plugin 'api' is failed" in run.stderr
    assert "third-rival 1.0" in run.stderr
    assert "see: hyprstream plugins" in run.stderr


def test_a_family_whose_plugin_is_blocked_is_not_to_be_installed():
    plugins = Plugins(installed(), PluginSettings(disable=("qwen",)))
    with pytest.raises(PluginMissing) as caught:
        plugins.architecture_for(["Qwen3ForCausalLM"])
    assert "its plugin 'qwen' is blocked: in plugins.disable" in caught.value.remedy


def test_pip_is_advised_for_distributions_of_this_repository_alone():
    assert set(PACKAGES.values()) <= {"hyprstream-qwen", "hyprstream-demo", "hyprstream-api"}
    error = missing("device 'cuda'", "cuda", ["cpu"])
    assert error.message == "no installed plugin provides device 'cuda'; available: cpu"
    assert "pip" not in error.remedy


def test_case_102_a_defect_in_the_verb_of_a_plugin_is_not_ours(site):
    good(site, "third-fine", "hello")
    body = textwrap.dedent(BODY).replace("click.echo", "raise ZeroDivisionError")
    (site / "third_fine_body.py").write_text(body)
    run = command_line(site, "hello")
    assert run.returncode == 1
    assert run.stderr.startswith("error: a defect in third-fine 1.0, whose plugin 'fine' provides this verb: ZeroDiv")
    assert "report it to the authors of third-fine" in run.stderr


INTERRUPTED = {
    "at import": "raise KeyboardInterrupt",
    "while a class is made": """
        class Field:
            def __set_name__(self, owner, name):
                raise KeyboardInterrupt

        class Owner:
            field = Field()
        """,
    "handled badly": "try: raise KeyboardInterrupt\nexcept BaseException: raise RuntimeError('something')",
    "in a hook": broken("@hookimpl\ndef hyprstream_commands(): raise KeyboardInterrupt"),
}


@pytest.mark.parametrize("when", INTERRUPTED)
def test_control_c_while_plugins_are_loaded_is_no_fault_of_theirs(site, when):
    install(site, "third-slow", INTERRUPTED[when])
    with pytest.raises(KeyboardInterrupt):
        Plugins(installed())
    run = command_line(site, "plugins")
    assert run.returncode == 130
    assert run.stderr.strip() == ""


def test_control_c_while_a_verb_is_imported_ends_it_quietly(site):
    good(site, "third-fine", "hello")
    (site / "third_fine_body.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)"
    )
    run = command_line(site, "hello")
    assert (run.returncode, run.stderr.strip()) == (130, "")


def test_a_verb_of_a_plugin_runs_and_its_body_is_imported_only_then(site):
    good(site, "third-fine", "hello")
    Plugins(installed())
    assert "third_fine_body" not in sys.modules
    assert command_line(site, "hello").stdout == "hello\n"
    assert "Says hello." in command_line(site, "--help").stdout


def test_a_broken_verb_body_fails_that_verb_alone(site):
    good(site, "third-fine", "hello")
    (site / "third_fine_body.py").write_text("raise RuntimeError('body')")
    assert command_line(site, "--help").returncode == 0
    run = command_line(site, "hello")
    assert run.returncode == 1
    assert run.stderr.startswith("error: cannot load 'third_fine_body:hello': RuntimeError: body")


def test_the_section_of_a_broken_plugin_does_not_break_the_configuration(site, tmp_path):
    install(site, "third-broken", "raise RuntimeError('at import')")
    file = tmp_path / "config.toml"
    file.write_text("[plugins.broken]\nsize = 3\n")
    run = command_line(site, "--config", str(file), "config", "show", HYPRSTREAM_BROKEN_COLOUR="red")
    assert run.returncode == 0, run.stderr


def test_one_module_under_two_names_fails_the_second(site):
    module = good(site, "third-one", "hello")
    install(site, "third-two", "", target=module)
    plugins = Plugins(installed())
    assert [state_of(plugins, n).state for n in ("one", "two")] == ["ok", "failed"]


def test_a_candidate_that_is_no_module_is_incompatible():
    plugins = Plugins([Candidate("x", "dist-x", "1", lambda: 3)])
    assert state_of(plugins, "x").state == "incompatible"


@pytest.mark.parametrize("path", ["no.such.module:x", "hyprstream_core.plugins:nothing", "hyprstream_core.plugins:"])
def test_loading_what_does_not_exist_names_the_path(path):
    with pytest.raises(PluginError, match="cannot load"):
        load(path)


def test_loading_walks_attributes():
    assert load("hyprstream_core.plugins:Candidate.is_builtin") is Candidate.is_builtin
