"""``infer``: an answer on stdout, one line of statistics on stderr, nothing accepted and ignored."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

STATISTICS = re.compile(
    r"(\d+) prompt tokens \((\d+) cached\), (\d+) generated(?:, [\d.]+ tok/s)?, first token after [\d.]+ s, "
    r"commit ([0-9a-f]{12}), finish (stop|length), in this process"
)
FAST = ["--max-tokens", "8"]


def commit(repository, ref):
    return subprocess.run(
        ["git", "rev-parse", f"{ref}^{{commit}}"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_answer_is_on_stdout_and_one_line_of_statistics_on_stderr(cloned, repository):
    run = cloned("infer", "tiny", "--prompt", "Hello", *FAST)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("\n")
    (line,) = run.stderr.splitlines()
    found = STATISTICS.fullmatch(line)
    assert found, line
    assert found[3] == "8"
    assert found[4] == commit(repository, "trunk")[:12]


def test_json_holds_text_and_statistics(here, repository):
    found = here.json("infer", "tiny:v1", "-p", "Hello", *FAST)
    assert set(found) == {
        *("model", "commit", "text", "reasoning", "finish_reason", "prompt_tokens", "cached_tokens"),
        *("generated_tokens", "tokens_per_second", "time_to_first_token", "served_by"),
    }
    assert (found["model"], found["commit"]) == ("tiny:v1", commit(repository, "v1"))
    assert here.json("infer", "tiny", "-p", "Hello", *FAST)["model"] == "tiny:trunk"
    assert found["served_by"] == "process"
    assert (found["finish_reason"], found["generated_tokens"]) == ("length", 8)
    assert found["time_to_first_token"] > 0
    streamed = here("infer", "tiny:v1", "-p", "Hello", *FAST)
    assert streamed.stdout.rstrip("\n") == found["text"].rstrip("\n")


def test_the_prompt_comes_from_standard_input(here):
    by_option = here.json("infer", "tiny", "--raw", "-p", "one two", *FAST)
    by_input = here.json("infer", "tiny", "--raw", *FAST, stdin="one two")
    assert by_input["text"] == by_option["text"]
    assert by_input["prompt_tokens"] == len("one two")


def test_raw_leaves_the_template_out_and_system_goes_into_it(here):
    raw = here.json("infer", "tiny", "--raw", "-p", "Hello", *FAST)["prompt_tokens"]
    chat = here.json("infer", "tiny", "-p", "Hello", *FAST)["prompt_tokens"]
    system = here.json("infer", "tiny", "-p", "Hello", "--system", "Be brief.", *FAST)["prompt_tokens"]
    assert raw == 5 < chat < system


def test_branches_answer_with_their_own_weights(here):
    texts = {
        ref: here.json("infer", f"tiny:{ref}", "--raw", "-p", "abc", "--max-tokens", "24")["text"]
        for ref in ("trunk", "v1", "experiment")
    }
    assert texts["trunk"] == texts["v1"]
    assert texts["experiment"] != texts["trunk"]


def test_what_is_left_out_is_the_models_own_and_what_is_given_counts(here):
    ask = ["infer", "tiny", "--raw", "-p", "abc", "--max-tokens", "24"]
    greedy = here.json(*ask)["text"]  # generation_config.json says temperature 0
    assert here.json(*ask)["text"] == greedy
    hot = [*ask, "--temperature", "1.5", "--top-p", "0.99", "--top-k", "200"]
    one, again, two = (here.json(*hot, "--seed", seed)["text"] for seed in (1, 1, 2))
    assert one == again
    assert one != greedy
    assert one != two
    assert here.json(*ask, "--repeat-penalty", "1.9")["text"] != greedy


def test_stop_ends_the_answer_before_the_text(here):
    ask = ["infer", "tiny", "--raw", "-p", "abc", "--max-tokens", "32"]
    whole = here.json(*ask)["text"]
    printable = [c for c in whole[2:] if c.isprintable() and c != "�"]
    stop = printable[0]
    found = here.json(*ask, "--stop", "never this", "--stop", stop)
    assert found["text"] == whole[: whole.index(stop)]
    assert found["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("arguments", "kind", "status"),
    [
        (["--temperature", "-1"], "InvalidRequest", 2),
        (["--temperature", "nan"], "InvalidRequest", 2),
        (["--top-p", "1.5"], "InvalidRequest", 2),
        (["--top-k", "-7"], "InvalidRequest", 2),
        (["--top-k", "-1"], "InvalidRequest", 2),
        (["--repeat-penalty", "0"], "InvalidRequest", 2),
        (["--max-tokens", "0"], "InvalidRequest", 2),
        (["--max-tokens", "100000"], "ContextLengthExceeded", 1),
        (["--stop", ""], "InvalidRequest", 2),
        (["--seed", str(2**63)], "InvalidRequest", 2),
        (["--dtype", "int3"], "ConfigError", 2),
        (["--device", "abacus"], "PluginMissing", 1),
    ],
)
def test_a_value_that_cannot_be_honoured_is_refused(here, arguments, kind, status):
    error = here.error("infer", "tiny", "-p", "x", *arguments, status=status)
    assert error["type"] == kind, error
    if kind in ("InvalidRequest", "ContextLengthExceeded"):
        assert error["param"] == arguments[0]


def test_without_a_prompt_nothing_is_loaded(here):
    for options in ({"stdin": ""}, {}):
        given = [] if options else ["-p", ""]
        assert here.error("infer", "tiny", *given, status=2, **options)["message"] == "the prompt is empty"


def test_an_answer_that_cannot_be_written_says_so(cloned):
    command = [sys.executable, "-m", "hyprstream_core.cli", "infer", "tiny", "--raw", "-p", "Hello", *FAST]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            command, env=cloned.environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=100
        )
    assert run.returncode == 1
    assert run.stderr.startswith("error: cannot write the answer: No space left on device")


def test_dtype_and_device_are_honoured(here):
    exact = here.json("infer", "tiny", "--raw", "-p", "abc", "--max-tokens", "24")["text"]
    assert here.json("infer", "tiny", "--raw", "-p", "abc", "--max-tokens", "24", "--device", "cpu")["text"] == exact
    coarse = here.json("infer", "tiny", "--raw", "-p", "abc", "--max-tokens", "24", "--dtype", "bfloat16")
    assert coarse["served_by"] == "process"


def test_an_unknown_model_is_not_found(here):
    assert here.error("infer", "nothing", "-p", "x")["code"] == "model_not_found"
    assert here.error("infer", "tiny:nothing", "-p", "x")["code"] == "model_not_found"


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(here):
    error = here.error("infer", "tiny", "--raw", "-p", "x" * 600)
    assert error["code"] == "context_length_exceeded"
    assert "600" in error["message"]
    assert "512" in error["message"]


def test_a_prompt_that_is_not_utf8_is_refused(cloned):
    command = [sys.executable, "-m", "hyprstream_core.cli", "infer", "tiny"]
    run = subprocess.run(command, env=cloned.environment(), input=b"\xff\xfe", capture_output=True)
    assert run.returncode == 1
    assert b"not UTF-8: byte 0 is wrong" in run.stderr


def test_without_a_prompt_on_a_terminal_it_says_so(cloned):
    code, shown = cloned.on_terminal("infer", "tiny")
    assert code == 2
    assert "--prompt" in shown


def test_control_characters_of_an_answer_do_not_reach_a_terminal(cloned):
    code, shown = cloned.on_terminal(
        "infer", "tiny", "--raw", "-p", "abc", "--max-tokens", "64", "--temperature", "2", "--seed", "3", NO_COLOR="1"
    )
    assert code == 0
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", shown)


def test_a_model_without_a_chat_template_points_to_raw(here, repository, tmp_path):
    plain = tmp_path / "plain"
    subprocess.run(["git", "clone", "-q", repository, plain], check=True)
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "rm", "-q", "chat_template.jinja"], cwd=plain, check=True)
    subprocess.run(["git", *identity, "commit", "-qm", "no template"], cwd=plain, check=True)
    here.json("clone", plain.as_uri())
    error = here.error("infer", "plain", "-p", "Hello")
    assert (error["type"], "--raw" in error["remedy"]) == ("UnsupportedModel", True)
    assert here.json("infer", "plain", "-p", "Hello", "--raw", *FAST)["generated_tokens"] == 8
