"""Stand-ins for the services behind a front: no store, no engine, no weights.

A test writes a model folder, says which references there are and what the engine answers::

    directory = ByteTokenizer.write(tmp_path / "model")
    registry = StaticRegistry([description("demo", directory)])
    inference = ScriptedInference(["Hello."])
    async with Front(registry, inference, [], Limits(), load) as front: ...
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hyprstream_core.errors import HyprstreamError, ModelNotFound
from hyprstream_core.interfaces.inference import (
    Description,
    EngineStatus,
    GenerateRequest,
    ModelInfo,
    TokenChunk,
)
from hyprstream_core.text.tokenizer import byte_alphabet

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A small ChatML template."""


class ByteTokenizer:
    """A tokenizer whose ids are bytes, in the files of a real one. Ids from 256 on are special tokens."""

    END, IM_START, IM_END = 256, 257, 258
    SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    VOCAB_SIZE = 256 + len(SPECIAL)

    @classmethod
    def write(cls, directory: Path) -> Path:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``; returns ``directory``."""
        directory.mkdir(parents=True, exist_ok=True)
        added = [
            {"id": 256 + i, "content": text, "special": True, **_PLAIN_TOKEN} for i, text in enumerate(cls.SPECIAL)
        ]
        record = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", **_BYTE_LEVEL},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", **_BYTE_LEVEL},
            "model": {"type": "BPE", "vocab": byte_alphabet(), "merges": []},
        }
        (directory / "tokenizer.json").write_text(json.dumps(record))
        config = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
        return directory

    @staticmethod
    def encode(text: str) -> tuple[int, ...]:
        """Ids of a text without special tokens."""
        return tuple(text.encode())


def description(
    model: str, directory: Path, *, commit: str = COMMIT, template: str = TEMPLATE, max_model_len: int = 4096
) -> Description:
    """What the registry says of a model with a :class:`ByteTokenizer`."""
    return Description(
        model=model,
        commit=commit,
        directory=str(directory),
        template=template,
        eos_token_ids=(ByteTokenizer.IM_END, ByteTokenizer.END),
        max_model_len=max_model_len,
        vocab_size=ByteTokenizer.VOCAB_SIZE,
        dtype="float32",
    )


class StaticRegistry:
    """A registry with fixed contents. ``describe_calls`` records what was asked."""

    def __init__(self, descriptions: Iterable[Description]) -> None:
        self._descriptions = {each.model: each for each in descriptions}
        self.describe_calls: list[str] = []

    async def ready(self) -> None:
        """Always."""

    async def models(self) -> list[ModelInfo]:
        """One entry per description."""
        return [self._info(each) for each in self._descriptions.values()]

    async def model(self, ref: str) -> ModelInfo:
        """The entry called ``ref``."""
        return self._info(self._find(ref))

    async def describe(self, ref: str) -> Description:
        """The description called ``ref``."""
        self.describe_calls.append(ref)
        return self._find(ref)

    def _find(self, ref: str) -> Description:
        found = self._descriptions.get(ref) or self._descriptions.get(f"{ref}:main")
        if found is None:
            raise ModelNotFound(f"no model {ref!r}")
        return found

    @staticmethod
    def _info(found: Description) -> ModelInfo:
        name, _, ref = found.model.partition(":")
        return ModelInfo(
            id=found.model,
            name=name,
            ref=ref or "main",
            kind="branch",
            commit=found.commit,
            uuid="00000000-0000-4000-8000-000000000000",
            created=1_700_000_000,
            max_model_len=found.max_model_len,
            dtype=found.dtype,
        )


Script = str | Sequence[int] | HyprstreamError | Callable[[GenerateRequest], "str | Sequence[int] | HyprstreamError"]
"""What one request is answered with: text (as bytes), token ids, an error, or a function that decides."""


@dataclass
class ScriptedInference:
    """An engine that says what it is told. The scripts are used in turn, again and again.

    An answer is cut at the request's ``max_tokens`` ("length"); otherwise it ends with "stop". ``pieces`` is the
    number of tokens per chunk. ``gate``, when set, holds every chunk until it is released. A script that is an
    error raises it after ``tokens_before_error`` tokens.
    """

    scripts: Sequence[Script]
    pieces: int = 1
    cached_tokens: int = 0
    tokens_before_error: int = 0
    gate: asyncio.Semaphore | None = None
    requests: list[GenerateRequest] = field(default_factory=list)
    """Everything that was submitted."""
    closed: list[str] = field(default_factory=list)
    """Ids of requests that were closed before they had ended."""
    generated: int = 0
    """Tokens that were given out."""

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk, None]:
        """Answer by the next script."""
        script = self.scripts[len(self.requests) % len(self.scripts)]
        self.requests.append(request)
        ended = False
        try:
            async for chunk in self._chunks(request, script(request) if callable(script) else script):
                ended = chunk.finish_reason is not None
                yield chunk
        except HyprstreamError:
            ended = True
            raise
        finally:
            if not ended:
                self.closed.append(request.request_id)

    async def _chunks(
        self, request: GenerateRequest, script: str | Sequence[int] | HyprstreamError
    ) -> AsyncGenerator[TokenChunk, None]:
        error = None
        if isinstance(script, HyprstreamError):
            error, script = script, "." * self.tokens_before_error
        ids = tuple(script.encode() if isinstance(script, str) else script)[: request.params.max_tokens or None]
        reason = "length" if len(ids) == request.params.max_tokens else "stop"
        for start in range(0, len(ids), self.pieces):
            await self._pass()
            piece = ids[start : start + self.pieces]
            self.generated += len(piece)
            yield TokenChunk(piece, cached_tokens=self.cached_tokens)
        await self._pass()
        if error is not None:
            raise error
        yield TokenChunk((), reason, self.cached_tokens)

    async def _pass(self) -> None:
        if self.gate is not None:
            await self.gate.acquire()
        else:
            await asyncio.sleep(0)

    async def status(self) -> EngineStatus:
        """Counters of what was scripted."""
        return EngineStatus(
            ready=True,
            running=0,
            waiting=0,
            forward_passes=self.generated,
            generated_tokens=self.generated,
            prompt_tokens=sum(len(request.prompt_ids) for request in self.requests),
            cached_tokens=0,
            kv_blocks_total=0,
            kv_blocks_free=0,
            device="scripted",
            started=time.time(),
        )


_PLAIN_TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
_BYTE_LEVEL = {"add_prefix_space": False, "trim_offsets": False, "use_regex": False}
