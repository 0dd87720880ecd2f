"""What every operation of a store needs to know. Made once by the store, passed around."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hyprstream_core.config import Limits
from hyprstream_core.errors import ModelNotFound
from hyprstream_core.repo import journal
from hyprstream_core.repo.disk import locks
from hyprstream_core.repo.disk.durable import disk_errors_named, make_private
from hyprstream_core.repo.git.reference_store import References
from hyprstream_core.repo.layout import Layout, git_dir
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.records import Model
from hyprstream_core.repo.staging import declare_change, staging_folder


@contextmanager
def interrupts_first() -> Iterator[None]:
    """When an interrupt came in the block, raise that, whatever else failed while it was unwound (such as closing
    a mapped file that the interrupted code still looked into)."""
    before = sys.exception()
    try:
        yield
    except Exception as error:
        cause = error.__context__
        while cause is not None and cause is not before:
            if not isinstance(cause, Exception):
                raise cause from None
            cause = cause.__context__
        raise


@dataclass(frozen=True)
class Workspace:
    """One store's places, parts and limits."""

    layout: Layout
    parts: Parts
    driver: str
    lock_timeout: float

    @property
    def limits(self) -> Limits:
        """Maxima for everything that comes from outside."""
        return self.parts.access.limits

    @property
    def timeout(self) -> float:
        """Seconds that a remote may stay silent."""
        return self.parts.access.timeout

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """A private folder for unfinished work; a disk that is full or denied is reported as such, an interrupt
        as an interrupt. The first one makes the store's folder."""
        with interrupts_first(), disk_errors_named(self.layout.root):
            make_private(self.layout.root)
            with staging_folder(self.layout.staging) as folder:
                yield folder

    @contextmanager
    def model_lock(self, name: str) -> Iterator[None]:
        """Nobody else changes the model ``name`` inside the block, and what others left unfinished is finished.
        Never held across the network."""
        with locks.hold(self.layout.lock(f"model-{name}"), f"model {name!r}", self.lock_timeout):
            journal.settle(self.layout, name, self.lock_timeout)
            yield

    @contextmanager
    def changing(self, model: Model, stage: Path) -> Iterator[References]:
        """:meth:`model_lock` of a model that exists; its references, with the caller's ``stage`` to work in.

        Raises:
            Conflict: somebody else holds the model for too long.
            ModelNotFound: it was removed meanwhile.
        """
        with self.model_lock(model.name):
            if not model.git_dir.is_dir():
                raise ModelNotFound(f"model {model.name!r} was removed meanwhile", param="model")
            declare_change(stage, model.name)
            yield References(model.git_dir, stage, self.lock_timeout)

    def finish(self, name: str, stage: Path) -> None:
        """Finish what a command that died was doing to the model ``name``, with git's locks that it had; ``stage`` is
        its folder.

        Raises:
            Conflict: somebody holds the model for too long.
        """
        with self.model_lock(name):
            if (path := git_dir(self.layout.model(name))).is_dir():
                References(path, stage, self.lock_timeout)

    def settle(self) -> None:
        """Finish what commands that died had decided, so that no model is seen half-changed; wait for those that
        are at it now.

        Raises:
            Conflict: somebody holds the model for too long.
        """
        for _, name in journal.pending(self.layout):
            with self.model_lock(name):
                pass

    @contextmanager
    def content_in_use(self) -> Iterator[None]:
        """Large objects that nothing refers to yet are not collected inside the block."""
        with locks.hold(self.layout.lock("content"), "the object store", self.lock_timeout, shared=True):
            yield
