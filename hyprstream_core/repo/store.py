"""The store: the face that commands and services talk to."""

from __future__ import annotations

from pathlib import Path

from hyprstream_core.config import Limits
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo.model import Model, Resolved, Worktree, WorktreeInfo
from hyprstream_core.repo.parts import Parts


class Store:
    """All models below one folder. Safe to use from several processes at once; holds no open files."""

    def __init__(
        self,
        root: Path,
        parts: Parts,
        *,
        limits: Limits | None = None,
        timeout: float = 60.0,
        driver: str = "auto",
        lock_timeout: float = 30.0,
    ) -> None:
        """``driver`` names how worktrees are filled; ``timeout`` is seconds without a byte from a remote,
        ``lock_timeout`` seconds to wait for another writer."""

    def clone(
        self, url: str, name: str | None = None, branch: str | None = None, progress: Progress | None = None
    ) -> Model:
        """Fetch ``url``'s repository with all branches and tags, and check out ``branch`` (the remote's default).

        Nothing is listed before everything is there and verified; a clone that fails leaves nothing.

        Raises:
            RefError: the name is not allowed, or the branch does not exist.
            Conflict: a model of that name exists.
            UnsafeTree: a tree would write where it must not, or is too large.
            BadObject: content does not match its id or size.
            RemoteError: the URL cannot be used, or the remote failed.
            DiskFull: there is not enough space.
        """
        raise NotImplementedError

    def models(self) -> list[Worktree]:
        """One entry per branch worktree of every model, ordered by name and branch."""
        raise NotImplementedError

    def registered(self) -> list[Model]:
        """Every model, with or without worktrees, ordered by name."""
        raise NotImplementedError

    def model(self, name: str) -> Model:
        """The model called ``name``, looked up without regard to case.

        Raises:
            RefError: ``name`` cannot name a model.
            ModelNotFound: there is none.
        """
        raise NotImplementedError

    def resolve(self, reference: str) -> Resolved:
        """The one commit that ``name[:ref]`` stands for.

        Raises:
            RefError: bad syntax, or several candidates (code ``ref.ambiguous``, ``details["candidates"]``).
            ModelNotFound: no such model, branch, tag or commit.
        """
        raise NotImplementedError

    def snapshot(self, resolved: Resolved, progress: Progress | None = None) -> Path:
        """A folder with the read-only files of exactly ``resolved.commit``; made once, shared by everybody.

        Large files that are not in the store yet are fetched from the model's remote.

        Raises:
            UnsafeTree, BadObject, RemoteError, DiskFull: as for :meth:`clone`.
        """
        raise NotImplementedError

    def add_worktree(self, name: str, branch: str, progress: Progress | None = None) -> Worktree:
        """Check out another branch; a branch that only the remote has becomes a local one.

        Raises:
            ModelNotFound: no such model or branch.
            Conflict: it is already checked out.
        """
        raise NotImplementedError

    def worktree_info(self, name: str, branch: str) -> WorktreeInfo:
        """The worktree of ``branch``, measured.

        Raises:
            ModelNotFound: no such model, or the branch is not checked out.
        """
        raise NotImplementedError

    def remove(self, name: str, *, force: bool = False) -> None:
        """Delete a model with everything of it, and the large files that no other model uses.

        Raises:
            ModelNotFound: there is none.
            Conflict: a worktree has uncommitted changes (code ``repo.dirty``), unless ``force``.
        """
        raise NotImplementedError

    def remove_worktree(self, name: str, branch: str, *, force: bool = False) -> None:
        """Delete the files of one branch; the branch itself stays.

        Raises:
            ModelNotFound: no such model, or the branch is not checked out.
            Conflict: it has uncommitted changes (code ``repo.dirty``), unless ``force``.
        """
        raise NotImplementedError
