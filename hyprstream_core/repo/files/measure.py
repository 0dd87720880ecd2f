"""What the files of a worktree really take on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hyprstream_core.errors import BadObject, HyprstreamError
from hyprstream_core.repo.files import worktrees
from hyprstream_core.repo.git.index import IndexEntry
from hyprstream_core.repo.records import Model, Worktree, WorktreeInfo
from hyprstream_core.repo.workspace import Workspace


def files_of(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file of a worktree, with its path and state; git's own, and what goes meanwhile, is left out."""
    for folder, folders, names in os.walk(path):
        for name in [*names, *(f for f in folders if Path(folder, f).is_symlink())]:
            file = Path(folder, name)
            relative = str(file.relative_to(path))
            if relative != ".git":
                with suppress(FileNotFoundError):
                    yield relative, file.lstat()


@dataclass(frozen=True)
class Measured:
    """A line of a list: a worktree with its size, a model without worktrees, or ``problem``: what is wrong."""

    model: Model
    worktree: Worktree | None = None
    info: WorktreeInfo | None = None
    problem: str | None = None


def measured(space: Workspace, models: Iterable[Model]) -> Iterator[Measured]:
    """See :meth:`hyprstream_core.repo.store.Store.measured`."""
    found: list[tuple[Model, list[Worktree] | HyprstreamError]] = [(model, _worktrees(model)) for model in models]
    measure = Measure(space, [tree for _, trees in found if isinstance(trees, list) for tree in trees])
    for model, trees in found:
        if isinstance(trees, HyprstreamError):
            yield Measured(model, problem=str(trees))
        elif not trees:
            yield Measured(model)
        else:
            yield from (_line(measure, tree) for tree in trees)


def _worktrees(model: Model) -> list[Worktree] | HyprstreamError:
    try:
        return model.worktrees()
    except HyprstreamError as error:
        return error


def _line(measure: Measure, tree: Worktree) -> Measured:
    try:
        return Measured(tree.model, tree, measure.measure(tree))
    except HyprstreamError as error:
        return Measured(tree.model, tree, problem=str(error))


class Measure:
    """Measures worktrees of one store. Of the storage that a large file shares, its first user saves nothing, so
    that older worktrees are looked into, but only for content that a measured one shares; each is read once.
    """

    def __init__(self, space: Workspace, everything: Iterable[Worktree]) -> None:
        """``everything``: all worktrees of the store."""
        self._space = space
        self._by_age = sorted(everything, key=lambda w: (w.created_at, w.id))
        self._indexes: dict[Path, dict[str, IndexEntry]] = {}
        self._holdings: dict[Path, dict[str, list[IndexEntry]]] = {}

    def measure(self, worktree: Worktree) -> WorktreeInfo:
        """Measure one worktree.

        Raises:
            BadObject: its index is damaged.
            ConfigError: the driver that filled it is not installed.
        """
        driver = self._space.parts.materialiser(worktree.driver)
        index = self._index(worktree)
        apparent, shared = 0, dict[str, int]()
        for path, stat in files_of(worktree.path):
            apparent += stat.st_size
            if (entry := index.get(path)) is not None:
                saved = min(driver.saved_bytes(worktree.path / path), stat.st_size)
                if saved:
                    shared[entry.oid] = shared.get(entry.oid, 0) + saved
        used = self._used_before(worktree, set(shared))
        saved = sum(shared[oid] for oid in used)
        return WorktreeInfo(
            path=worktree.path,
            branch=worktree.branch,
            oid=worktree.oid,
            driver=worktree.driver,
            created_at=worktree.created_at,
            apparent_bytes=apparent,
            own_bytes=apparent - saved,
            saved_bytes=saved,
        )

    def _used_before(self, worktree: Worktree, oids: set[str]) -> set[str]:
        """Those of ``oids`` that an older worktree still has a file of."""
        found: set[str] = set()
        for other in self._by_age:
            if not oids or other.created_at >= worktree.created_at:
                break
            holding = self._holding(other)
            used = {oid for oid in oids if any(_unchanged(other, entry) for entry in holding.get(oid, ()))}
            found |= used
            oids = oids - used
        return found

    def _index(self, worktree: Worktree) -> dict[str, IndexEntry]:
        if worktree.path not in self._indexes:
            self._indexes[worktree.path] = worktrees.index_of(self._space, worktree)
        return self._indexes[worktree.path]

    def _holding(self, worktree: Worktree) -> dict[str, list[IndexEntry]]:
        """Blob → the files of a worktree that are it."""
        if worktree.path not in self._holdings:
            holding = self._holdings.setdefault(worktree.path, {})
            with suppress(BadObject):  # of what is damaged nobody knows what it shares
                for entry in self._index(worktree).values():
                    holding.setdefault(entry.oid, []).append(entry)
        return self._holdings[worktree.path]


def _unchanged(worktree: Worktree, entry: IndexEntry) -> bool:
    try:
        return entry.matches((worktree.path / entry.path).lstat())
    except OSError:
        return False
