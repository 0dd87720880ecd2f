"""The registry service: which models there are, and what the front needs to speak for one. No torch."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hyprstream_core.config import Settings
from hyprstream_core.errors import HyprstreamError, InvalidRequest, ModelNotFound
from hyprstream_core.excerpts import one_line
from hyprstream_core.interfaces.inference import Description, ModelInfo
from hyprstream_core.plugins import Plugins
from hyprstream_core.repo.git.reference_store import HEADS, bare_name
from hyprstream_core.repo.records import Model, Resolved, Worktree, WorktreeInfo
from hyprstream_core.repo.store import Store
from hyprstream_core.rpc.codec import encode
from hyprstream_core.rpc.contracts import MODEL, REGISTRY
from hyprstream_core.services.composition import from_config
from hyprstream_core.services.description import ModelFiles, read_model_files
from hyprstream_core.services.snapshots import Snapshots
from hyprstream_core.services.store import open_store
from hyprstream_core.telemetry import logger

CACHED_COMMITS = 1024
THREADS = 8
MEASURED_SECONDS = 60.0
LIST_SECONDS = 10.0
"""How long the list of models waits for a commit to be checked out before it says that it is not yet."""
STATUS_CHARS = 500
NO_COMMIT = "0" * 40
"""Git's name for no object: stands for the commit of a model whose branches cannot be read."""
K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
log = logger(__name__)


class RegistryService:
    """Answers from the model store. Blocking work runs in threads; check-outs, which may take minutes, in others."""

    contract = REGISTRY

    def __init__(self, store: Store, plugins: Plugins, settings: Settings) -> None:
        self._store, self._plugins, self._settings = store, plugins, settings
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")
        self._snapshots = Snapshots(lambda resolved: self._store.snapshot(resolved), self._in_pool)
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
        self._snapshots.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def ready(self) -> None:
        """Read the list of models, and nothing of the models."""
        await asyncio.to_thread(self._store.registered)

    async def models(self) -> list[ModelInfo]:
        """One entry per branch worktree. What is wrong with one model is its own ``status``, and nobody else's."""
        models = await self._in_pool(self._store.registered)
        found = await asyncio.gather(*(self._entries(model) for model in models))
        return [info for entries in found for info in entries]

    async def model(self, ref: str) -> ModelInfo:
        """Any reference; a bare name is its default branch."""
        resolved, worktree = await self._in_pool(self._resolve, ref)
        if worktree is not None:
            return await self._branch_info(worktree)
        return await self._info(resolved, await self._facts_of(resolved))

    async def describe(self, ref: str) -> Description:
        """Resolve ``ref`` and say what the front needs."""
        resolved = await self._in_pool(self._store.resolve, ref)
        key = (resolved.model.name, resolved.commit)
        if (known := self._descriptions.get(key)) is None or not Path(known.directory).is_dir():
            directory = await self._snapshots.get(resolved)
            read = await self._in_pool(self._read_description, resolved, directory)
            known = _remember(self._descriptions, key, read)
        return known

    async def _in_pool(self, function: Callable[..., T], *arguments: object) -> T:
        """Run in our own threads: whoever waits for the default ones must not keep the API waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _entries(self, model: Model) -> list[ModelInfo]:
        """The entries of one model: none when it has gone meanwhile, one that says why when it cannot be read."""
        try:
            worktrees = await self._in_pool(model.worktrees)
        except Exception as error:
            return await self._unreadable(model, model.default_branch, NO_COMMIT, error)
        found = await asyncio.gather(*(self._entry(worktree) for worktree in worktrees))
        return [info for entry in found for info in entry]

    async def _entry(self, worktree: Worktree) -> list[ModelInfo]:
        try:
            return [await self._branch_info(worktree, LIST_SECONDS)]
        except Exception as error:
            return await self._unreadable(worktree.model, worktree.branch, worktree.oid, error)

    async def _unreadable(self, model: Model, branch: str, commit: str, error: Exception) -> list[ModelInfo]:
        """What is listed of a branch that cannot be read: nothing when it, or its model, has just been removed."""
        if not await self._in_pool(self._exists, model, branch):
            return []
        defect = None if isinstance(error, HyprstreamError | OSError) else error
        log.warning("a model cannot be listed", model=model.name, branch=branch, error=str(error), exc_info=defect)
        info = ModelInfo(
            f"{model.name}:{branch}", model.name, branch, "branch", commit, model.uuid, 0,
            root=model.name, status=_status(error),
        )  # fmt: skip
        return [info] if self._can_send(info) else []

    def _exists(self, model: Model, branch: str) -> bool:
        if model.uuid not in {m.uuid for m in self._store.registered()}:
            return False
        try:
            return any(w.branch == branch for w in model.worktrees())
        except Exception:  # it is there, and cannot be read
            return True

    def _resolve(self, ref: str) -> tuple[Resolved, Worktree | None]:
        """The commit, and the worktree when ``ref`` is a branch that has one."""
        resolved = self._store.resolve(ref)
        short = _short(resolved)
        trees = resolved.model.worktrees() if resolved.kind == "branch" else []
        return resolved, next((replace(w, oid=resolved.commit) for w in trees if w.branch == short), None)

    async def _branch_info(self, worktree: Worktree, patience: float | None = None) -> ModelInfo:
        resolved = Resolved(worktree.model, HEADS + worktree.branch, "branch", worktree.oid)
        measured = await self._in_pool(self._measured, worktree)
        info = await self._info(resolved, await self._facts_of(resolved, patience))
        return replace(
            info,
            driver=worktree.driver,
            saved_bytes=measured.saved_bytes if measured else 0,
            worktree_created=int(worktree.created_at),
        )

    def _measured(self, worktree: Worktree) -> WorktreeInfo | None:
        """Sizes of a worktree, measured again when its commit moves and every :data:`MEASURED_SECONDS`. None when its
        files, or those that it may share with another, cannot be read: it is served from a view all the same.

        Raises:
            ModelNotFound: it has just been removed.
        """
        key, now = (worktree.model.uuid, worktree.branch, worktree.oid), time.monotonic()
        known = self._sizes.get(key)
        if known is None or now - known[0] > MEASURED_SECONDS:
            try:
                found = self._store.worktree_info(worktree.model.name, worktree.branch)
            except ModelNotFound:
                raise
            except Exception as error:
                log.warning("a worktree cannot be measured", worktree=worktree.id, error=str(error), exc_info=True)
                return None
            known = _remember(self._sizes, key, (now, found))
        return known[1]

    async def _info(self, resolved: Resolved, facts: Mapping[str, Any]) -> ModelInfo:
        model, short = resolved.model, _short(resolved)
        created = await self._in_pool(model.commit_time, resolved.commit)
        info = ModelInfo(
            id=f"{model.name}:{short}",
            name=model.name,
            ref=short,
            kind="branch" if resolved.kind == "remote" else resolved.kind,
            commit=resolved.commit,
            uuid=model.uuid,
            created=created,
            root=model.name,
        )
        whole = replace(info, **facts)
        return whole if self._can_send(whole) else replace(info, status="its files hold values that cannot be sent")

    def _can_send(self, info: ModelInfo) -> bool:
        """Whether a reply can hold it: one entry that cannot be encoded would make the whole list impossible."""
        try:
            encode(info, MODEL.schema, self._settings.limits)
        except InvalidRequest:
            return False
        return True

    async def _facts_of(self, resolved: Resolved, patience: float | None = None) -> dict[str, Any]:
        """What the commit's files say, remembered: a commit does not change. ``patience`` are seconds to wait for
        its check-out, None as long as it takes."""
        if (facts := self._facts.get(resolved.commit)) is None:
            try:
                async with asyncio.timeout(patience):
                    directory = await self._snapshots.get(resolved)
            except TimeoutError:
                return {"status": "its files are still being checked out"}
            except HyprstreamError as error:
                return {"status": _status(error)}
            facts = await self._in_pool(self._read_facts, directory)
            if "status" not in facts:
                _remember(self._facts, resolved.commit, facts)
        return facts

    def _read_facts(self, directory: Path) -> dict[str, Any]:
        """Fields of :class:`ModelInfo`, as far as they can be read; ``status`` when that is not all."""
        facts: dict[str, Any] = {}
        try:
            files = read_model_files(directory, self._settings.limits)
            facts["dtype"], facts["architecture"] = files.dtype, ", ".join(files.architectures)
            facts["max_model_len"] = self._max_len(files)
            facts["num_parameters"] = files.index().num_parameters
            self._plugins.architecture_for(files.architectures, files.model_type)
        except HyprstreamError as error:
            facts["status"] = _status(error)
        return facts

    def _read_description(self, resolved: Resolved, directory: Path) -> Description:
        files = read_model_files(directory, self._settings.limits)
        self._plugins.architecture_for(files.architectures, files.model_type)
        return Description(
            model=resolved.model.name,
            commit=resolved.commit,
            directory=str(directory),
            template=files.template(),
            generation_config=files.sampling_defaults(),
            eos_token_ids=files.eos_token_ids(),
            max_model_len=self._max_len(files),
            vocab_size=files.vocab_size,
            dtype=self._settings.engine.dtype_of(files.dtype),
        )

    def _max_len(self, files: ModelFiles) -> int:
        return self._settings.engine.context_of(files.max_positions)


def _status(error: Exception) -> str:
    return one_line(str(error), STATUS_CHARS) or type(error).__name__


def _short(resolved: Resolved) -> str:
    """The reference as clients name it: ``main``, ``v1``, a full commit id."""
    return resolved.commit if resolved.ref is None else bare_name(resolved.ref)


def _remember(cache: OrderedDict[K, V], key: K, value: V) -> V:
    """Store, dropping the oldest beyond :data:`CACHED_COMMITS`."""
    cache[key] = value
    while len(cache) > CACHED_COMMITS:
        cache.popitem(last=False)
    return value
