"""Asks the server through the official ``openai`` client, as any program would."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
import openai
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

from hyprstream_core.errors import HyprstreamError

ADD: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        },
    },
}


@dataclass(frozen=True)
class Timing:
    """One streamed answer: seconds to its first text, seconds from there to its end, tokens."""

    first_token: float
    rest: float
    num_tokens: int

    @property
    def tokens_per_second(self) -> float:
        """Rate after the first token."""
        return (self.num_tokens - 1) / self.rest if self.rest else 0.0


@contextmanager
def connect(url: str) -> Iterator[Client]:
    """A client for the server at ``url``.

    Raises:
        HyprstreamError: a request inside the block failed.
    """
    try:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=60, max_retries=0) as api:
            yield Client(api)
    except openai.OpenAIError as error:
        raise HyprstreamError(f"the openai client failed: {error}") from error


class Client:
    """Prints what it asks and what comes back."""

    def __init__(self, api: openai.OpenAI) -> None:
        self._api = api

    def list_models(self) -> None:
        """Every branch is a model."""
        _code("client.models.list()")
        for model in self._api.models.list():
            click.echo(model.id)

    def ask(self, model: str, question: str) -> None:
        """One answer at once, and the commit that it came from."""
        _code(f'client.chat.completions.create(model="{model}", messages=[user("{question}")])')
        done = self._api.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
        text = done.choices[0].message.content
        if not text or done.usage is None:
            raise HyprstreamError(f"{model} gave no answer, expected text and its usage")
        click.echo(text)
        click.echo(f"{done.usage.completion_tokens} tokens, system_fingerprint {done.system_fingerprint}")

    def stream(self, model: str, question: str) -> Timing:
        """One answer token by token, timed."""
        _code(f'client.chat.completions.create(model="{model}", messages=[user("{question}")], stream=True)')
        start = time.perf_counter()
        first, num_tokens = 0.0, 0
        chunks = self._api.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in chunks:
            num_tokens = chunk.usage.completion_tokens if chunk.usage else num_tokens
            if chunk.choices and (text := chunk.choices[0].delta.content):
                first = first or time.perf_counter()
                click.echo(text, nl=False)
        click.echo()
        return Timing(first - start, time.perf_counter() - first, num_tokens)

    def use_tool(self, model: str, question: str) -> None:
        """Offer a tool, run the call that the model asks for, and let it answer from the result."""
        _code(f'client.chat.completions.create(model="{model}", messages=[user("{question}")], tools=[add])')
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
        done = self._api.chat.completions.create(model=model, messages=messages, tools=[ADD], temperature=0)
        called = done.choices[0].message.tool_calls
        if not called or called[0].type != "function" or called[0].function.name != "add":
            said = done.choices[0].message.content or "nothing"
            raise HyprstreamError(f"the model did not call the tool add; it said: {said[:200]}")
        function = called[0].function
        click.echo(f"the model calls {function.name}({function.arguments})")
        result = json.dumps(sum(json.loads(function.arguments).values()))
        call_id, name, arguments = called[0].id, function.name, function.arguments
        messages += [
            {
                "role": "assistant",
                "tool_calls": [{"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}],
            },
            {"role": "tool", "tool_call_id": call_id, "content": result},
        ]
        told = self._api.chat.completions.create(model=model, messages=messages, tools=[ADD], temperature=0)
        text = told.choices[0].message.content or ""
        click.echo(text)
        if result not in text:
            raise HyprstreamError(f"the answer does not hold the tool's result {result}: {text!r}")


def _code(line: str) -> None:
    click.secho(f">>> {line}", fg="green")
