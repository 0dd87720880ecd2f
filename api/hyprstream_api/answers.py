"""Answers as OpenAI's JSON: whole objects and stream chunks, of chat and of text completions.

A stream is, per choice: a chunk with the role, chunks with news, and a last chunk with an empty delta and the
finish reason; then, when asked for, a chunk without choices and with the usage. All share id and creation time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from hyprstream_api.fields import CommonFields
from hyprstream_api.sse import DONE, event
from hyprstream_core.front import Answer, Choice, Delta, ToolCall, ToolCallDelta, Usage

Json = dict[str, Any]


def usage_record(usage: Usage) -> Json:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


@dataclass(frozen=True)
class Writer(ABC):
    """Writes one answer. ``num_choices`` is n times the number of prompts."""

    answer: Answer
    fields: CommonFields
    fingerprint: str
    num_choices: int

    @property
    @abstractmethod
    def _kinds(self) -> tuple[str, str, str]:
        """Prefix of the id, object name of a whole answer, object name of a chunk."""

    @abstractmethod
    def _opening(self) -> Json | None:
        """The news with which every choice begins, if any."""

    @abstractmethod
    def _news(self, delta: Delta) -> Json | None:
        """What ``delta`` adds to its choice; None when nothing is visible."""

    @abstractmethod
    def _ending(self) -> Json:
        """The news of a choice's last chunk: none."""

    @abstractmethod
    def _whole(self, choice: Choice) -> Json:
        """The text of a whole choice."""

    def _document(self, kind: str, choices: Sequence[Json]) -> Json:
        return {
            "id": f"{self._kinds[0]}-{self.answer.request_id}",
            "object": kind,
            "created": self.answer.created,
            "model": self.fields.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }

    async def whole(self) -> Json:
        """The whole answer as one object; waits for it."""
        choices = [self._finished(choice) for choice in await self.answer.collect()]
        return {**self._document(self._kinds[1], choices), "usage": usage_record(self.answer.usage)}

    def _finished(self, choice: Choice) -> Json:
        ids = {"token_ids": choice.token_ids} if self.fields.return_token_ids else {}
        return {
            "index": choice.index,
            **self._whole(choice),
            "logprobs": None,
            "finish_reason": choice.finish_reason,
            **ids,
        }

    async def events(self) -> AsyncIterator[bytes]:
        """The answer as server-sent events, as it comes."""
        opened = False
        async for delta in self.answer:
            data = b"" if opened else self._openings()
            opened = True
            if data := data + self._events_of(delta):
                yield data
        if self.fields.stream_options and self.fields.stream_options.include_usage:
            yield event({**self._document(self._kinds[2], []), "usage": usage_record(self.answer.usage)})
        yield DONE

    def _openings(self) -> bytes:
        opening = self._opening()
        return b"" if opening is None else b"".join(self._chunk(i, opening) for i in range(self.num_choices))

    def _events_of(self, delta: Delta) -> bytes:
        """The news and, when the choice ends, the end; token ids ride on the first of them."""
        ids = delta.token_ids if self.fields.return_token_ids else ()
        news = self._news(delta)
        if news is None and ids and delta.finish_reason is None:
            news = self._ending()
        data = b""
        if news is not None:
            data, ids = self._chunk(delta.index, news, ids), ()
        if delta.finish_reason is not None:
            data += self._chunk(delta.index, self._ending(), ids, delta.finish_reason)
        return data

    def _chunk(self, index: int, news: Json, ids: Sequence[int] = (), finish_reason: str | None = None) -> bytes:
        choice = {"index": index, **news, "logprobs": None, "finish_reason": finish_reason}
        if self.fields.return_token_ids:
            choice["token_ids"] = ids
        document = self._document(self._kinds[2], [choice])
        if options := self.fields.stream_options:
            if options.continuous_usage_stats:
                document["usage"] = usage_record(self.answer.usage)
            elif options.include_usage:
                document["usage"] = None
        return event(document)


class ChatWriter(Writer):
    """Writes ``chat.completion`` and ``chat.completion.chunk``."""

    @property
    def _kinds(self) -> tuple[str, str, str]:
        return "chatcmpl", "chat.completion", "chat.completion.chunk"

    def _opening(self) -> Json:
        return {"delta": {"role": "assistant", "content": ""}}

    def _news(self, delta: Delta) -> Json | None:
        news: Json = {}
        if delta.reasoning:
            news |= {"reasoning": delta.reasoning, "reasoning_content": delta.reasoning}
        if delta.content:
            news["content"] = delta.content
        if delta.tool_calls:
            news["tool_calls"] = [_call_delta(call) for call in delta.tool_calls]
        return {"delta": news} if news else None

    def _ending(self) -> Json:
        return {"delta": {}}

    def _whole(self, choice: Choice) -> Json:
        message: Json = {"role": "assistant", "content": choice.content, "refusal": None}
        if choice.reasoning:
            message |= {"reasoning": choice.reasoning, "reasoning_content": choice.reasoning}
        if choice.tool_calls:
            message["content"] = choice.content or None
            message["tool_calls"] = [_call(call) for call in choice.tool_calls]
        return {"message": message}


def _call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_delta(call: ToolCallDelta) -> Json:
    if call.id is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


class CompletionWriter(Writer):
    """Writes ``text_completion``, whole and in chunks."""

    @property
    def _kinds(self) -> tuple[str, str, str]:
        return "cmpl", "text_completion", "text_completion"

    def _opening(self) -> None:
        return None

    def _news(self, delta: Delta) -> Json | None:
        return {"text": delta.content} if delta.content else None

    def _ending(self) -> Json:
        return {"text": ""}

    def _whole(self, choice: Choice) -> Json:
        return {"text": choice.content}
