"""What has to be done to a worktree of one commit so that it is one of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hyprstream_core.config import Limits
from hyprstream_core.repo.git.gitdir import GitDir
from hyprstream_core.repo.git.index import IndexEntry
from hyprstream_core.repo.git.tree import SUBMODULE, PlannedFile, plan, walk


@dataclass(frozen=True)
class Difference:
    """What two trees do not have in common."""

    before: Mapping[str, tuple[int, str]]
    """Mode and blob of every file and submodule of the old tree, by path."""
    after: Mapping[str, PlannedFile]
    """Every file and submodule of the new tree, by path."""

    def changed(self) -> list[PlannedFile]:
        """What the new tree has and the old one has not, or not so."""
        return [f for f in self.after.values() if self.before.get(f.path) != (f.mode, f.oid)]

    def files(self) -> list[PlannedFile]:
        """The files among :meth:`changed`."""
        return [f for f in self.changed() if f.mode != SUBMODULE]

    def delete(self) -> list[str]:
        """Files that the new tree has not as such."""
        return [p for p, (mode, _) in self.before.items() if mode != SUBMODULE and not self._is_file(p)]

    def drop(self) -> list[str]:
        """Submodules that the new tree has not."""
        return [p for p, (mode, _) in self.before.items() if mode == SUBMODULE and not self._is_submodule(p)]

    def folders(self) -> list[str]:
        """Submodules that the old tree has not."""
        return [f.path for f in self.changed() if f.mode == SUBMODULE and not self._was(f.path, SUBMODULE)]

    def arriving(self) -> list[str]:
        """Paths at which there must be nothing that is not known."""
        return [f.path for f in self.files() if f.path not in self.before or self._was(f.path, SUBMODULE)] + (
            self.folders()
        )

    def keeps(self, entry: IndexEntry) -> bool:
        """Whether the new tree has what ``entry`` says."""
        planned = self.after.get(entry.path)
        return planned is not None and (planned.mode, planned.oid) == (entry.mode, entry.oid)

    def _is_file(self, path: str) -> bool:
        return path in self.after and self.after[path].mode != SUBMODULE

    def _is_submodule(self, path: str) -> bool:
        return path in self.after and self.after[path].mode == SUBMODULE

    def _was(self, path: str, mode: int) -> bool:
        return path in self.before and self.before[path][0] == mode


def compare(git: GitDir, old: str, new: str, limits: Limits) -> Difference:
    """The difference between the trees of the commits ``old``, which is checked out, and ``new``.

    Raises:
        UnsafeTree: a rule is broken or a limit exceeded.
        BadObject: an object is missing or damaged.
    """
    before = {path: (e.mode, e.oid) for path, e in walk(git, git.tree_of(old), limits)}
    return Difference(before, {f.path: f for f in plan(git, git.tree_of(new), limits)})
