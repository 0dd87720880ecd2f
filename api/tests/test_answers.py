"""Answers on the wire: whole objects, and the exact sequence of chunks."""

import asyncio
import json

import pytest

from hyprstream_api.answers import ChatWriter, CompletionWriter
from hyprstream_api.chat_fields import ChatFields
from hyprstream_api.completion_fields import CompletionFields
from hyprstream_api.fields import convert
from hyprstream_core.front import Choice, Delta, ToolCall, ToolCallDelta

FINGERPRINT = "0123456789ab-00000000"


def chat_fields(**fields):
    return convert({"model": "m:main", "messages": [{"role": "user", "content": "x"}], **fields}, ChatFields)


def completion_fields(**fields):
    return convert({"model": "m:main", "prompt": "x", **fields}, CompletionFields)


def events(writer):
    async def gather():
        return b"".join([data async for data in writer.events()])

    lines = asyncio.run(gather()).split(b"\n\n")
    assert lines.pop() == b""
    assert lines.pop() == b"data: [DONE]"
    return [json.loads(line.removeprefix(b"data: ")) for line in lines]


def deltas(documents):
    return [(c["index"], c["delta"], c["finish_reason"]) for d in documents for c in d["choices"]]


def test_a_stream_opens_with_the_role_and_ends_with_an_empty_delta_and_the_reason(scripted):
    answer = scripted([Delta(0, content="Hel"), Delta(0, content="lo"), Delta(0, finish_reason="stop")])
    documents = events(ChatWriter(answer, chat_fields(), FINGERPRINT, 1))
    assert deltas(documents) == [
        (0, {"role": "assistant", "content": ""}, None),
        (0, {"content": "Hel"}, None),
        (0, {"content": "lo"}, None),
        (0, {}, "stop"),
    ]
    assert {(d["id"], d["created"], d["object"], d["model"], d["system_fingerprint"]) for d in documents} == {
        ("chatcmpl-r1", 1700000000, "chat.completion.chunk", "m:main", FINGERPRINT)
    }
    assert all("usage" not in d for d in documents)


def test_text_and_reason_that_come_together_are_two_chunks(scripted):
    answer = scripted([Delta(0, content="all", finish_reason="length")])
    assert deltas(events(ChatWriter(answer, chat_fields(), FINGERPRINT, 1)))[1:] == [
        (0, {"content": "all"}, None),
        (0, {}, "length"),
    ]


def test_reasoning_goes_by_both_names(scripted):
    answer = scripted([Delta(0, reasoning="hm"), Delta(0, finish_reason="stop")])
    assert deltas(events(ChatWriter(answer, chat_fields(), FINGERPRINT, 1)))[1][1] == {
        "reasoning": "hm",
        "reasoning_content": "hm",
    }


def test_a_tool_call_is_introduced_once_and_its_arguments_follow(scripted):
    answer = scripted(
        [
            Delta(0, tool_calls=(ToolCallDelta(0, "c1", "look_up", ""),)),
            Delta(0, tool_calls=(ToolCallDelta(0, arguments='{"a"'),)),
            Delta(0, tool_calls=(ToolCallDelta(0, arguments=":1}"),), finish_reason="tool_calls"),
        ]
    )
    found = deltas(events(ChatWriter(answer, chat_fields(), FINGERPRINT, 1)))
    assert [d.get("tool_calls") for _, d, _ in found[1:4]] == [
        [{"index": 0, "id": "c1", "type": "function", "function": {"name": "look_up", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"a"'}}],
        [{"index": 0, "function": {"arguments": ":1}"}}],
    ]
    assert found[-1] == (0, {}, "tool_calls")


def test_every_choice_opens_and_ends(scripted):
    answer = scripted([Delta(1, content="b", finish_reason="stop"), Delta(0, content="a", finish_reason="stop")])
    found = deltas(events(ChatWriter(answer, chat_fields(n=2), FINGERPRINT, 2)))
    for index, text in ((0, "a"), (1, "b")):
        mine = [(delta, reason) for i, delta, reason in found if i == index]
        assert mine == [({"role": "assistant", "content": ""}, None), ({"content": text}, None), ({}, "stop")]


def test_usage_comes_last_and_without_choices_when_asked_for(scripted):
    answer = scripted([Delta(0, content="a", token_ids=(5,)), Delta(0, token_ids=(6,), finish_reason="stop")])
    fields = chat_fields(stream=True, stream_options={"include_usage": True})
    documents = events(ChatWriter(answer, fields, FINGERPRINT, 1))
    assert documents[-1]["choices"] == []
    assert documents[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert [d["usage"] for d in documents[:-1]] == [None] * 3


def test_continuous_usage_is_on_every_chunk(scripted):
    answer = scripted(
        [Delta(0, content="a", token_ids=(5,)), Delta(0, content="b", token_ids=(6,), finish_reason="stop")]
    )
    fields = chat_fields(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True})
    counts = [d["usage"]["completion_tokens"] for d in events(ChatWriter(answer, fields, FINGERPRINT, 1))]
    assert counts == [1, 1, 2, 2, 2]


@pytest.mark.parametrize(("make", "fields"), [(ChatWriter, chat_fields), (CompletionWriter, completion_fields)])
def test_streamed_token_ids_are_all_there_each_once(scripted, make, fields):
    steps = [
        Delta(0, token_ids=(1,)),
        Delta(0, content="ab", token_ids=(2, 3)),
        Delta(0, content="c", token_ids=(4,), finish_reason="length"),
    ]
    documents = events(make(scripted(steps), fields(return_token_ids=True), FINGERPRINT, 1))
    assert [t for d in documents for c in d["choices"] for t in c["token_ids"]] == [1, 2, 3, 4]
    last = events(
        make(scripted([Delta(0, token_ids=(9,), finish_reason="stop")]), fields(return_token_ids=True), "f", 1)
    )
    assert [t for d in last for c in d["choices"] for t in c["token_ids"]] == [9]


def test_news_that_nobody_can_see_are_no_chunk(scripted):
    answer = scripted([Delta(0, token_ids=(1,)), Delta(0, content="é", token_ids=(2,), finish_reason="stop")])
    assert [d for _, d, _ in deltas(events(ChatWriter(answer, chat_fields(), FINGERPRINT, 1)))] == [
        {"role": "assistant", "content": ""},
        {"content": "é"},
        {},
    ]


def test_a_whole_chat_answer(scripted):
    call = ToolCall(0, "c1", "look_up", '{"a": 1}')
    choices = [
        Choice(0, "Hello", "", (), "stop", (1, 2)),
        Choice(1, "", "hm", (call,), "tool_calls", (3,)),
    ]
    writer = ChatWriter(scripted([], choices), chat_fields(n=2, return_token_ids=True), FINGERPRINT, 2)
    whole = json.loads(json.dumps(asyncio.run(writer.whole())))
    assert (whole["object"], whole["id"], whole["model"]) == ("chat.completion", "chatcmpl-r1", "m:main")
    first, second = whole["choices"]
    assert first == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hello", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
        "token_ids": [1, 2],
    }
    assert second["message"]["content"] is None
    assert second["message"]["reasoning"] == second["message"]["reasoning_content"] == "hm"
    assert second["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}
    ]
    assert whole["usage"]["total_tokens"] == 3


def test_a_text_stream_and_a_whole_text(scripted):
    answer = scripted(
        [Delta(0, content="a"), Delta(0, finish_reason="length")], [Choice(0, "a", "", (), "length", (1,))]
    )
    documents = events(CompletionWriter(answer, completion_fields(), FINGERPRINT, 1))
    assert [(c["text"], c["finish_reason"]) for d in documents for c in d["choices"]] == [("a", None), ("", "length")]
    assert {d["object"] for d in documents} == {"text_completion"}
    whole = asyncio.run(CompletionWriter(answer, completion_fields(), FINGERPRINT, 1).whole())
    assert whole["choices"] == [{"index": 0, "text": "a", "logprobs": None, "finish_reason": "length"}]
    assert whole["id"] == "cmpl-r1"
