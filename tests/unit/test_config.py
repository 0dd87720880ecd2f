"""Settings: precedence, origins, and refusals that say what would be right."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_core import config, configuration
from hyprstream_core.config import Settings
from hyprstream_core.configuration import Sources, resolve
from hyprstream_core.errors import ConfigError


def sources(env=None, file=None, flags=None):
    return Sources(env=env or {}, file=file or {}, flags=flags or {}, uid=1000)


def test_later_sources_win_and_each_origin_is_named():
    port = ("server", "port")
    env = {"HYPRSTREAM_SERVER_PORT": "3"}
    file = {port[0]: {port[1]: 2}}
    flags = {"server.port": ("--port", 4)}
    seen = []
    for given_sources in (sources(), sources(file=file), sources(env, file), sources(env, file, flags)):
        found = resolve(given_sources, {})
        seen.append((found.settings.server.port, found.origins["server.port"]))
    assert seen == [
        (50051, "default"),
        (2, "file config.toml"),
        (3, "env HYPRSTREAM_SERVER_PORT"),
        (4, "flag --port"),
    ]


def test_every_key_has_a_default_an_environment_name_and_a_value():
    keys = configuration.keys_of(Settings)
    values = resolve(sources(), {}).values()
    assert [k.name for k in keys] == list(values)
    assert len({k.env for k in keys}) == len(keys)
    others = {k.env for k in keys if not k.env.startswith("HYPRSTREAM_")}
    assert others == {"GIT_SSH_COMMAND", "NETRC", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"}


@pytest.mark.parametrize("key", configuration.keys_of(Settings), ids=lambda k: k.name)
def test_every_key_can_be_set_by_file_and_by_environment(key):
    value = resolve(sources(), {}).values()[key.name]
    plain = msgspec.to_builtins(value, enc_hook=str)
    if not plain:
        plain = {"": "a", "dict": {"a": "b"}}.get(value if value == "" else type(value).__name__, plain)
        plain = ["a"] if isinstance(value, tuple | None) else plain
    table = plain
    for part in reversed(key.name.split(".")):
        table = {part: table}
    pairs = [f"{k}={v}" for k, v in plain.items()] if isinstance(plain, dict) else []
    text = (
        ",".join(plain if isinstance(plain, list) else pairs)
        if isinstance(plain, list | dict)
        else str(plain).lower()
        if plain is True
        else str(plain)
    )
    by_file = resolve(sources(file=table), {})
    by_env = resolve(sources(env={key.env: text}), {})
    assert by_file.values()[key.name] == by_env.values()[key.name]
    assert by_file.origins[key.name].startswith("file ")
    assert by_env.origins[key.name] == f"env {key.env}"


@pytest.mark.parametrize(
    ("given_sources", "name", "suggestion"),
    [
        (sources(file={"server": {"prot": 1}}), "server.prot", "server.port"),
        (sources(file={"sever": {"port": 1}}), "sever", "server"),
        (sources(env={"HYPRSTREAM_SERVER_PROT": "1"}), "HYPRSTREAM_SERVER_PROT", "HYPRSTREAM_SERVER_PORT"),
        (sources(flags={"server.prot": ("--set server.prot", 1)}), "server.prot", "server.port"),
        (sources(file={"plugins": {"nobody": {"x": 1}}}), "plugins.nobody", ""),
        (sources(file={"plugins": {"allowed": ["a"]}}), "plugins.allowed", "plugins.allow"),
    ],
)
def test_an_unknown_key_is_refused_with_its_source_and_what_is_close(given_sources, name, suggestion):
    with pytest.raises(ConfigError) as caught:
        resolve(given_sources, {})
    assert caught.value.error_code == "config.unknown_key"
    assert repr(name) in caught.value.message
    assert suggestion in caught.value.remedy


@pytest.mark.parametrize(
    ("given_sources", "texts"),
    [
        (
            sources(env={"HYPRSTREAM_SERVER_PORT": "0"}),
            ["server.port", "env HYPRSTREAM_SERVER_PORT", "'0'"],
        ),
        (sources(env={"HYPRSTREAM_SERVER_PORT": "many"}), ["server.port", "'many'", "an integer from 1 to 65535"]),
        (sources(file={"server": {"port": "80"}}), ["server.port", "file config.toml", "'80'", "integer"]),
        (sources(file={"server": 3}), ["server"]),
        (sources(env={"HYPRSTREAM_LOG": "loud"}), ["log.level", "'loud'", "'debug', 'info', 'warning', 'error'"]),
        (sources(flags={"engine.dtype": ("--dtype", "int3")}), ["flag --dtype", "'float32', 'bfloat16', 'float16'"]),
        (sources(file={"models_dir": 3}), ["models_dir", "3", "path"]),
        (sources(env={"HYPRSTREAM_MODELS_DIR": ""}), ["models_dir", "''", "path"]),
        (sources(file={"clone": {"timeout": float("nan")}}), ["clone.timeout", "a number above 0, at most 86400"]),
        (sources(file={"server": {"workers": True}}), ["got True", "an integer from 1 to 64"]),
        (sources(file={"engine": {"kv_memory": -1}}), ["got -1", "an integer from 0 up"]),
        (sources(file={"server": {"port": 10**5000}}), ["an integer from 1 to 65535"]),
        (sources(file={"plugins": {"disable": "demo"}}), ["plugins.disable", "got 'demo'", "a list of text"]),
        (sources(env={"HYPRSTREAM_PLUGINS": "[1]"}), ["plugins.allow", "got [1]", "a list of text"]),
        (sources(env={"HYPRSTREAM_PLUGINS": "[a"}), ["plugins.allow", "got '[a'", "a list of text"]),
        (sources(env={"HYPRSTREAM_STRICT_PLUGINS": "maybe"}), ["got 'maybe'", "true or false"]),
    ],
)
def test_a_bad_value_is_refused_with_key_source_and_what_is_allowed(given_sources, texts):
    with pytest.raises(ConfigError) as caught:
        resolve(given_sources, {})
    assert all(text in str(caught.value) for text in texts), str(caught.value)


@pytest.mark.parametrize(
    ("given_sources", "remedy"),
    [
        (sources(flags={"server.port": ("--port", 99999)}), "correct --port"),
        (sources(env={"HYPRSTREAM_SERVER_PORT": "99999"}), "correct or unset HYPRSTREAM_SERVER_PORT"),
        (sources(file={"server": {"port": 99999}}), "edit config.toml"),
        (sources(flags={"models_dir": ("--models-dir", "")}), "correct --models-dir"),
        (sources(env={"HYPRSTREAM_MODELS_DIR": ""}), "correct or unset HYPRSTREAM_MODELS_DIR"),
        (sources(env={"HYPRSTREAM_MODELS_DIR": "~nobody-here/x"}), "correct or unset HYPRSTREAM_MODELS_DIR"),
    ],
)
def test_the_remedy_is_where_the_value_comes_from(given_sources, remedy):
    with pytest.raises(ConfigError) as caught:
        resolve(given_sources, {})
    assert (caught.value.error_code, caught.value.remedy) == ("config.bad_value", remedy)


def test_the_message_is_ours():
    with pytest.raises(ConfigError) as caught:
        resolve(sources(flags={"server.port": ("--port", 99999)}), {})
    assert caught.value.message == "server.port from flag --port: got 99999, expected an integer from 1 to 65535"


@pytest.mark.parametrize("key", configuration.keys_of(Settings), ids=lambda k: k.name)
def test_what_is_expected_of_every_key_is_said_in_words(key):
    assert configuration.expected(key.type).startswith(
        ("an integer", "a number", "text", "true or", "a path", "a list", "a table", "an http(s) URL", "one of")
    )


def test_bounds_of_a_plugins_own_settings_are_said_too():
    hint = Annotated[str | None, msgspec.Meta(min_length=1, max_length=8)]
    assert configuration.expected(hint) == "text of at least 1 characters, of at most 8 characters"
    assert configuration.expected(int | str) == "an integer or text"
    assert configuration.expected(Annotated[float, msgspec.Meta(lt=1)]) == "a number below 1"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_booleans_in_the_environment(text, value):
    assert resolve(sources(env={"HYPRSTREAM_STRICT_PLUGINS": text}), {}).settings.plugins.strict is value


def test_lists_in_the_environment_are_comma_separated():
    env = {"HYPRSTREAM_PLUGINS": "qwen, demo,", "HYPRSTREAM_DISABLE_PLUGINS": ""}
    settings = resolve(sources(env=env), {}).settings.plugins
    assert (settings.allow, settings.disable) == (("qwen", "demo"), ())


@pytest.mark.parametrize(
    ("text", "names"),
    [("demo", ("demo",)), ("demo, api", ("demo", "api")), ('["demo", "api"]', ("demo", "api")), ("[]", ()), ("", ())],
)
def test_a_list_in_a_flag_is_as_in_the_environment(text, names):
    for given_sources in (
        sources(flags={"plugins.disable": ("--set plugins.disable", text)}),
        sources(env={"HYPRSTREAM_DISABLE_PLUGINS": text}),
    ):
        assert resolve(given_sources, {}).settings.plugins.disable == names


def test_paths_follow_the_xdg_specification():
    home = resolve(sources({"HOME": "/home/u"}), {}).settings
    assert home.models_dir == Path("/home/u/.local/share/hyprstream/models")
    assert home.runtime_dir == Path("/tmp/hyprstream-1000")
    xdg = resolve(sources({"HOME": "/home/u", "XDG_DATA_HOME": "/d", "XDG_RUNTIME_DIR": "/run/user/1"}), {}).settings
    assert (xdg.models_dir, xdg.runtime_dir) == (Path("/d/hyprstream/models"), Path("/run/user/1/hyprstream"))
    assert config.default_file({"HOME": "/home/u"}) == Path("/home/u/.config/hyprstream/config.toml")
    assert config.default_file({"XDG_CONFIG_HOME": "/c"}) == Path("/c/hyprstream/config.toml")


def test_a_tilde_in_a_path_is_the_home_folder():
    for text, path in (("~/m", "/home/u/m"), ("~", "/home/u"), ("~//m", "/home/u/m"), ("./~x", "~x"), ("m/~", "m/~")):
        found = resolve(sources({"HOME": "/home/u"}, {"models_dir": text}), {})
        assert found.settings.models_dir == Path(path)


@pytest.mark.parametrize("path", ["~root/m", "~x", "~nobody-here"])
def test_a_tilde_stands_for_nobody_elses_home_folder(path):
    with pytest.raises(ConfigError, match=r"expected a path; ~ alone stands for a home folder, that of \$HOME \(edit"):
        resolve(sources({"HOME": "/home/u"}, {"models_dir": path}), {})


def test_without_a_home_folder_a_tilde_stands_for_none():
    with pytest.raises(ConfigError, match=r"that of \$HOME, which is not set"):
        resolve(sources(file={"models_dir": "~/m"}), {})


class Demo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: int = 1


def test_the_first_pass_leaves_the_keys_of_plugins_alone():
    given_sources = sources(
        {"HYPRSTREAM_DEMO_SIZE": "2"},
        {"plugins": {"disable": ["x"], "demo": {"size": 3}}},
        {"plugins.demo.size": ("f", 4)},
    )
    first = resolve(given_sources)
    assert first.settings.plugins.disable == ("x",)
    second = resolve(given_sources, {"demo": Demo})
    assert second.sections["demo"] == Demo(4)
    assert second.values()["plugins.demo.size"] == 4


def test_keys_of_a_plugin_that_is_installed_but_not_loaded_are_left_alone():
    given_sources = sources(
        {"HYPRSTREAM_MY_DEMO_SIZE": "2"}, {"plugins": {"my-demo": {"size": 3}}}, {"plugins.my-demo.size": ("f", 4)}
    )
    with pytest.raises(ConfigError):
        resolve(given_sources, {})
    assert resolve(given_sources, {}, absent=["my-demo"]).sections == {}


def test_a_plugin_section_with_a_dash_has_an_environment_name_with_an_underscore():
    found = resolve(sources({"HYPRSTREAM_MY_DEMO_SIZE": "2"}), {"my-demo": Demo})
    assert found.sections["my-demo"] == Demo(2)


def outcome(given_sources):
    """The error of these sources, or None when they are settings."""
    try:
        assert isinstance(resolve(given_sources, {}).settings, Settings)
    except ConfigError as error:
        return error
    return None


VALUES = st.recursive(st.none() | st.integers() | st.text(), st.lists)


@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=3))
def test_whatever_a_file_holds_it_is_settings_or_a_config_error(table):
    error = outcome(sources(file=table))
    assert (error is None) == (table == {})


@given(st.sampled_from(configuration.keys_of(Settings)), st.text() | st.just("~nobody-here/x"))
def test_whatever_the_environment_holds_it_is_settings_or_a_config_error(key, text):
    error = outcome(sources(env={key.env: text}))
    assert error is None or error.param == key.name
