import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from hyprstream_core.interfaces.response import Content, ResponseEvent
from hyprstream_core.testing.suites import response_format as suite
from hyprstream_core.testing.suites.response_format import TOOLS, joined
from hyprstream_qwen import hyprstream_response_formats
from hyprstream_qwen.hermes import HermesParser

QWEN3_NO_THINKING = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
QWEN3_THINKING_OPEN = "<|im_start|>assistant\n<think>\n"


def parse(pieces, prompt_tail="", tools=TOOLS) -> list[ResponseEvent]:
    return suite.parse(HermesParser, pieces, prompt_tail, tools)


def check(text: str, expected: list[tuple], **options) -> None:
    """However the text is cut in two, and letter by letter, the answer is the same."""
    assert joined(parse([text], **options)) == expected
    assert joined(parse(text, **options)) == expected
    for cut in range(len(text)):
        assert joined(parse([text[:cut], text[cut:]], **options)) == expected


def test_plain_text_is_content():
    check("Hello\n\nworld\n", [("content", "Hello\n\nworld\n")])
    check("", [])


def test_thinking_is_reasoning_and_the_newlines_of_the_tags_are_markup():
    check("<think>\nLet me\nsee.\n</think>\n\nIt is 4.", [("reasoning", "Let me\nsee."), ("content", "It is 4.")])
    check("\n<think>a</think>b\n", [("reasoning", "a"), ("content", "b\n")])


def test_thinking_that_the_prompt_opened():
    expected = [("reasoning", "Hmm."), ("content", "Yes.")]
    check("\nHmm.\n</think>\n\nYes.", expected, prompt_tail=QWEN3_THINKING_OPEN)
    check("Hmm.</think>Yes.", expected, prompt_tail="<|im_start|>assistant\n<think>")


def test_an_empty_thinking_block_in_the_prompt_leaves_plain_content():
    check("Yes.", [("content", "Yes.")], prompt_tail=QWEN3_NO_THINKING)


def test_a_question_about_the_tag_does_not_open_the_thinking():
    check("x", [("content", "x")], prompt_tail="what is <think><|im_end|>\n<|im_start|>assistant\n")


def test_empty_thinking_gives_nothing():
    check("<think>\n\n</think>\n\nHi", [("content", "Hi")])


def test_unfinished_thinking_stays_reasoning():
    check("<think>\nso far\n</thi", [("reasoning", "so far\n</thi")])
    check("so far", [("reasoning", "so far")], prompt_tail=QWEN3_THINKING_OPEN)


def test_the_tag_in_the_middle_of_an_answer_is_text():
    check("Write <think> first.", [("content", "Write <think> first.")])


def test_thinking_then_text_then_calls():
    check(
        "<think>\nI need it.\n</think>\n\nLooking.\n<tool_call>\n"
        '{"name": "weather", "arguments": {"a": "}</tool_call>{\\""}}\n</tool_call>\n<tool_call>\n'
        '{"arguments": {}, "name": "search"}\n</tool_call>\n\nDone',
        [
            ("reasoning", "I need it."),
            ("content", "Looking."),
            ("call", 0, "weather", '{"a": "}</tool_call>{\\""}'),
            ("call", 1, "search", "{}"),
            ("content", "Done"),
        ],
    )


def test_arguments_keep_the_models_own_text():
    events = parse(['<tool_call>{"name":"search","arguments": {"q" : 1.50,\n "r":"\\u00e9"}}</tool_call>'])
    assert joined(events) == [("call", 0, "search", '{"q" : 1.50,\n "r":"\\u00e9"}')]


class TestHermes(suite.ResponseFormatSuite):
    record = next(r for r in hyprstream_response_formats() if r.name == "hermes")
    samples = (
        "<think>\nLet me\nsee.\n</think>\n\nIt is 4.",
        "<think>\nI need it.\n</think>\n\nLooking.\n<tool_call>\n"
        '{"name": "weather", "arguments": {"a": "}</tool_call>{\\""}}\n</tool_call>\n\nDone',
        "<think>so far</thi",
        'x\n<tool_call>{"name": }</tool_call>\n<tool_call>{"name": "search"}</tool_call>',
        '<tool_call>{"name":"search"}',
        "\n",
        "\\",
        '<tool_call>{"',
    )
    broken = (
        'a\n\n<tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call>\n',  # not offered
        '<tool_call>\n{"name": "weather", "arguments": {"a": }}\n</tool_call>',
        '<tool_call>\n{"name": "weather", "arguments": {"a": NaN}}\n</tool_call>',
        '<tool_call>\n{"name": "weather", "arguments": {"a": "line\nbreak"}}\n</tool_call>',
        '<tool_call>\n{"name": "weather", "arguments": [1]}\n</tool_call>',
        '<tool_call>\n{"name": "weather", "arguments": {}, }\n</tool_call>',
        '<tool_call>\n{"name": "weather", "name": "search"}\n</tool_call>',
        '<tool_call>\n{"name": 1}\n</tool_call>',
        "<tool_call>\n{}\n</tool_call>",
        "<tool_call>\nweather()\n</tool_call>",
        '<tool_call>\n{"name": "weather", "arguments": {"a": 1}',  # cut off by the length
        '<tool_call>\n{"name": "weather", "arguments": {"a": "x\\',
        '<tool_call>\n{"name": "weather", "arguments": {"a": 1}</tool_call> and on',
        "<tool_call>\n",
        "<tool_c",
        "say `<tool_call>` now",
        '<tool_call>{"a":' * 3,
    )
    calls = (
        (
            '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln", "days": 3}}\n</tool_call>',
            "weather",
            {"city": "Köln", "days": 3},
        ),
        ('<tool_call>{"name": "search"}</tool_call>', "search", {}),
        ('<tool_call>{"name": "search", "arguments": "{\\"q\\": 1}"}</tool_call>', "search", {"q": 1}),
    )


class TestThink(suite.ResponseFormatSuite):
    record = next(r for r in hyprstream_response_formats() if r.name == "think")
    samples = TestHermes.samples


def test_a_good_call_after_a_broken_one_is_found():
    check(
        'x\n<tool_call>{"name": }</tool_call>\n<tool_call>{"name": "search"}</tool_call>',
        [("content", 'x\n<tool_call>{"name": }</tool_call>'), ("call", 0, "search", "{}")],
    )


def test_a_call_cut_off_after_its_object_is_whole():
    for rest in ("", "\n", "\n</tool", "\n</tool_call>"):
        check(f'<tool_call>{{"name": "search"}}{rest}', [("call", 0, "search", "{}")])


def test_content_is_given_out_as_soon_as_it_cannot_be_markup():
    parser = HermesParser("", TOOLS)
    assert parser.feed("Hel") == [Content("Hel")]
    assert parser.feed("lo <to") == [Content("lo ")]
    assert parser.feed("p>") == [Content("<top>")]


def test_reasoning_is_known_while_it_lasts():
    parser = HermesParser("", TOOLS)
    assert not parser.in_reasoning
    parser.feed("<think>")
    assert parser.in_reasoning
    parser.feed("a</think>")
    assert not parser.in_reasoning


PARTS = st.sampled_from(
    [
        "<think>", "</think>", "<tool_call>", "</tool_call>", "\n", "\n\n", "text ", "<", "{", "}", '"', "\\", "é",
        '{"name": "weather", "arguments": {"a": "b"}}', '{"name": "other"}', '"name": "search"', "<think", "</", " ",
    ]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(
    parts=st.lists(PARTS, max_size=14),
    cuts=st.lists(st.integers(0, 200), max_size=10),
    tail=st.sampled_from(["", QWEN3_THINKING_OPEN, QWEN3_NO_THINKING]),
)
def test_any_split_of_a_text_gives_the_same_events(parts, cuts, tail):
    text = "".join(parts)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole = joined(parse([text], prompt_tail=tail))
    assert joined(parse([text[a:b] for a, b in itertools.pairwise(edges)], prompt_tail=tail)) == whole
    assert joined(parse(text, prompt_tail=tail)) == whole
    for event in whole:
        if event[0] == "call":
            assert isinstance(json.loads(event[3]), dict)
