"""``config show`` and the sources that the command line reads."""

import json
import os
import subprocess
import sys

import pytest

RUN = [sys.executable, "-m", "hyprstream_core.cli"]


def show(*arguments, options=(), **env):
    run = subprocess.run(
        [*RUN, *options, "config", "show", "--json", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(run.stdout) if run.returncode == 0 else json.loads(run.stderr)["error"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[server]\nport = 2\nhost = 'example'\n")
    return path


def test_flags_beat_environment_beats_file_beats_defaults(file):
    port = "server.port"
    assert show()[port] == 50051
    assert show(HYPRSTREAM_CONFIG=str(file))[port] == 2
    assert show(HYPRSTREAM_CONFIG=str(file), HYPRSTREAM_SERVER_PORT="3")[port] == 3
    assert show(options=["--set", "server.port=4"], HYPRSTREAM_CONFIG=str(file), HYPRSTREAM_SERVER_PORT="3")[port] == 4


def test_origins_name_the_source(file):
    found = show(
        "--origin",
        options=["--config", str(file), "--models-dir", "/m", "--log-level", "debug", "--set", "plugins.strict=true"],
        HYPRSTREAM_SERVER_HOST="other",
    )
    assert found["server.port"] == {"value": 2, "origin": f"file {file}"}
    assert found["server.host"] == {"value": "other", "origin": "env HYPRSTREAM_SERVER_HOST"}
    assert found["models_dir"] == {"value": "/m", "origin": "flag --models-dir"}
    assert found["log.level"] == {"value": "debug", "origin": "flag --log-level"}
    assert found["plugins.strict"] == {"value": True, "origin": "flag --set plugins.strict"}
    assert found["clone.timeout"]["origin"] == "default"


def test_the_flag_for_the_file_beats_the_variable(file, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 9\n")
    assert show(options=["--config", str(other)], HYPRSTREAM_CONFIG=str(file))["server.port"] == 9


def test_the_default_file_is_read_when_it_is_there(tmp_path):
    folder = tmp_path / "hyprstream"
    folder.mkdir()
    (folder / "config.toml").write_text("[server]\nport = 7\n")
    assert show(XDG_CONFIG_HOME=str(tmp_path))["server.port"] == 7
    assert show(XDG_CONFIG_HOME=str(tmp_path / "none"))["server.port"] == 50051


def test_a_named_file_must_exist(tmp_path):
    error = show(HYPRSTREAM_CONFIG=str(tmp_path / "none.toml"))
    assert error["code"] == "config.no_file"
    assert "none.toml" in error["message"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[server\n", "is not TOML: Expected ']'"),
        (b"\xff\xfe", "is not TOML"),
        (b"a = 1\n" * 300_000, "larger than"),
    ],
)
def test_a_file_that_is_no_toml_is_named(tmp_path, content, message):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    error = show(HYPRSTREAM_CONFIG=str(path))
    assert message in error["message"]
    assert str(path) in error["message"]


@pytest.mark.parametrize(
    ("key", "names"),
    [("plugins.allow", "qwen,nobody"), ("plugins.disable", "nobody")],
)
def test_a_plugin_that_is_not_installed_can_be_neither_allowed_nor_disabled(key, names):
    error = show(options=["--set", f"{key}={names}"])
    assert error["code"] == "config.bad_value"
    assert f"{key} from flag --set {key}: got 'nobody', expected names of installed plugins: " in error["message"]
    assert "builtin" in error["message"]


def test_what_is_built_in_cannot_be_disabled():
    error = show(HYPRSTREAM_DISABLE_PLUGINS="builtin")
    assert error["code"] == "config.bad_value"
    assert "got 'builtin', without which nothing works" in error["message"]
    assert error["remedy"] == "correct or unset HYPRSTREAM_DISABLE_PLUGINS"


def test_a_number_of_thousands_of_digits_is_no_defect(tmp_path):
    file = tmp_path / "big.toml"
    file.write_text(f"[server]\nport = {'9' * 5000}\n")
    assert "is not TOML" in show(options=["--config", str(file)])["message"]
    assert show(options=["--set", f"server.port={'9' * 5000}"])["code"] == "config.bad_value"


def test_a_folder_as_file_is_an_error(tmp_path):
    assert "cannot be read" in show(HYPRSTREAM_CONFIG=str(tmp_path))["message"]


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("server.port=8080", "server.port", 8080),
        ("server.host=localhost", "server.host", "localhost"),
        ('server.host="0.0.0.0"', "server.host", "0.0.0.0"),
        ("clone.timeout=1.5", "clone.timeout", 1.5),
        ("plugins.disable=['api', 'demo']", "plugins.disable", ["api", "demo"]),
        ("plugins.disable=api,demo", "plugins.disable", ["api", "demo"]),
        ("plugins.disable=demo", "plugins.disable", ["demo"]),
        ("plugins.disable=", "plugins.disable", []),
        ("models_dir=/a=b", "models_dir", "/a=b"),
    ],
)
def test_set_reads_values_as_toml_and_else_as_text(assignment, key, value):
    assert show(options=["--set", assignment])[key] == value


def test_for_people_it_prints_a_table():
    env = {k: v for k, v in os.environ.items() if k != "HYPRSTREAM_PLUGINS"}
    run = subprocess.run(
        [*RUN, "config", "show", "--origin"], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    head, *rows = run.stdout.splitlines()
    assert head.split() == ["KEY", "VALUE", "ORIGIN"]
    assert any(row.split() == ["server.port", "50051", "default"] for row in rows)
    assert any(row.split() == ["plugins.allow", "(unset)", "default"] for row in rows)


def test_secrets_are_hidden_and_their_origin_is_not(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[clone.tokens]\n'git.org' = 'canary'\n[hub]\ntoken = 'canary'\n")
    file.chmod(0o600)
    for options in ((), ("--json",), ("--origin",), ("--json", "--origin")):
        run = subprocess.run(
            [*RUN, "--config", file, "config", "show", *options], env=dict(os.environ), capture_output=True, text=True
        )
        assert run.returncode == 0
        assert "canary" not in run.stdout + run.stderr
        assert "***" in run.stdout
    shown = show(HYPRSTREAM_CONFIG=str(file), HF_TOKEN="canary")
    assert (shown["hub.token"], shown["clone.tokens"]) == ("***", {"git.org": "***"})
    assert show("--origin", HF_TOKEN="canary")["hub.token"] == {"value": "***", "origin": "env HF_TOKEN"}
    assert show()["hub.token"] == ""


def test_a_secret_of_the_wrong_kind_is_not_repeated(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[hub]\ntoken = ['canary']\n")
    for error in (show(HYPRSTREAM_CONFIG=str(file)), show(HYPRSTREAM_CLONE_TOKENS="canary")):
        assert error["code"] == "config.bad_value"
        assert "canary" not in str(error)


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_file_with_secrets_that_others_can_read_is_warned_about(tmp_path, mode, warns):
    file = tmp_path / "config.toml"
    file.write_text("[hub]\ntoken = 'canary'\n")
    file.chmod(mode)
    run = subprocess.run([*RUN, "--config", file, "config", "show"], capture_output=True, text=True)
    assert ("others can read hub.token" in run.stderr) == warns
    assert "canary" not in run.stdout + run.stderr


def test_a_file_without_secrets_may_be_read_by_others(file):
    run = subprocess.run([*RUN, "--config", file, "config", "show"], capture_output=True, text=True)
    assert run.stderr == ""


def test_the_hubs_own_variables_are_read(tmp_path):
    found = show(HF_ENDPOINT="https://mirror.org", HF_HUB_OFFLINE="YES", HF_HOME=str(tmp_path), NETRC="", HF_TOKEN="")
    assert (found["hub.endpoint"], found["hub.offline"]) == ("https://mirror.org", True)
    assert found["hub.token_file"] == str(tmp_path / "token")
    assert show(HF_HUB_OFFLINE="0")["hub.offline"] is False
    assert show(HF_TOKEN_PATH="/x/y")["hub.token_file"] == "/x/y"
    assert show(XDG_CACHE_HOME="/c")["hub.token_file"] == "/c/huggingface/token"
    for bad in ("mirror.org", "ftp://mirror.org", "https://u:p@mirror.org", "https://mirror.org/?x"):
        assert "expected an http(s) URL" in show(HF_ENDPOINT=bad)["message"]
