"""The front: what the API, ``infer`` and ``chat`` share between a request and the engine.

    ChatPrompt / TextPrompts ─► describe ─► render ─► tokenise ─► check ─► Answer ─► Inference.generate
                                                                            │
                      Delta ◄─ parse markup ◄─ stop strings ◄─ detokenise ◄─┘

``chat`` and ``complete`` do everything that can be refused; the engine hears of a request when its
:class:`Answer` is first iterated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from hyprstream_core.config import Limits
from hyprstream_core.front.answer import Answer
from hyprstream_core.front.records import ChatPrompt, Options, TextPrompts
from hyprstream_core.interfaces.inference import Inference, ModelInfo, Registry
from hyprstream_core.interfaces.response import ResponseFormat


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

    async def start(self) -> None:
        """Start the template process, so that the first chat does not wait for it."""

    async def close(self) -> None:
        """Stop the template process. Answers that are still open go on."""

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
        raise NotImplementedError

    async def complete(self, prompts: TextPrompts, options: Options) -> Answer:
        """Tokenise and check; choices of prompt ``p`` have indices ``p * n`` to ``p * n + n - 1``.

        Raises: as :meth:`chat`, without the template's errors.
        """
        raise NotImplementedError
