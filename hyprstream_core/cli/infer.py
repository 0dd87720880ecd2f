"""``hyprstream infer``: one prompt, one answer, streamed."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_note, has_colour, printable, write
from hyprstream_core.errors import InvalidRequest, UnsupportedModel

if TYPE_CHECKING:
    from hyprstream_core.config import Limits
    from hyprstream_core.front import Answer, Front, Options

FLAGS = {
    "max_tokens": "--max-tokens",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "top_k": "--top-k",
    "repetition_penalty": "--repeat-penalty",
    "seed": "--seed",
    "stop": "--stop",
    "prompt": "--prompt",
    "messages": "--prompt",
}
"""A request's field, as errors name it → the flag that sets it."""

PLACES = {"server": "by the server", "process": "in this process"}
"""Where the answer was computed, for programs → for people."""

ANSWER = "the answer"


@dataclass(frozen=True)
class Question:
    """What to ask: ``raw`` leaves the chat template out."""

    reference: str
    text: str
    system: str | None
    raw: bool


@click.command()
@click.argument("reference", metavar="MODEL[:REF]")
@click.option("-p", "--prompt", metavar="TEXT", help="The prompt; default: standard input.")
@click.option("--system", metavar="TEXT", help="System message in front of the prompt.")
@click.option("--raw", is_flag=True, help="Continue the text itself, without the model's chat template.")
@click.option("--max-tokens", type=int, metavar="N", help="Longest answer; default: what fits the context.")
@click.option("--temperature", type=float, metavar="X", help="0 always takes the most likely token.")
@click.option("--top-p", type=float, metavar="X", help="Smallest set of tokens with this much probability.")
@click.option("--top-k", type=int, metavar="N", help="Only the N most likely tokens; 0 is off.")
@click.option("--repeat-penalty", type=float, metavar="X", help="Above 1 makes tokens rarer that occurred; 1 is off.")
@click.option("--seed", type=int, metavar="N", help="Same seed, same answer.")
@click.option("--stop", metavar="TEXT", multiple=True, help="End the answer before TEXT. Repeatable.")
@click.option("--dtype", metavar="DTYPE", help="float32, bfloat16, float16, or auto: the checkpoint's own.")
@click.option("--device", metavar="NAME", help="Device backend by name, or auto.")
@json_option
@click.pass_obj
def infer(
    context: Context,
    reference: str,
    prompt: str | None,
    system: str | None,
    raw: bool,
    max_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    repeat_penalty: float | None,
    seed: int | None,
    stop: tuple[str, ...],
    dtype: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Answer one prompt with a model at a branch, tag or commit.

    The answer streams to standard output; one line of statistics follows on standard error. Options
    that are left out are the model's own (its generation_config.json).

    A running server of the same store answers when there is one; otherwise, and with --dtype or
    --device, the model is loaded here.

    \b
    Examples:
      hyprstream infer chat --prompt "What is a worktree?"
      hyprstream infer qwen3-0.6b:v1.0 -p "Write a haiku." --temperature 0 --max-tokens 64
      echo "def fib(n):" | hyprstream infer qwen3-0.6b --raw --stop $'\\n\\n'
      hyprstream infer chat:1a2b3c4d -p "Hello" --json
    """
    from hyprstream_core.cli.session import open_front
    from hyprstream_core.front import Options

    if raw and system is not None:
        raise click.UsageError("--system needs the chat template, which --raw leaves out")
    configuration = context.configure({"engine.dtype": ("--dtype", dtype), "engine.device": ("--device", device)})
    options = Options(
        subject=f"local:{_user()}",
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        repetition_penalty=repeat_penalty,
        seed=seed,
        stop=stop,
    )
    _check(options, configuration.settings.limits)
    question = Question(reference, _prompt(context, prompt), system, raw)
    context.start_logging(quiet=True)

    async def ask() -> None:
        async with open_front(context, configuration, reference) as (front, place):
            async with await _submit(front, question, options) as answer:
                result = await (_collect(answer) if as_json else _stream(answer, context))
            if as_json:
                info = await front.model(reference)
                emit_json(_record(info.id, result, answer, place), ANSWER)
            else:
                emit_note(_statistics(result, answer, place))

    with _naming_flags():
        asyncio.run(ask())


def _check(options: Options, limits: Limits) -> None:
    """Refuse what no model could do, as wrong usage and before anything is read or loaded."""
    from hyprstream_core.front.sampling import check_options

    try:
        with _naming_flags():
            if options.top_k is not None and options.top_k < 0:
                raise InvalidRequest(f"top_k: got {options.top_k}, expected an integer from 0 up", param="top_k")
            check_options(options, limits)
    except InvalidRequest as error:
        error.details["origin"] = f"flag {error.param}"
        error.remedy = error.remedy or f"correct {error.param}; see: hyprstream infer --help"
        raise


@contextmanager
def _naming_flags() -> Iterator[None]:
    """Errors inside name the flag that was typed, not the field of a request that it sets."""
    try:
        yield
    except InvalidRequest as error:
        if flag := FLAGS.get(error.param or ""):
            field, separator, rest = error.message.partition(":")
            message = f"{flag}{separator}{rest}" if field == error.param else error.message
            raise type(error)(
                message, remedy=error.remedy, code=error.error_code, param=flag, **error.details
            ) from None
        raise


def _prompt(context: Context, given: str | None) -> str:
    text = _standard_input(context) if given is None else given
    if not text:
        raise click.UsageError("the prompt is empty")
    return text


def _standard_input(context: Context) -> str:
    if sys.stdin.isatty():
        raise click.UsageError("no prompt: give --prompt TEXT, or the text on standard input")
    limit = context.settings.limits.body_bytes
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise InvalidRequest(f"the prompt on standard input is longer than {limit} bytes (limits.body_bytes)")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the prompt on standard input is not UTF-8: byte {error.start} is wrong") from None


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


async def _submit(front: Front, question: Question, options: Options) -> Answer:
    from hyprstream_core.front import ChatPrompt, TextPrompts

    if question.raw:
        return await front.complete(TextPrompts(question.reference, [question.text]), options)
    messages = [{"role": "user", "content": question.text}]
    if question.system is not None:
        messages.insert(0, {"role": "system", "content": question.system})
    try:
        return await front.chat(ChatPrompt(question.reference, messages), options)
    except UnsupportedModel as error:
        raise UnsupportedModel(
            error.message, code=error.error_code, remedy="continue plain text instead: hyprstream infer --raw …"
        ) from None


async def _collect(answer: Answer) -> dict[str, Any]:
    (choice,) = await answer.collect()
    return {"text": choice.content, "reasoning": choice.reasoning, "finish_reason": choice.finish_reason}


async def _stream(answer: Answer, context: Context) -> dict[str, Any]:
    """Write the answer as it comes; a model's thinking goes to a terminal's stderr, dimmed."""
    on_terminal = sys.stdout.isatty()
    show_thinking = on_terminal and sys.stderr.isatty()
    dim = has_colour(sys.stderr, context.env)
    finish, last = None, ""
    async for delta in answer:
        if delta.reasoning and show_thinking:
            text = printable(delta.reasoning)
            click.echo(click.style(text, dim=True) if dim else text, nl=False, err=True)
        if delta.content:
            last = delta.content
            write(printable(last) if on_terminal else last, ANSWER)
        finish = delta.finish_reason or finish
    if not last.endswith("\n"):
        write("\n", ANSWER)
    return {"finish_reason": finish}


def _record(model: str, result: dict[str, Any], answer: Answer, place: str) -> dict[str, Any]:
    usage, timing = answer.usage, answer.timing
    rate, first = timing.tokens_per_second, _seconds_to_first(answer)
    return {
        "model": model,
        "commit": answer.commit,
        **result,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "generated_tokens": usage.completion_tokens,
        "tokens_per_second": rate and round(rate, 2),
        "time_to_first_token": first and round(first, 4),
        "served_by": place,
    }


def _statistics(result: dict[str, Any], answer: Answer, place: str) -> str:
    usage, rate, first = answer.usage, answer.timing.tokens_per_second, _seconds_to_first(answer)
    parts = [
        f"{usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached)",
        f"{usage.completion_tokens} generated",
        "" if rate is None else f"{rate:.1f} tok/s",
        "" if first is None else f"first token after {first:.2f} s",
        f"commit {answer.commit[:12]}",
        f"finish {result['finish_reason']}",
        PLACES[place],
    ]
    return ", ".join(part for part in parts if part)


def _seconds_to_first(answer: Answer) -> float | None:
    timing = answer.timing
    return None if timing.submitted is None or timing.first_token is None else timing.first_token - timing.submitted
