"""The inference service: tokens in, tokens out, for any commit of any model in the store."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hyprstream_core.config import Settings
from hyprstream_core.engine.loading import LoadedModel, load_model
from hyprstream_core.errors import HyprstreamError, InternalError, Unavailable
from hyprstream_core.interfaces.device import Backend
from hyprstream_core.interfaces.inference import EngineStatus, GenerateRequest, TokenChunk
from hyprstream_core.plugins import Plugins, load
from hyprstream_core.repo.store import Store
from hyprstream_core.rpc.contracts import INFERENCE
from hyprstream_core.services.composition import choose_backend, from_config
from hyprstream_core.services.description import read_model_files
from hyprstream_core.services.engine_loop import EngineLoop, Output
from hyprstream_core.services.model_cache import ModelCache
from hyprstream_core.services.store import open_store
from hyprstream_core.telemetry import Event, logger

log = logger(__name__)
T = TypeVar("T")


@dataclass
class Totals:
    """Counters of models that are no longer loaded, so that the process's own never go down."""

    forward_passes: int = 0
    generated_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    def add(self, model: LoadedModel) -> None:
        """Add a model's counters."""
        engine = model.engine
        self.forward_passes += engine.runner.num_forward_passes
        self.generated_tokens += engine.counters.generated_tokens
        self.prompt_tokens += engine.counters.prompt_tokens
        self.cached_tokens += engine.counters.cached_tokens


class InferenceService:
    """One device, one engine thread, all loaded models."""

    contract = INFERENCE

    def __init__(self, store: Store, plugins: Plugins, settings: Settings) -> None:
        self._store, self._plugins, self._settings = store, plugins, settings
        self._backend: Backend | None = None
        self._streams: dict[str, asyncio.Queue[TokenChunk | HyprstreamError]] = {}
        self._asyncio: asyncio.AbstractEventLoop | None = None
        self._numbers = itertools.count()
        self._engine_loop = EngineLoop(self._deliver, self._dropped)
        self._retired = Totals()
        self._models = ModelCache(
            self._load, self._engine_loop, settings.engine.max_cached_models, on_unload=self._retired.add
        )
        self._started = time.time()

    @classmethod
    def create(cls, config: Mapping[str, Any]) -> InferenceService:
        """From :func:`~hyprstream_core.hosting.service_config`'s data."""
        settings, plugins = from_config(config)
        return cls(open_store(settings, plugins), plugins, settings)

    async def start(self) -> None:
        """Open the device and start the engine thread.

        Raises:
            PluginMissing, PluginError: the configured device is not there.
        """
        self._asyncio = asyncio.get_running_loop()
        self._backend = choose_backend(self._plugins, self._settings.engine)
        self._engine_loop.start()

    async def stop(self) -> None:
        """End the engine thread; live requests end as cancelled."""
        await self._models.close()
        await asyncio.to_thread(self._engine_loop.stop)
        for stream in self._streams.values():
            stream.put_nowait(TokenChunk((), "cancelled"))

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Stream an answer's tokens; closing the iterator cancels the request.

        Raises:
            InvalidRequest, ContextLengthExceeded, Overloaded: the engine refuses it.
            ModelNotFound, WeightsError, UnsupportedModel, PluginMissing: its model cannot be loaded.
        """
        if not self._engine_loop.is_alive:
            raise Unavailable("the engine is not running", remedy="restart the server")
        # Not the caller's id: chunks of a cancelled request must never reach the next one of that name.
        key = str(next(self._numbers))
        stream = self._streams[key] = asyncio.Queue()
        began, num_tokens, outcome = time.monotonic(), 0, "cancelled"
        try:
            async with self._models.use(request.model, request.commit):
                self._engine_loop.submit(request.commit, replace(request, request_id=key))
                ended = False
                try:
                    while not ended:
                        chunk = await stream.get()
                        if isinstance(chunk, HyprstreamError):
                            ended = True
                            raise chunk
                        num_tokens += len(chunk.token_ids)
                        if chunk.finish_reason is not None:
                            ended, outcome = True, chunk.finish_reason
                        yield chunk
                finally:
                    if not ended:
                        self._engine_loop.cancel(key)
        except Exception as error:
            outcome = error.error_code if isinstance(error, HyprstreamError) else InternalError.code
            raise
        finally:
            del self._streams[key]
            self._observe(request, num_tokens, time.monotonic() - began, outcome)

    async def status(self) -> EngineStatus:
        """Current counters."""
        loaded = self._models.loaded()
        totals = Totals(**vars(self._retired))
        for model in loaded.values():
            totals.add(model)
        engines = [model.engine for model in loaded.values()]
        return EngineStatus(
            ready=self._engine_loop.is_alive and (bool(loaded) or not self._models.num_loading),
            running=sum(len(e.scheduler.running) for e in engines),
            waiting=sum(len(e.scheduler.waiting) for e in engines),
            kv_blocks_total=sum(e.pool.num_blocks for e in engines),
            kv_blocks_free=sum(e.pool.num_free for e in engines),
            loaded=tuple(loaded),
            device=self._backend.name if self._backend else "",
            started=self._started,
            **vars(totals),
        )

    def _load(self, model: str, commit: str) -> LoadedModel:
        """Load a commit. Runs in a thread of its own, beside the engine's."""
        began = time.monotonic()
        # By its id alone: a branch that somebody named like this commit must not stand in its way.
        directory = self._store.snapshot(self._store.commit(model, commit))
        limits = self._settings.limits
        files = read_model_files(directory, limits)
        record = self._plugins.architecture_for(files.architectures, files.model_type)
        if self._backend is None:
            raise RuntimeError("the inference service was not started")
        loaded = load_model(directory, load(record.load), self._backend, self._settings.engine, limits)
        seconds = round(time.monotonic() - began, 3)
        facts = {"model": model, "commit": commit, "weight_bytes": loaded.num_bytes, "seconds": seconds}
        log.info("model loaded", dtype=loaded.dtype, **facts)
        self._plugins.observe(Event("model.loaded", facts))
        return loaded

    def _deliver(self, outputs: list[Output]) -> None:
        """Hand a step's outputs to the event loop (called on the engine thread)."""
        self._hand_over(self._dispatch, outputs)

    def _dropped(self, commit: str) -> None:
        """An engine broke (called on the engine thread)."""
        self._hand_over(self._models.drop, commit)

    def _hand_over(self, function: Callable[[T], None], argument: T) -> None:
        if self._asyncio is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._asyncio.call_soon_threadsafe(function, argument)

    def _dispatch(self, outputs: list[Output]) -> None:
        for key, chunk in outputs:
            if stream := self._streams.get(key):
                stream.put_nowait(chunk)

    def _observe(self, request: GenerateRequest, num_tokens: int, seconds: float, outcome: str) -> None:
        """``outcome`` is the finish reason ("stop", "length", "cancelled"), or the code of the error it ended in."""
        fields = {
            "model": request.model,
            "commit": request.commit,
            "prompt_tokens": len(request.prompt_ids),
            "generated_tokens": num_tokens,
            "seconds": round(seconds, 4),
            "outcome": outcome,
        }
        log.info("request done", request_id=request.request_id, **fields)
        self._plugins.observe(Event("request.finished", {"request_id": request.request_id, **fields}))
