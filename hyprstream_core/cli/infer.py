"""``hyprstream infer``: one prompt, one answer, streamed."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_json, emit_note, has_colour, printable
from hyprstream_core.errors import InvalidRequest, UnsupportedModel

if TYPE_CHECKING:
    from hyprstream_core.front import Answer, Front, Options


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
      echo "def fib(n):" | hyprstream infer qwen3-0.6b --raw --stop "\\n\\n"
      hyprstream infer chat:1a2b3c4d -p "Hello" --json
    """
    from hyprstream_core.cli.session import open_front
    from hyprstream_core.front import Options

    if raw and system is not None:
        raise click.UsageError("--system needs the chat template, which --raw leaves out")
    configuration = context.configure({"engine.dtype": ("--dtype", dtype), "engine.device": ("--device", device)})
    question = Question(reference, prompt if prompt is not None else _standard_input(context), system, raw)
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

    context.start_logging(quiet=True)

    async def ask() -> None:
        async with open_front(context, configuration, reference) as (front, place):
            async with await _submit(front, question, options) as answer:
                result = await (_collect(answer) if as_json else _stream(answer, context))
            _finish(result, answer, place, as_json=as_json)

    asyncio.run(ask())


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
            click.echo(printable(last) if on_terminal else last, nl=False)
            sys.stdout.flush()
        finish = delta.finish_reason or finish
    if not last.endswith("\n"):
        click.echo()
    return {"finish_reason": finish}


def _finish(result: dict[str, Any], answer: Answer, place: str, *, as_json: bool) -> None:
    usage, timing = answer.usage, answer.timing
    first = _between(timing.submitted, timing.first_token)
    decoding = _between(timing.first_token, timing.finished)
    rate = (usage.completion_tokens - 1) / decoding if decoding and usage.completion_tokens > 1 else None
    if as_json:
        emit_json(
            {
                "model": answer.model,
                "commit": answer.commit,
                **result,
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "generated_tokens": usage.completion_tokens,
                "tokens_per_second": rate and round(rate, 2),
                "time_to_first_token": first and round(first, 4),
                "served_by": place,
            }
        )
        return
    parts = [
        f"{usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached)",
        f"{usage.completion_tokens} generated",
        "" if rate is None else f"{rate:.1f} tok/s",
        "" if first is None else f"first token after {first:.2f} s",
        f"commit {answer.commit[:12]}",
        f"finish {result['finish_reason']}",
        place,
    ]
    emit_note(", ".join(part for part in parts if part))


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start
