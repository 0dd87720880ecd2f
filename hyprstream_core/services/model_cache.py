"""Models in memory: loaded on demand, each commit once, the least recently used idle one making room."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hyprstream_core.errors import Overloaded
from hyprstream_core.services.engine_loop import EngineLoop
from hyprstream_core.services.threads import in_daemon_thread
from hyprstream_core.telemetry import logger

if TYPE_CHECKING:
    from hyprstream_core.engine.loading import LoadedModel

log = logger(__name__)


@dataclass
class Slot:
    """One commit: loading, then loaded. ``num_users`` requests hold it."""

    loading: asyncio.Task[LoadedModel]
    num_users: int = 0


@dataclass
class ModelCache:
    """At most ``capacity`` models. ``load(model, commit)`` blocks and runs in a thread.

    ``on_unload`` sees a model just before it is freed (its counters would be lost otherwise).
    """

    load: Callable[[str, str], LoadedModel]
    loop: EngineLoop
    capacity: int
    on_unload: Callable[[LoadedModel], None]
    slots: OrderedDict[str, Slot] = field(default_factory=OrderedDict)

    @property
    def num_loading(self) -> int:
        """Loads in progress."""
        return sum(not slot.loading.done() for slot in self.slots.values())

    def loaded(self) -> dict[str, LoadedModel]:
        """Commit → model, the least recently used first."""
        return {c: s.loading.result() for c, s in self.slots.items() if s.loading.done() and _succeeded(s.loading)}

    @asynccontextmanager
    async def use(self, model: str, commit: str) -> AsyncIterator[LoadedModel]:
        """Hold ``commit`` in memory for the block, loading it first when needed.

        Raises:
            Overloaded: every loaded model is in use and there is no room for another.
            HyprstreamError: whatever loading it raises; the next request tries again.
        """
        while commit not in self.slots and len(self.slots) >= self.capacity:
            # A caller that goes away must not stop it half-way; and meanwhile another may begin to load this commit.
            idle = self._idle()
            await asyncio.shield(asyncio.create_task(self._unload(idle, self.slots.pop(idle))))
        if commit not in self.slots:
            self.slots[commit] = Slot(asyncio.create_task(self._load(model, commit)))
        slot = self.slots[commit]
        slot.num_users += 1
        self.slots.move_to_end(commit)
        try:
            yield await asyncio.shield(slot.loading)
        finally:
            slot.num_users -= 1

    async def _load(self, model: str, commit: str) -> LoadedModel:
        try:
            loaded = await in_daemon_thread(f"load {commit[:12]}", self.load, model, commit)
        except BaseException:
            self.slots.pop(commit, None)
            raise
        self.loop.add(commit, loaded.engine)
        return loaded

    def _idle(self) -> str:
        """The least recently used commit that nobody uses."""
        idle = next((c for c, s in self.slots.items() if s.num_users == 0 and s.loading.done()), None)
        if idle is None:
            raise Overloaded(
                f"all {self.capacity} loaded models are in use",
                remedy="try again later, or raise engine.max_cached_models",
                retry_after=5,
            )
        return idle

    async def _unload(self, commit: str, slot: Slot) -> None:
        if not _succeeded(slot.loading):
            return
        await asyncio.wrap_future(self.loop.remove(commit))
        self._free(slot.loading.result())
        log.info("model unloaded", commit=commit)

    def drop(self, commit: str) -> None:
        """Forget a model whose engine is driven no more, users or not: the next request loads it anew."""
        slot = self.slots.pop(commit, None)
        if slot is not None and _succeeded(slot.loading):
            self._free(slot.loading.result())
            log.warning("broken model unloaded", commit=commit)

    def _free(self, loaded: LoadedModel) -> None:
        self.on_unload(loaded)
        loaded.unload()

    async def close(self) -> None:
        """Give up loads in progress. Loaded models go with the process."""
        for slot in self.slots.values():
            slot.loading.cancel()
        await asyncio.gather(*(s.loading for s in self.slots.values()), return_exceptions=True)


def _succeeded(task: asyncio.Task[LoadedModel]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
