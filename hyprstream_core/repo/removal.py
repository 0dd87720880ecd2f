"""What removing a model, or one of its worktrees, would delete and free. Nothing is changed here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hyprstream_core.repo.branches import unpushed
from hyprstream_core.repo.files import worktrees
from hyprstream_core.repo.files.content import needed_content, read_pointer
from hyprstream_core.repo.files.status import changes
from hyprstream_core.repo.files.worktree_admin import admin_folder
from hyprstream_core.repo.git.gitdir import open_git
from hyprstream_core.repo.layout import pieces
from hyprstream_core.repo.records import Model, Worktree
from hyprstream_core.repo.workspace import Workspace


@dataclass(frozen=True)
class Removal:
    """A plan: what goes, and what nobody else has a copy of."""

    model: str
    branch: str | None
    """The branch whose worktree goes; None when all of the model does."""
    worktrees: list[str]
    """Branches whose files go."""
    unpushed: dict[str, int]
    """Branches that go with commits that no remote has, as far as was fetched, and how many those are."""
    changes: dict[str, list[str]]
    """Branch → files that are in no commit."""
    views: int
    """Read-only copies of commits that go."""
    freed_bytes: int
    kept_bytes: int
    """Bytes of the deleted files that stay on disk, because something else shares them."""


@dataclass
class _Storage:
    """Files that go, by the storage they stand for."""

    links: dict[tuple[int, int], int] = field(default_factory=dict)
    stats: dict[tuple[int, int], os.stat_result] = field(default_factory=dict)
    shared: dict[tuple[int, int], tuple[int, bool]] = field(default_factory=dict)

    def add(self, stat: os.stat_result, shared: int = 0, *, stays: bool = True) -> None:
        """One name of a file goes; ``shared`` of its bytes are blocks of another file, which ``stays`` or goes too."""
        key = (stat.st_dev, stat.st_ino)
        self.links[key] = self.links.get(key, 0) + 1
        self.stats[key] = stat
        self.shared[key] = min(shared, stat.st_size), stays

    def totals(self) -> tuple[int, int]:
        """(bytes freed, bytes that stay). Blocks that go with another file are counted there."""
        freed = kept = 0
        for key, stat in self.stats.items():
            if self.links[key] < stat.st_nlink:
                kept += stat.st_size
                continue
            shared, stays = self.shared[key]
            freed += stat.st_size - shared
            kept += shared if stays else 0
        return freed, kept


def plan_model(space: Workspace, model: Model, others: Iterable[Model]) -> Removal:
    """What removing ``model`` means; ``others`` are all other models of the store."""
    trees = model.worktrees()
    storage = _Storage()
    keep = needed_content(space, [other.git_dir for other in others])
    going = needed_content(space, [model.git_dir]) - keep
    for piece in pieces(model.path):
        _add_files(space, storage, piece, trees, going)
    for oid in going:
        path = space.layout.content(oid)
        if path.exists():
            storage.add(path.lstat())
    freed, kept = storage.totals()
    return Removal(
        model=model.name,
        branch=None,
        worktrees=[tree.branch for tree in trees],
        unpushed=unpushed(model),
        changes=_changes(space, trees),
        views=sum(1 for path in (model.path / "views").glob("*") if path.is_dir()),
        freed_bytes=freed,
        kept_bytes=kept,
    )


def plan_worktree(space: Workspace, tree: Worktree) -> Removal:
    """What removing one worktree means; its branch stays."""
    storage = _Storage()
    for path in (tree.path, admin_folder(tree.model.path, tree.branch)):
        _add_files(space, storage, path, [tree], set())
    freed, kept = storage.totals()
    return Removal(
        model=tree.model.name,
        branch=tree.branch,
        worktrees=[tree.branch],
        unpushed={},
        changes=_changes(space, [tree]),
        views=0,
        freed_bytes=freed,
        kept_bytes=kept,
    )


def _changes(space: Workspace, trees: Iterable[Worktree]) -> dict[str, list[str]]:
    found = {}
    for tree in trees:
        changed = changes(space, tree, worktrees.index_of(space, tree), ignored=True)
        if changed:
            found[tree.branch] = [change.path for change in changed]
    return found


def _add_files(space: Workspace, storage: _Storage, top: Path, trees: Iterable[Worktree], going: set[str]) -> None:
    """Count the files below ``top``; ``going`` are the large objects that are deleted as well."""
    by_path = {tree.path: tree for tree in trees}
    for file in _files(top):
        stat = file.lstat()
        tree = next((by_path[folder] for folder in file.parents if folder in by_path), None)
        if tree is None or stat.st_nlink > 1 or not (shared := _shared(space, tree, file)):
            storage.add(stat)
        else:
            storage.add(stat, shared, stays=_content_of(space, tree, file) not in going)


def _shared(space: Workspace, tree: Worktree, file: Path) -> int:
    """Bytes of a file of a worktree in blocks that it shares."""
    return 0 if file.is_symlink() else space.parts.materialiser(tree.driver).saved_bytes(file)


def _content_of(space: Workspace, tree: Worktree, file: Path) -> str | None:
    """The large object that a file of a worktree was made from."""
    entry = worktrees.index_of(space, tree).get(str(file.relative_to(tree.path)))
    if entry is None:
        return None
    with open_git(tree.model.git_dir) as git:
        match = read_pointer(git, entry.oid, space.parts)
    return match[1].oid if match else None


def _files(top: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(top):
        for name in (*names, *(f for f in folders if Path(folder, f).is_symlink())):
            yield Path(folder, name)
