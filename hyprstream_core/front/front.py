"""The front: what the API and ``infer`` share between a request and the engine.

    ChatPrompt / TextPrompts ─► describe ─► render ─► tokenise ─► check ─► Answer ─► Inference.generate
                                                                            │
                      Delta ◄─ parse markup ◄─ stop strings ◄─ detokenise ◄─┘

``chat`` and ``complete`` do everything that can be refused; the engine hears of a request when its
:class:`Answer` is first iterated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from hyprstream_core.config import Limits
from hyprstream_core.errors import InvalidRequest, UnsupportedModel
from hyprstream_core.front.answer import Answer
from hyprstream_core.front.choice import ChoiceStream
from hyprstream_core.front.conversation import conversation
from hyprstream_core.front.records import ChatPrompt, Options, TextPrompts
from hyprstream_core.front.sampling import check_ids, check_options, sampling_params
from hyprstream_core.front.voice import Voice, Voices
from hyprstream_core.interfaces.inference import Description, GenerateRequest, Inference, ModelInfo, Registry
from hyprstream_core.interfaces.response import ResponseFormat, ResponseParser
from hyprstream_core.text.detokenise import detokeniser
from hyprstream_core.text.quoting import Quotes
from hyprstream_core.text.response import PlainParser
from hyprstream_core.text.stop import StopStrings
from hyprstream_core.text.template import TemplateRenderer
from hyprstream_core.text.tokenizer import Tokenizer

PROMPT_TAIL = 64
"""Characters of the prompt's end that a parser sees."""


class Front:
    """Speaks text with people and tokens with the engine.

    ``formats`` are the installed response formats, ``load`` imports a format's parser by name
    (``hyprstream_core.plugins.load``). Use as an async context manager, or call ``start`` and ``close``.
    """

    def __init__(
        self,
        registry: Registry,
        inference: Inference,
        formats: Sequence[ResponseFormat],
        limits: Limits,
        load: Callable[[str], Any],
    ) -> None:
        self._registry = registry
        self._inference = inference
        self._limits = limits
        self._voices = Voices(formats, load, limits)
        self._renderer = TemplateRenderer(limits)

    async def start(self) -> None:
        """Start the template process, so that the first chat does not wait for it."""
        await self._renderer.start()

    async def close(self) -> None:
        """Stop the template process. Answers that are still open go on."""
        await self._renderer.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def models(self) -> list[ModelInfo]:
        """One entry per branch worktree."""
        return await self._registry.models()

    async def model(self, ref: str) -> ModelInfo:
        """Any reference. Raises ModelNotFound, RefError."""
        return await self._registry.model(ref)

    async def chat(self, prompt: ChatPrompt, options: Options) -> Answer:
        """Render, tokenise and check; nothing is generated until the answer is iterated.

        Raises:
            InvalidRequest: a value is out of range; ``param`` names it. ContextLengthExceeded when it does not fit.
            TemplateError: the chat template failed or broke its limits.
            UnsupportedModel: the model has no chat template.
            ModelNotFound, RefError: no such model.
        """
        check_options(options, self._limits)
        description = await self._describe(prompt.model)
        if not description.template:
            raise UnsupportedModel(
                f"{description.model} has no chat template, only text completions work with it",
                remedy="add chat_template.jinja to the model",
            )
        voice = await self._voices.get(description)
        quotes = Quotes(voice.tokenizer.specials)
        talk = conversation(prompt, description.template, voice.tokenizer.special_tokens, quotes, self._limits)
        rendered = talk.cut(await self._renderer.render(description.template, talk.variables))
        chunks = await asyncio.to_thread(voice.tokenizer.encode_all, quotes.chunks(rendered), add_special_tokens=False)
        ids = tuple(chain.from_iterable(chunks))
        tail = quotes.text(rendered)[-PROMPT_TAIL:]
        return self._answer(description, voice, (ids,), options, lambda: voice.parser(tail, talk.tools), "messages")

    async def complete(self, prompts: TextPrompts, options: Options) -> Answer:
        """Tokenise and check; choices of prompt ``p`` have indices ``p * n`` to ``p * n + n - 1``.

        Raises: as :meth:`chat`, without the template's errors.
        """
        if not 1 <= len(prompts.prompts) <= self._limits.prompts:
            raise InvalidRequest(
                f"prompt: got {len(prompts.prompts)} prompts, expected 1 to {self._limits.prompts}", param="prompt"
            )
        check_options(options, self._limits, len(prompts.prompts))
        description = await self._describe(prompts.model)
        voice = await self._voices.get(description)
        ids = await asyncio.to_thread(_encode, voice.tokenizer, prompts.prompts)
        return self._answer(description, voice, ids, options, PlainParser, "prompt")

    async def _describe(self, ref: str) -> Description:
        description = await self._registry.describe(ref)
        if description.max_model_len < 1 or description.vocab_size < 1:
            raise UnsupportedModel(
                f"{description.model} does not say how long its context and how large its vocabulary is"
            )
        return description

    def _answer(
        self,
        description: Description,
        voice: Voice,
        prompts: tuple[tuple[int, ...], ...],
        options: Options,
        parser: Callable[[], ResponseParser],
        param: str,
    ) -> Answer:
        for ids in prompts:
            if not ids:
                raise InvalidRequest(f"{param}: got an empty prompt, expected at least one token", param=param)
            check_ids(ids, description.vocab_size, param)
        request_id = options.request_id or uuid4().hex
        choices = []
        for index in range(len(prompts) * options.n):
            ids, nth = prompts[index // options.n], index % options.n
            request = GenerateRequest(
                request_id=request_id if len(prompts) * options.n == 1 else f"{request_id}-{index}",
                model=description.model,
                commit=description.commit,
                prompt_ids=ids,
                params=sampling_params(options, description, len(ids), nth),
                eos_token_ids=description.eos_token_ids,
                subject=options.subject,
                salt=options.salt,
            )
            choices.append(
                ChoiceStream(index, request, detokeniser(voice.tokenizer), StopStrings(options.stop), parser())
            )
        return Answer(self._inference, description, request_id, prompts, choices)


def _encode(tokenizer: Tokenizer, prompts: Sequence[str | Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Token ids of each prompt; ids stay as they are."""
    return tuple(tuple(tokenizer.encode(prompt) if isinstance(prompt, str) else prompt) for prompt in prompts)
