"""What a commit object says."""

from __future__ import annotations

import re
from pathlib import Path

from hyprstream_core.errors import BadObject, ModelNotFound
from hyprstream_core.repo.gitdir import open_git

_COMMITTER_TIME = re.compile(rb"^committer [^\n]* (\d{1,12}) [+-]\d{4}$", re.MULTILINE)


def commit_time(git_dir: Path, commit: str) -> int:
    """When ``commit`` was made, in Unix seconds; 0 when the commit does not say so properly.

    Raises:
        ModelNotFound: the repository has no such commit.
        BadObject: it is damaged.
    """
    with open_git(git_dir) as git:
        try:
            data = git.read(commit, "commit")[1]
        except BadObject as error:
            if error.error_code != "repo.missing_object":
                raise
            raise ModelNotFound(f"no commit {commit} in {git_dir.name}", param="model") from None
    return time_of(data)


def time_of(data: bytes) -> int:
    """When the commit with the content ``data`` was made, in Unix seconds; 0 when it does not say so properly."""
    match = _COMMITTER_TIME.search(data.split(b"\n\n", 1)[0])
    return int(match[1]) if match else 0
