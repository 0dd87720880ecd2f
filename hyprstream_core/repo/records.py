"""What the store answers with: models, worktrees, resolved references. Plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["branch", "remote", "tag", "commit"]
"""What a reference turned out to be; "remote" is a branch of the remote that has no local branch."""


@dataclass(frozen=True)
class Model:
    """One registered model. Times are Unix seconds."""

    name: str
    uuid: str
    url: str
    """Where it was cloned from, without credentials."""
    default_branch: str
    """The branch that the remote's HEAD named when it was cloned."""
    created_at: float
    path: Path
    """The model's folder in the store."""

    @property
    def git_dir(self) -> Path:
        """The bare repository."""
        return self.path / f"{self.path.name}.git"

    def worktrees(self) -> list[Worktree]:
        """Its worktrees, ordered by branch."""
        from hyprstream_core.repo.files.worktrees import list_worktrees

        return list_worktrees(self)

    def branches(self) -> dict[str, str]:
        """Every branch, of the remote too, with its commit."""
        from hyprstream_core.repo.resolve import branches

        return branches(self.git_dir)

    def commit_time(self, commit: str) -> int:
        """When ``commit`` was made, in Unix seconds."""
        from hyprstream_core.repo.git.commits import commit_time

        return commit_time(self.git_dir, commit)

    def tags(self) -> dict[str, str]:
        """Every tag of a commit, with that commit."""
        from hyprstream_core.repo.resolve import tags

        return tags(self.git_dir)


@dataclass(frozen=True)
class Worktree:
    """A branch of a model, checked out."""

    model: Model
    branch: str
    path: Path
    oid: str
    """The branch's commit."""
    driver: str
    created_at: float

    @property
    def id(self) -> str:
        """``model:branch``, as clients name it."""
        return f"{self.model.name}:{self.branch}"


@dataclass(frozen=True)
class WorktreeInfo:
    """A worktree, measured. ``apparent_bytes`` = ``own_bytes`` + ``saved_bytes``."""

    path: Path
    branch: str
    oid: str
    driver: str
    created_at: float
    apparent_bytes: int
    """Sum of the sizes of its files."""
    own_bytes: int
    """Bytes that would be freed, or are not shared with anything else."""
    saved_bytes: int
    """Bytes that share storage with an earlier user of the same content."""


@dataclass(frozen=True)
class Resolved:
    """A reference, resolved to exactly one commit."""

    model: Model
    ref: str | None
    """Full name of the git reference (``refs/tags/v1``); None when a commit was named."""
    kind: Kind
    commit: str
    """Full id of the commit; annotated tags are peeled."""

    def __str__(self) -> str:
        return f"{self.model.name}:{self.commit}"


@dataclass(frozen=True)
class RefChange:
    """What a fetch found changed on the remote, and what became of it here.

    ``kind`` is one of

        new       taken
        updated   taken; ``forced`` when the new commit does not descend from the old one, or a tag was replaced
        kept      a tag that has moved on the remote, and has not here
        deleted   a branch that the remote no longer has; still remembered here
        pruned    the same, forgotten
        default   the branch that the remote's HEAD names; ``old`` and ``new`` are names
    """

    ref: str
    """Full name of the reference, as it is here (``refs/remotes/origin/main``); "HEAD" for the default branch."""
    kind: Literal["new", "updated", "kept", "deleted", "pruned", "default"]
    old: str | None
    new: str | None
    forced: bool = False


@dataclass(frozen=True)
class Pulled:
    """What a pull did."""

    model: Model
    branch: str
    source: str
    """The remote's branch."""
    old: str
    new: str
    """The branch's commit, before and after."""
    files: int
    """Files of the worktree that were written or deleted."""
    path: Path | None
    """The branch's worktree, when it has one."""
    changes: tuple[RefChange, ...]
    """What the fetch found."""
