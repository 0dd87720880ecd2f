"""What goes into the front and what comes out: prompts, options, deltas, choices, usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ToolChoice = Literal["auto", "none"]
FinishReason = Literal["stop", "length", "tool_calls"]

BURST_SECONDS = 0.05
"""Tokens that all arrive within this time were not computed in it: somebody had collected them."""


@dataclass(frozen=True)
class ChatPrompt:
    """A conversation to continue. ``messages`` and ``tools`` are plain JSON objects in OpenAI's form.

    ``tool_choice`` "none" leaves the tools out of the prompt and makes every call content.
    ``template_kwargs`` are extra variables for the chat template; names that the front sets itself, and names that
    the template does not mention, are refused. ``reasoning_effort`` switches thinking: off for "none" and "minimal",
    else on; None leaves it to the template. ``continue_final_message`` makes the answer go on where the last message
    ends; it needs ``add_generation_prompt=False``.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: ToolChoice = "auto"
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    reasoning_effort: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False


@dataclass(frozen=True)
class TextPrompts:
    """Raw prompts, each a text or token ids. No template, no markup: everything is content."""

    model: str
    prompts: Sequence[str | Sequence[int]]


@dataclass(frozen=True)
class Options:
    """How to answer. None means "the model's generation_config.json, else the server's default".

    ``max_tokens`` None is what still fits into the context. ``request_id`` "" makes one. With a ``seed``
    and several choices, choice ``i`` of a prompt draws with ``seed + i``. ``top_k`` 0 and -1 are both off.
    ``subject`` and ``salt`` (which separates tenants' prefix caches) go to the engine as they are.
    """

    request_id: str = ""
    subject: str = "anonymous"
    salt: str = ""
    n: int = 1
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    min_tokens: int = 0


@dataclass(frozen=True)
class ToolCallDelta:
    """A piece of a tool call. ``id`` and ``name`` are set on the first piece of call ``index`` only."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True)
class Delta:
    """News of choice ``index``. Text may lag behind ``token_ids``; ``finish_reason`` is set on a choice's last one."""

    index: int
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class ToolCall:
    """A whole tool call; ``arguments`` is JSON text."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Choice:
    """A whole answer."""

    index: int
    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: FinishReason
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Usage:
    """Tokens of a request. A prompt counts once however many choices it has; ``cached_tokens`` is the part of
    the prompts that the prefix cache supplied; ``reasoning_tokens`` is a part of ``completion_tokens``."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int

    @property
    def total_tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timing:
    """When things happened, in seconds of the monotonic clock; None: not yet.

    ``num_tokens`` came in ``num_chunks``, ``num_first`` of them in each choice's first one.
    """

    submitted: float | None
    first_token: float | None
    finished: float | None
    last_token: float | None = None
    num_tokens: int = 0
    num_first: int = 0
    num_chunks: int = 0

    @property
    def tokens_per_second(self) -> float | None:
        """The speed of decoding, between the first token and the last; None: there are no tokens.

        Tokens that come in one burst say nothing about it: then it is all of them over the whole time.
        """
        if self.submitted is None or self.first_token is None or self.last_token is None:
            return None
        decoding = self.last_token - self.first_token
        if self.num_chunks >= 2 and decoding >= BURST_SECONDS:
            return (self.num_tokens - self.num_first) / decoding
        whole = self.last_token - self.submitted
        return self.num_tokens / whole if whole > 0 else None
