"""What a commit object says."""

from __future__ import annotations

from pathlib import Path

from dulwich.objects import Commit
from dulwich.repo import Repo

from hyprstream_core.errors import ModelNotFound


def commit_time(git_dir: Path, commit: str) -> int:
    """When ``commit`` was made, in Unix seconds.

    Raises:
        ModelNotFound: the repository has no such commit.
    """
    with Repo(str(git_dir)) as repo:
        try:
            found = repo[commit.encode()]
        except KeyError:
            found = None
    if not isinstance(found, Commit):
        raise ModelNotFound(f"no commit {commit} in {git_dir.name}")
    return int(found.commit_time)
