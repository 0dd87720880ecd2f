"""Request fields: each works, is harmless, or is refused by name."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_api.chat_fields import ChatFields, read_chat
from hyprstream_api.completion_fields import DEFAULT_MAX_TOKENS, CompletionFields, read_completion
from hyprstream_core.config import Limits
from hyprstream_core.errors import InvalidRequest

LIMITS = Limits()
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def chat(**fields):
    return read_chat({"model": "m:main", "messages": HELLO, **fields}, LIMITS)


def completion(**fields):
    return read_completion({"model": "m:main", "prompt": "hello", **fields}, LIMITS)


def refused(call, **fields) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        call(**fields)
    return caught.value


@pytest.mark.parametrize(
    "name", ["temperature", "top_p", "presence_penalty", "frequency_penalty", "repetition_penalty"]
)
@pytest.mark.parametrize("value", [-3, "1", True, None, 10**30, [1], {}, float("nan"), float("inf")])
def test_case_038_a_bad_sampling_value_is_refused_by_name(name, value):
    assert refused(chat, **{name: value}).param == name
    assert refused(completion, **{name: value}).param == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 10**6), ("n", 0), ("n", -1), ("n", 1.5), ("n", "2"),
        ("max_tokens", 10**9), ("max_tokens", 0), ("max_tokens", -1), ("max_tokens", 1.5), ("max_tokens", 2**70),
        ("top_k", -2), ("top_k", 0.5), ("min_p", 1.5), ("seed", 2**64), ("min_tokens", -1),
        ("stop", 5), ("stop", ["a", 1]), ("stop", [""]), ("stop", ""), ("stop", ["a"] * 5), ("stop", "x" * 257),
        ("stop", ["a"] * 10**5), ("stop", "x" * 10**6),
        ("stop_token_ids", [-1]), ("stop_token_ids", [2**63]), ("stop_token_ids", [1] * 65),
        ("stream", "yes"), ("model", ""), ("model", 3), ("model", "m" * 513), ("user", 1),
    ],
)  # fmt: skip
def test_case_040_042_values_out_of_range_are_refused_at_once(name, value):
    for call in (chat, completion):
        began = time.process_time()
        assert (refused(call, **{name: value}).param or "").split("[")[0] == name
        assert time.process_time() - began < 0.1


@pytest.mark.parametrize("count", [4097, 10**4])
def test_case_042_too_many_messages_are_refused_at_once(count):
    began = time.process_time()
    assert refused(chat, messages=HELLO * count).param == "messages"
    assert time.process_time() - began < 0.1


def test_case_042_too_many_tools_are_refused():
    assert refused(chat, tools=[TOOL] * 10**4).param == "tools"


@pytest.mark.parametrize("prompt", [["x"] * 10**5, [[1]] * 10**5])
def test_case_041_too_many_prompts_are_refused_at_once(prompt):
    began = time.process_time()
    assert refused(completion, prompt=prompt).param == "prompt"
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ([], "prompt"), (["a", 1], "prompt"), ([1, [2]], "prompt"), ([[1], []], "prompt[1]"), ([-1], "prompt[0]"),
        ([2**63], "prompt[0]"), ([[5, -1]], "prompt[0][1]"), ([1.5], "prompt[0]"), ([True], "prompt[0]"),
        (None, "prompt"), ({}, "prompt"),
    ],
)  # fmt: skip
def test_case_043_prompts_that_are_none_are_refused_by_path(prompt, param):
    assert refused(completion, prompt=prompt).param == param


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("text", ["text"]),
        (["one", "two"], ["one", "two"]),
        ([1, 2, 3], [(1, 2, 3)]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_prompts_come_in_four_forms(prompt, expected):
    _, prompts, options = completion(prompt=prompt)
    assert prompts.prompts == expected
    assert options.max_tokens == DEFAULT_MAX_TOKENS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", True), ("logprobs", 5), ("top_logprobs", 3), ("logit_bias", {"5": 1}), ("best_of", 2),
        ("response_format", {"type": "json_object"}), ("modalities", ["audio"]), ("audio", {"voice": "x"}),
        ("parallel_tool_calls", False), ("functions", [{}]), ("function_call", "auto"), ("prompt_embeds", "x"),
        ("echo", True), ("suffix", "end"), ("guided_json", {}), ("structured_outputs", {"json": {}}),
        ("repeat_last_n", 64), ("priority", 1), ("logprobs", 0), ("best_of", True), ("echo", 0),
    ],
)  # fmt: skip
def test_what_is_not_implemented_is_refused_by_name(field, value):
    for call in (chat, completion):
        error = refused(call, **{field: value})
        assert (error.error_code, error.param) == ("unsupported_parameter", field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", False), ("logprobs", None), ("top_logprobs", 0), ("logit_bias", {}), ("best_of", 1),
        ("response_format", {"type": "text"}), ("modalities", ["text"]), ("parallel_tool_calls", True),
        ("echo", False), ("suffix", None), ("audio", None), ("functions", []),
        ("store", True), ("metadata", {"a": "b"}), ("service_tier", "auto"), ("prompt_cache_key", "k"),
        ("safety_identifier", "s"), ("verbosity", "low"), ("user", "u"), ("user", None), ("seed", None),
        ("max_tokens", None), ("stop", None), ("n", None), ("stream", None), ("stream_options", None),
    ],
)  # fmt: skip
def test_what_is_off_or_harmless_is_accepted(field, value):
    chat(**{field: value})
    completion(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verbosity", "bogus"), ("verbosity", 1), ("service_tier", "gold"), ("service_tier", True), ("store", "yes"),
        ("store", 1), ("metadata", "x"), ("metadata", {"a": 1}), ("metadata", {"a": "x" * 513}), ("metadata", []),
        ("metadata", {"k" * 65: "x"}), ("metadata", {str(i): "x" for i in range(17)}), ("prompt_cache_key", 5),
        ("prompt_cache_retention", "1h"), ("safety_identifier", {}), ("user", ["u"]),
    ],
)  # fmt: skip
def test_a_field_without_effect_is_still_one_of_openais(field, value):
    for call in (chat, completion):
        error = refused(call, **{field: value})
        assert error.param == field
        assert error.message.startswith(f"{field}: got ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"messages": [{"role": "usr", "content": "x"}]},
            "messages[0].role: got 'usr', expected one of 'system', 'developer', 'user', 'assistant', 'tool'",
        ),
        (
            {"reasoning_effort": "bogus"},
            "reasoning_effort: got 'bogus', "
            "expected one of 'high', 'low', 'medium', 'minimal', 'none', 'xhigh'",
        ),
        ({"messages": []}, "messages: got a list with nothing in it, expected a list of at least 1 item"),
        ({"messages": {}}, "messages: got an object with nothing in it, expected a list of at least 1 item"),
        ({"temperature": 3}, "temperature: got 3, expected a number from 0 to 2"),
        ({"temperature": None}, "temperature: got null, expected a number from 0 to 2"),
        ({"top_p": 0}, "top_p: got 0, expected a number above 0, at most 1"),
        ({"top_k": 0.5}, "top_k: got 0.5, expected an integer from -1 to 16777216"),
        ({"stop_token_ids": [-1]}, "stop_token_ids[0]: got -1, expected an integer from 0 to 2147483647"),
        ({"n": 0}, "n: got 0, expected an integer from 1 up"),
        ({"stream": "yes"}, "stream: got 'yes', expected true or false"),
        ({"stop": 5}, "stop: got 5, expected a string or a list"),
        ({"model": "m" * 513}, "model: got a string of 513 characters, expected a string of 1 to 512 characters"),
        (
            {"messages": [{"role": "user", "content": True}]},
            "messages[0].content: got true, expected a string or a list",
        ),
        ({"messages": [{"role": "assistant", "refusal": "no"}]}, "messages[0].refusal: got 'no', expected null"),
        ({"messages": [7]}, "messages[0]: got 7, expected an object"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].type: got 'image_url', expected 'text'",
        ),
        (
            {"tools": [{"function": {"name": "a b"}}]},
            "tools[0].function.name: got 'a b', expected 1 to 64 letters, digits, '_', '.' or '-'",
        ),
        (
            {"metadata": {"a": 1}},
            "metadata: got an object of 1 item, expected an object of at most 16 items, each key a string of at most "
            "64 characters and each value a string of at most 512 characters",
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_got_and_what_is_allowed(fields, message):
    assert str(refused(chat, **fields)) == message


@pytest.mark.parametrize("call", [chat, completion])
def test_case_043_an_unknown_field_is_refused_by_name(call):
    error = refused(call, temprature=0.5)
    assert (error.error_code, error.param) == ("unknown_parameter", "temprature")


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role"),
        ([*HELLO, {"role": "user", "content": 5}], "messages[1].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": "x", "colour": 1}], "messages[0].colour"),
        ([{"role": "assistant", "content": "x", "refusal": "no"}], "messages[0].refusal"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "messages[0].tool_calls[0].function.name"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "tool", "content": "42"}], "messages[0].tool_call_id"),
        ([{"role": "tool", "content": "42", "tool_call_id": ""}], "messages[0].tool_call_id"),
    ],
)
def test_errors_in_messages_name_the_json_path(messages, param):
    assert refused(chat, messages=messages).param == param


def test_content_that_is_not_text_is_unsupported():
    part = {"type": "image_url", "image_url": {"url": "data:"}}
    error = refused(chat, messages=[{"role": "user", "content": [part]}])
    assert (error.error_code, error.param) == ("unsupported_parameter", "messages[0].content[0].type")


def test_required_fields_are_named():
    for raw in ({"messages": HELLO}, {"prompt": "x"}):
        read = read_chat if "messages" in raw else read_completion
        with pytest.raises(InvalidRequest) as caught:
            read(raw, LIMITS)
        assert (caught.value.error_code, caught.value.param) == ("missing_required_parameter", "model")


def test_unset_sampling_fields_stay_unset():
    _, _, options = chat()
    assert options.temperature is options.top_p is options.top_k is options.min_p is None
    assert options.repetition_penalty is options.seed is options.max_tokens is None
    assert (options.n, options.stop, options.ignore_eos, options.min_tokens) == (1, (), False, 0)


def test_set_fields_reach_the_options():
    given = {"temperature": 0, "top_p": 0.5, "top_k": -1, "min_p": 0.1, "seed": -5, "n": 3, "ignore_eos": True}
    _, _, options = chat(
        **given, stop="x", stop_token_ids=[7], repeat_penalty=1.1, max_completion_tokens=9, min_tokens=2
    )
    assert {name: getattr(options, name) for name in given} == given
    assert (options.stop, options.stop_token_ids, options.repetition_penalty) == (("x",), (7,), 1.1)
    assert (options.max_tokens, options.min_tokens) == (9, 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 1, "max_completion_tokens": 2},
        {"repetition_penalty": 1.1, "repeat_penalty": 1.2},
        {"continue_final_message": True, "add_generation_prompt": True},
        {"min_tokens": 5, "max_tokens": 4},
        {"stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_obfuscation": True}},
    ],
)
def test_contradictions_are_refused(fields):
    assert refused(chat, **fields).param.split(".")[0] in fields


def test_a_conversation_reaches_the_template_as_plain_text():
    call = {"id": "c1", "type": "function", "index": 0, "function": {"name": "look_up", "arguments": '{"a": 1}'}}
    _, prompt, _ = chat(
        messages=[
            {"role": "developer", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
                "name": "u",
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning": "hm",
                "tool_calls": [call],
                "refusal": None,
                "audio": None,
            },
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
            {"role": "assistant", "content": "it is 42", "reasoning_content": "so", "annotations": []},
        ],
        tools=[TOOL],
    )
    called = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}
    assert list(prompt.messages) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one\ntwo", "name": "u"},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [called]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": "it is 42", "reasoning_content": "so"},
    ]
    assert list(prompt.tools) == [TOOL]


def test_what_is_meant_for_the_template_reaches_the_front():
    _, prompt, _ = chat(reasoning_effort="low", chat_template_kwargs={"enable_thinking": True})
    assert (prompt.reasoning_effort, prompt.template_kwargs) == ("low", {"enable_thinking": True})


def test_continuing_the_final_message_leaves_the_generation_prompt_out():
    _, prompt, _ = chat(continue_final_message=True)
    assert (prompt.continue_final_message, prompt.add_generation_prompt) == (True, False)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("required", "tool_choice 'required' is not supported"),
        (
            {"type": "function", "function": {"name": "look_up"}},
            "a tool_choice that names what to call is not supported",
        ),
    ],
)
def test_forced_tool_calls_are_unsupported(choice, message):
    error = refused(chat, tools=[TOOL], tool_choice=choice)
    assert (error.error_code, str(error)) == ("unsupported_parameter", message)


def test_two_tools_with_one_name_are_refused():
    error = refused(chat, tools=[TOOL, {"type": "function", "function": {"name": "other"}}, TOOL])
    assert error.param == "tools[2].function.name"
    assert "'look_up', which tools[0] has already" in error.message


@pytest.mark.parametrize("content", ["", []])
def test_an_empty_message_is_a_message(content):
    assert chat(messages=[{"role": "user", "content": content}])[1].messages == [{"role": "user", "content": ""}]


def test_tool_choice_has_two_values():
    assert chat(tools=[TOOL], tool_choice="none")[1].tool_choice == "none"
    assert chat(tools=[TOOL])[1].tool_choice == "auto"
    assert refused(chat, tools=[TOOL], tool_choice="perhaps").param == "tool_choice"


@pytest.mark.parametrize(
    ("function", "param"),
    [
        ({"name": "a b"}, "tools[0].function.name"),
        ({"name": "x" * 65}, "tools[0].function.name"),
        ({}, "tools[0].function.name"),
        ({"name": "a", "strict": True}, "tools[0].function.strict"),
        ({"name": "a", "parameters": []}, "tools[0].function.parameters"),
    ],
)
def test_bad_tools_are_refused_by_path(function, param):
    assert refused(chat, tools=[{"type": "function", "function": function}]).param == param


NAMES = [*ChatFields.__struct_fields__, *CompletionFields.__struct_fields__, "role", "content", "type", "text"]
KEYS = st.sampled_from([*NAMES, "function", "name", "arguments", "tool_calls", "logprobs", "response_format"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_case_043_whatever_comes_is_read_or_refused_by_a_named_error(raw):
    for base in ({"model": "m", "messages": HELLO}, {"model": "m", "prompt": "x"}):
        read = read_chat if "messages" in base else read_completion
        with contextlib.suppress(InvalidRequest):
            read({**base, **raw}, LIMITS)
