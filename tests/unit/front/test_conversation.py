import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import InvalidRequest
from hyprstream_core.front import ChatPrompt
from hyprstream_core.front.conversation import RESERVED, conversation
from hyprstream_core.text.quoting import Quotes

HELLO = [{"role": "user", "content": "hi"}]
THINKS = "{% if enable_thinking %}<think>{% endif %}"


def prepared(prompt: ChatPrompt, template: str = THINKS, **limits):
    return conversation(prompt, template, {"bos_token": "<s>"}, Quotes(["<s>"]), Limits(**limits))


def test_the_template_gets_what_transformers_would_give_it():
    talk = prepared(ChatPrompt("m", HELLO, template_kwargs={"enable_thinking": False}))
    assert talk.variables == {
        "bos_token": "<s>",
        "documents": None,
        "enable_thinking": False,
        "messages": HELLO,
        "tools": None,
        "add_generation_prompt": True,
    }


@pytest.mark.parametrize("name", [*sorted(RESERVED), "not a name", ""])
def test_case_030_reserved_template_variables_are_refused(name):
    with pytest.raises(InvalidRequest) as caught:
        prepared(ChatPrompt("m", HELLO, template_kwargs={name: 1}))
    assert caught.value.param == f"chat_template_kwargs.{name}"


@pytest.mark.parametrize("name", ["enable_thinkin", "thinking", "enable", "x" * 1000])
def test_a_variable_that_the_template_does_not_know_is_refused_by_name(name):
    with pytest.raises(InvalidRequest, match=f"no variable '{name[:50]}") as caught:
        prepared(ChatPrompt("m", HELLO, template_kwargs={name: True}))
    assert caught.value.param == f"chat_template_kwargs.{name[:60]}"
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("effort", "thinks"), [("none", False), ("minimal", False), ("low", True), ("medium", True), ("high", True)]
)
def test_reasoning_effort_switches_thinking(effort, thinks):
    variables = prepared(ChatPrompt("m", HELLO, reasoning_effort=effort)).variables
    assert (variables["enable_thinking"], variables["reasoning_effort"]) == (thinks, effort)
    agreed = ChatPrompt("m", HELLO, template_kwargs={"enable_thinking": thinks}, reasoning_effort=effort)
    assert prepared(agreed).variables["enable_thinking"] is thinks
    with pytest.raises(InvalidRequest, match="contradicts") as caught:
        prepared(ChatPrompt("m", HELLO, template_kwargs={"enable_thinking": not thinks}, reasoning_effort=effort))
    assert caught.value.param == "reasoning_effort"


def test_a_model_that_never_thinks_can_only_be_asked_not_to():
    for effort in ("none", "minimal"):
        prepared(ChatPrompt("m", HELLO, reasoning_effort=effort), "{{ messages }}")
    prepared(ChatPrompt("m", HELLO, reasoning_effort="high"), "{{ reasoning_effort }}")
    with pytest.raises(InvalidRequest, match="cannot switch thinking on") as caught:
        prepared(ChatPrompt("m", HELLO, reasoning_effort="high"), "{{ messages }}")
    assert (caught.value.error_code, caught.value.param) == ("unsupported_parameter", "reasoning_effort")


def test_arguments_of_earlier_calls_become_objects_and_the_callers_messages_stay():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    talk = prepared(ChatPrompt("m", [message]))
    assert talk.variables["messages"][0]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert call["function"]["arguments"] == '{"a": 1}'


@pytest.mark.parametrize("arguments", ["{", "[1]", "NaN", '{"a": Infinity}', "[" * 100_000])
def test_arguments_that_are_no_json_object_are_refused(arguments):
    call = {"function": {"name": "f", "arguments": arguments}}
    with pytest.raises(InvalidRequest) as caught:
        prepared(ChatPrompt("m", [*HELLO, {"role": "assistant", "tool_calls": [call]}]))
    assert caught.value.param == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (ChatPrompt("m", []), "messages"),
        (ChatPrompt("m", HELLO * 5), "messages"),
        (ChatPrompt("m", HELLO, tools=[{"function": {"name": "f"}}] * 4), "tools"),
        (ChatPrompt("m", HELLO, tools=[{"function": {}}]), "tools[0].function.name"),
        (ChatPrompt("m", HELLO, tool_choice="required"), "tool_choice"),
        (ChatPrompt("m", HELLO, continue_final_message=True), "continue_final_message"),
        (
            ChatPrompt("m", [{"role": "user"}], add_generation_prompt=False, continue_final_message=True),
            "messages[0].content",
        ),
        (ChatPrompt("m", [{"content": "x"}]), "messages[0].role"),
    ],
)
def test_prompts_without_sense_are_refused_by_field(prompt, param):
    with pytest.raises(InvalidRequest) as caught:
        prepared(prompt, messages=4, tools=3)
    assert caught.value.param == param


def test_tools_that_may_not_be_called_are_left_out():
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert prepared(ChatPrompt("m", HELLO, tools=tools)).tools == ("f",)
    silent = prepared(ChatPrompt("m", HELLO, tools=tools, tool_choice="none"))
    assert (silent.tools, silent.variables["tools"]) == ((), None)
