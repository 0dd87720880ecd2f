"""The registry service: which models there are, and what the front needs to speak for one. No torch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hyprstream_core.config import Settings
from hyprstream_core.errors import HyprstreamError
from hyprstream_core.interfaces.inference import Description, ModelInfo
from hyprstream_core.plugins import Plugins
from hyprstream_core.repo.records import Model, Resolved, WorktreeInfo
from hyprstream_core.repo.reference_store import HEADS, bare_name
from hyprstream_core.repo.store import Store
from hyprstream_core.rpc.contracts import REGISTRY
from hyprstream_core.services.composition import from_config, one_line
from hyprstream_core.services.description import ModelFiles, read_model_files
from hyprstream_core.services.store import open_store

CACHED_COMMITS = 1024
THREADS = 8
MEASURED_SECONDS = 60.0
K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class RegistryService:
    """Answers from the model store. Blocking work runs in threads."""

    contract = REGISTRY

    def __init__(self, store: Store, plugins: Plugins, settings: Settings) -> None:
        self._store, self._plugins, self._settings = store, plugins, settings
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")
        self._making: OrderedDict[str, threading.Lock] = OrderedDict()
        self._facts: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._sizes: OrderedDict[tuple[str, str, str], tuple[float, WorktreeInfo]] = OrderedDict()
        self._descriptions: OrderedDict[tuple[str, str], Description] = OrderedDict()

    @classmethod
    def create(cls, config: Mapping[str, Any]) -> RegistryService:
        """From :func:`~hyprstream_core.hosting.service_config`'s data."""
        settings, plugins = from_config(config)
        return cls(open_store(settings, plugins), plugins, settings)

    async def start(self) -> None:
        """Nothing to open: the store holds no files."""

    async def stop(self) -> None:
        """Give up what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def ready(self) -> None:
        """Read the list of models, and nothing of the models."""
        await asyncio.to_thread(self._store.registered)

    async def models(self) -> list[ModelInfo]:
        """One entry per branch worktree."""
        return await self._in_pool(self._models)

    async def model(self, ref: str) -> ModelInfo:
        """Any reference; a bare name is its default branch."""
        return await self._in_pool(self._model, ref)

    async def describe(self, ref: str) -> Description:
        """Resolve ``ref`` and say what the front needs."""
        return await self._in_pool(self._describe, ref)

    async def _in_pool(self, function: Callable[..., T], *arguments: object) -> T:
        """Run in our own threads: a check-out that takes minutes must not keep :meth:`ready` waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _models(self) -> list[ModelInfo]:
        return [self._branch_info(w.model, w.branch, w.oid) for w in self._store.models()]

    def _model(self, ref: str) -> ModelInfo:
        resolved = self._store.resolve(ref)
        short = _short(resolved)
        if resolved.kind == "branch" and any(w.branch == short for w in resolved.model.worktrees()):
            return self._branch_info(resolved.model, short, resolved.commit)
        return self._info(resolved)

    def _branch_info(self, model: Model, branch: str, commit: str) -> ModelInfo:
        measured = self._measured(model, branch, commit)
        info = self._info(Resolved(model, HEADS + branch, "branch", commit))
        return replace(
            info,
            driver=measured.driver,
            saved_bytes=measured.saved_bytes,
            worktree_created=int(measured.created_at),
        )

    def _measured(self, model: Model, branch: str, commit: str) -> WorktreeInfo:
        """Sizes of a worktree, measured again when its commit moves and every :data:`MEASURED_SECONDS`."""
        key, now = (model.uuid, branch, commit), time.monotonic()
        known = self._sizes.get(key)
        if known is None or now - known[0] > MEASURED_SECONDS:
            known = _remember(self._sizes, key, (now, self._store.worktree_info(model.name, branch)))
        return known[1]

    def _snapshot(self, resolved: Resolved) -> Path:
        """The commit's files. However many ask at once, they are checked out once."""
        lock = self._making.get(resolved.commit) or _remember(self._making, resolved.commit, threading.Lock())
        with lock:
            return self._store.snapshot(resolved)

    def _info(self, resolved: Resolved) -> ModelInfo:
        model, short = resolved.model, _short(resolved)
        facts = self._facts_of(resolved)
        return ModelInfo(
            id=f"{model.name}:{short}",
            name=model.name,
            ref=short,
            kind="branch" if resolved.kind == "remote" else resolved.kind,
            commit=resolved.commit,
            uuid=model.uuid,
            created=model.commit_time(resolved.commit),
            root=model.name,
            **facts,
        )

    def _facts_of(self, resolved: Resolved) -> dict[str, Any]:
        """What the commit's files say, remembered: a commit does not change."""
        if (facts := self._facts.get(resolved.commit)) is None:
            facts = self._read_facts(resolved)
            if facts["status"] == "":
                _remember(self._facts, resolved.commit, facts)
        return facts

    def _read_facts(self, resolved: Resolved) -> dict[str, Any]:
        facts: dict[str, Any] = {"max_model_len": 0, "dtype": "", "num_parameters": 0, "architecture": "", "status": ""}
        try:
            files = read_model_files(self._snapshot(resolved), self._settings.limits)
            facts["dtype"], facts["architecture"] = files.dtype, ", ".join(files.architectures)
            facts["max_model_len"] = self._max_len(files)
            facts["num_parameters"] = files.index().num_parameters
            self._plugins.architecture_for(files.architectures)
        except HyprstreamError as error:
            facts["status"] = one_line(error)
        return facts

    def _describe(self, ref: str) -> Description:
        resolved = self._store.resolve(ref)
        key = (resolved.model.name, resolved.commit)
        if (known := self._descriptions.get(key)) is None or not Path(known.directory).is_dir():
            known = _remember(self._descriptions, key, self._read_description(resolved))
        return known

    def _read_description(self, resolved: Resolved) -> Description:
        directory = self._snapshot(resolved)
        files = read_model_files(directory, self._settings.limits)
        self._plugins.architecture_for(files.architectures)
        return Description(
            model=resolved.model.name,
            commit=resolved.commit,
            directory=str(directory),
            template=files.template(),
            special_tokens=files.special_tokens(),
            generation_config=files.sampling_defaults(),
            eos_token_ids=files.eos_token_ids(),
            max_model_len=self._max_len(files),
            vocab_size=files.count("vocab_size"),
            dtype=files.dtype if self._settings.engine.dtype == "auto" else self._settings.engine.dtype,
        )

    def _max_len(self, files: ModelFiles) -> int:
        limit = files.count("max_position_embeddings")
        return min(limit, self._settings.engine.max_context or limit)


def _short(resolved: Resolved) -> str:
    """The reference as clients name it: ``main``, ``v1``, a full commit id."""
    return resolved.commit if resolved.ref is None else bare_name(resolved.ref)


def _remember(cache: OrderedDict[K, V], key: K, value: V) -> V:
    """Store, dropping the oldest beyond :data:`CACHED_COMMITS`."""
    cache[key] = value
    while len(cache) > CACHED_COMMITS:
        cache.popitem(last=False)
    return value
