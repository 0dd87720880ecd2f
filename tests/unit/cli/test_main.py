"""The command line as its users meet it: exit codes, errors, help; nothing heavy is imported."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from hyprstream_core.cli import main
from hyprstream_core.plugins import Plugins, installed

ROOT = Path(__file__).parents[3]
RUN = [sys.executable, "-m", "hyprstream_core.cli"]


def command_line(*arguments, **env):
    environment = {**os.environ, **env}
    return subprocess.run(
        [*RUN, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def test_help_lists_every_verb_with_its_summary():
    run = command_line("--help")
    assert run.returncode == 0
    for verb in ("clone", "list", "inspect", "remove", "worktree", "infer", "config", "plugins", "version"):
        assert f"\n  {verb} " in run.stdout
    assert run.stderr == ""


def test_version_option():
    assert command_line("--version").stdout.startswith("hyprstream, version 0.")


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (["lst"], "no verb 'lst'; did you mean: list?", "see: hyprstream --help"),
        (["frobnicate"], "no verb 'frobnicate'", "see: hyprstream --help"),
        (["plugins", "--jso"], "No such option", "see: hyprstream plugins --help"),
        (["config", "shw"], "No such command 'shw'", "see: hyprstream config --help"),
        (["clone"], "Missing argument 'URL'", "see: hyprstream clone --help"),
        (["infer", "m", "--temperature", "hot", "-p", "x"], "'hot' is not a valid float", "infer --help"),
        (["infer", "m", "--raw", "--system", "x", "-p", "x"], "--system needs the chat template", "infer --help"),
        (["--set", "server.port", "list"], "expected KEY=VALUE", "see: hyprstream --help"),
        (["--set", "server.port=0", "list"], "got 0, expected an integer from 1", "correct --set server.port"),
        (["--set", "server.prot=1", "list"], "unknown setting 'server.prot'", "server.port"),
        (
            ["infer", "m", "--temperature", "-1", "-p", "x"],
            "--temperature: got -1.0, expected a number from 0",
            "infer",
        ),
        (["infer", "m", "--top-k", "-1", "-p", "x"], "--top-k: got -1, expected an integer from 0 up", "infer"),
        (["infer", "m", "--repeat-penalty", "0", "-p", "x"], "--repeat-penalty: got 0.0, expected", "infer --help"),
        (["infer", "m", "--max-tokens", "0", "-p", "x"], "--max-tokens: got 0, expected", "infer --help"),
        (["infer", "m", "--dtype", "int3", "-p", "x"], "one of 'auto', 'float32'", "correct --dtype"),
        (["infer", "m", "-p", ""], "the prompt is empty", "infer --help"),
        (["infer", "m"], "the prompt is empty", "infer --help"),
    ],
)
def test_wrong_usage_exits_2_and_says_where_help_is(arguments, message, remedy):
    run = command_line(*arguments)
    assert run.returncode == 2
    first, second = run.stderr.splitlines()
    assert first != second.strip()
    assert first.startswith("error: ")
    assert message in first
    assert remedy in second
    assert run.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["config"], ["worktree"]])
def test_without_a_verb_it_shows_help_and_exits_2(arguments):
    run = command_line(*arguments)
    assert run.returncode == 2
    assert run.stderr.startswith("Usage: hyprstream ")
    assert "--help" in run.stderr
    assert run.stdout == ""


def test_a_server_that_is_disabled_is_not_to_be_installed():
    run = command_line("server", HYPRSTREAM_DISABLE_PLUGINS="api")
    assert run.returncode == 2
    assert "pip install" not in run.stderr
    assert "hyprstream-api is installed, but its plugin 'api' is blocked: in plugins.disable" in run.stderr
    assert "hyprstream plugins" in run.stderr


def test_a_server_that_is_not_installed_names_the_distribution(monkeypatch, capsys):
    builtin = [candidate for candidate in installed() if candidate.is_builtin]
    monkeypatch.setattr(main.Context, "plugins", Plugins(builtin))
    assert main.run(["server"], {}) == 2
    assert "pip install hyprstream-api" in capsys.readouterr().err


def test_a_refusal_exits_1_with_message_and_remedy():
    run = command_line("config", "show", HYPRSTREAM_SERVER_PRT="1")
    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        "error: unknown setting 'HYPRSTREAM_SERVER_PRT' in the environment",
        "  did you mean HYPRSTREAM_SERVER_PORT, HYPRSTREAM_SERVER_HOST, HYPRSTREAM_SERVER_WORKERS?",
    ]
    assert run.stdout == ""


def test_with_json_an_error_is_one_object_on_stderr():
    for arguments, code, status in (
        (["config", "show", "--json", "--nonsense"], "usage", 2),
        (["--set", "server.port=0", "config", "show", "--json"], "config.bad_value", 2),
        (["--set", "server.port=1", "list", "--json"], "config.bad_value", 1),
    ):
        env = {"HYPRSTREAM_SERVER_WORKERS": "0"} if status == 1 else {}
        run = command_line(*arguments, **env)
        assert run.returncode == status
        (line,) = run.stderr.splitlines()
        error = json.loads(line)["error"]
        assert error["code"] == code
        assert set(error) == {"type", "code", "message", "remedy", "param", "details"}
        assert run.stdout == ""


def test_help_works_with_a_broken_configuration_and_loads_no_plugin_then():
    run = command_line("--help", HYPRSTREAM_NO_SUCH_KEY="1", HYPRSTREAM_SERVER_PORT="x")
    assert run.returncode == 0, run.stderr
    assert "\n  list " in run.stdout


def failing(error):
    def raise_it(self):
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ZeroDivisionError("x"), 1, "error: a defect in hyprstream: ZeroDivisionError: x"),
        (PermissionError(13, "Permission denied", "/some/file"), 1, "error: Permission denied: /some/file"),
        (KeyboardInterrupt(), 130, ""),
        (MemoryError(), 1, "MemoryError"),
    ],
)
def test_whatever_happens_there_is_no_traceback(monkeypatch, capsys, error, code, text):
    monkeypatch.setattr(Plugins, "commands", failing(error))
    assert main.run(["list"], {}) == code
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err


def test_debugging_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr(Plugins, "commands", failing(ZeroDivisionError("x")))
    assert main.run(["list"], {"HYPRSTREAM_LOG": "debug"}) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main.run(["--log-level", "debug", "list"], {}) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error_message():
    run = subprocess.run(
        ["bash", "-c", f"{' '.join(RUN)} config show --json | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stderr == ""
    assert int(run.stdout) in (0, 1)


def wait_until_it_reads_stdin(process):
    """Give it a byte, and wait until that has left the pipe."""
    process.stdin.write("x")
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)) != bytes(4):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_control_c_exits_130_quietly():
    process = subprocess.Popen([*RUN, "infer", "model"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until_it_reads_stdin(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.strip() == ""


def test_control_c_while_it_is_still_importing_exits_130_in_silence(tmp_path):
    (tmp_path / "click.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n")
    for command in (RUN, [str(Path(sys.executable).with_name("hyprstream"))]):
        run = subprocess.run(
            [*command, "list"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert (run.returncode, run.stdout, run.stderr) == (130, "", "")


def test_nothing_is_imported_before_control_c_is_seen_to():
    code = (
        "import sys; before = set(sys.modules); import hyprstream_core.cli.entry;"
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    added = set(run.stdout.split())
    assert "hyprstream_core.cli.entry" in added
    assert {"click", "pluggy", "typing", "pathlib", "re", "inspect"}.isdisjoint(added)


def test_an_ignored_control_c_stays_ignored(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n")
    (tmp_path / "structlog.py").write_text("")
    code = (
        "import os, signal, sys; from hyprstream_core.cli import entry; sys.argv = ['hyprstream', '--version'];"
        "import atexit; atexit.register(lambda: print(signal.getsignal(signal.SIGINT).name)); entry.main()"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines()[-1] == "SIG_IGN"


@pytest.mark.parametrize("arguments", [["list", "--json"], ["config", "show"], ["--help"]])
def test_a_closed_standard_stream_is_no_defect(arguments):
    command = " ".join([*RUN, *arguments])
    run = subprocess.run(["bash", "-c", f"{command} >&-"], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    run = subprocess.run(["bash", "-c", f"{command} <&- >&- 2>&-"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0


@pytest.mark.parametrize("arguments", [["list", "--json"], ["config", "show"], ["--version"]])
def test_a_full_disk_says_what_could_not_be_written(arguments):
    with Path("/dev/full").open("w") as full:
        run = subprocess.run([*RUN, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert run.returncode == 1
    assert "No space left on device" in run.stderr
    assert "Traceback" not in run.stderr
    if "--version" not in arguments:
        assert "cannot write the output: No space left on device" in run.stderr


def test_an_error_that_cannot_be_written_is_still_an_exit_code():
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([*RUN, "nosuch"], stderr=full, timeout=60).returncode == 2


def test_no_colours_and_no_control_characters_outside_a_terminal():
    run = command_line("--set", "a\x1b[31mb=1", "list")
    assert run.returncode == 2
    assert "\x1b" not in run.stderr
    assert "\\x1b" in run.stderr


LIGHT = {
    "--help": ["--help"],
    "list": ["list"],
    "plugins": ["plugins"],
    "config show": ["config", "show"],
    "version": ["version"],
}


@pytest.mark.parametrize("name", LIGHT)
def test_torch_is_not_imported_by(name):
    code = (
        "import sys, json, os; from hyprstream_core.cli.main import run;"
        f"code = run({LIGHT[name]!r}, os.environ);"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    status, modules = json.loads(run.stderr.splitlines()[-1])
    assert status == 0
    assert {"torch", "numpy", "transformers", "tokenizers"}.isdisjoint(modules)


def test_help_imports_no_body_of_a_verb_and_nothing_slow():
    code = (
        "import sys, json, os; from hyprstream_core.cli.main import run; run(['--help'], os.environ);"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    modules = set(json.loads(run.stderr))
    assert {"structlog", "rich", "dulwich", "zmq", "capnp", "jinja2", "asyncio"}.isdisjoint(modules)
    bodies = {m for m in modules if m.startswith("hyprstream_core.cli.")}
    assert bodies == {f"hyprstream_core.cli.{m}" for m in ("main", "entry", "context", "options", "output")}
