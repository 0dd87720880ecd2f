"""What crosses the seam between front and engine: tokens in, tokens out.

The front (templates, tokenising, detokenising, parsing) asks the registry once per commit for a
:class:`Description`, then sends :class:`GenerateRequest` and receives :class:`TokenChunk` until one has
a ``finish_reason``. These records travel over RPC and are the same in-process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class SamplingParams:
    """How an answer is drawn. All values are already range-checked; ``temperature`` 0 is argmax.

    ``max_tokens`` 0 is as many as fit into the context and the engine's KV cache.
    ``top_k`` 0, ``top_p`` 1, ``min_p`` 0 and penalties 1 / 0 / 0 are off. ``seed`` None draws a fresh one.
    ``stop_token_ids`` end the answer and are not part of it, as do the model's own EOS ids unless
    ``ignore_eos``. ``min_tokens`` holds all of these back.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0


@dataclass(frozen=True)
class GenerateRequest:
    """One answer to compute. ``commit`` (40 hex digits) pins what answers, whatever the branch does meanwhile.

    ``eos_token_ids`` come from the model's description. ``subject`` is who asks: ``local:<user>``, ``token:<user>``,
    ``peer:<name>`` or ``anonymous``. ``salt`` separates tenants' prefix caches.
    """

    request_id: str
    model: str
    commit: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    eos_token_ids: tuple[int, ...] = ()
    subject: str = "anonymous"
    salt: str = ""


@dataclass(frozen=True)
class TokenChunk:
    """Tokens that one engine step added to an answer. The last chunk has ``finish_reason`` "stop" (an EOS or
    stop id, which is not in ``token_ids``), "length" or "cancelled". ``cached_tokens`` counts the prompt tokens
    that the prefix cache supplied."""

    token_ids: tuple[int, ...]
    finish_reason: str | None = None
    cached_tokens: int = 0


@dataclass(frozen=True)
class ModelInfo:
    """One servable reference, as the registry knows it. ``id`` is ``name:ref``; ``kind`` is "branch", "tag" or
    "commit"; sizes in bytes; times in Unix seconds. ``created`` is the commit's time. ``parent`` is the model that an
    adapter belongs to: always "" until there are adapters."""

    id: str
    name: str
    ref: str
    kind: str
    commit: str
    uuid: str
    created: int
    driver: str = ""
    saved_bytes: int = 0
    worktree_created: int = 0
    root: str = ""
    parent: str = ""
    max_model_len: int = 0
    dtype: str = ""
    num_parameters: int = 0
    architecture: str = ""
    status: str = ""
    """"" when the model can be served, else why not (one line)."""


@dataclass(frozen=True)
class Description:
    """What the front needs to speak for one commit. ``directory`` is a read-only folder with the tokenizer
    files; ``template`` is the chat template's source ("" when the model has none); ``generation_config`` holds
    the sampling defaults of generation_config.json that hyprstream knows, by the names of
    :class:`SamplingParams`."""

    model: str
    commit: str
    directory: str
    template: str
    generation_config: dict[str, float] = field(default_factory=dict)
    eos_token_ids: tuple[int, ...] = ()
    max_model_len: int = 0
    vocab_size: int = 0
    dtype: str = ""


@dataclass(frozen=True)
class EngineStatus:
    """Counters of one engine process since its start. ``ready`` is False when the engine thread has ended, and while
    the only models are still being loaded; ``loaded`` are commits, ``started`` is Unix seconds."""

    ready: bool
    running: int
    waiting: int
    forward_passes: int
    generated_tokens: int
    prompt_tokens: int
    cached_tokens: int
    kv_blocks_total: int
    kv_blocks_free: int
    loaded: tuple[str, ...] = ()
    device: str = ""
    started: float = 0.0


class Registry(Protocol):
    """The registry service, as its clients see it. Methods raise :mod:`hyprstream_core.errors`."""

    async def ready(self) -> None:
        """Return when the store can be read; cheap however many models there are."""

    async def models(self) -> list[ModelInfo]:
        """One entry per branch worktree."""

    async def model(self, ref: str) -> ModelInfo:
        """Any reference: branch, tag, full or short commit; a bare name is its default branch."""

    async def describe(self, ref: str) -> Description:
        """Resolve ``ref`` and say what the front needs; cheap when repeated for one commit."""


class Inference(Protocol):
    """The inference service, as its clients see it."""

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Stream an answer's tokens. Closing the iterator early cancels the request."""

    async def status(self) -> EngineStatus:
        """Current counters."""
