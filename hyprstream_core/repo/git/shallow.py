"""A repository without its whole history: the file ``shallow`` names the commits whose parents are not there.

Written and read as git does (``gitrepository-layout(5)``): one commit id a line, no file when the history is whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.disk.durable import replace, sync
from hyprstream_core.repo.git.gitdir import is_oid

FULL_DEPTH = 0x7FFFFFFF
"""The depth that asks for all there is (git's ``INFINITE_DEPTH``)."""
_MAX_BYTES = 64 * 2**20


def read_shallow(git_dir: Path) -> frozenset[str]:
    """The commits whose parents the repository does not have.

    Raises:
        BadObject: the file is malformed, or absurdly large.
    """
    try:
        with (git_dir / "shallow").open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return frozenset()
    oids = data.decode("ascii", "replace").split()
    if len(data) > _MAX_BYTES or not all(map(is_oid, oids)):
        raise BadObject(f"{git_dir.name}/shallow is damaged: it holds something else than commit ids")
    return frozenset(oids)


def write_shallow(git_dir: Path, commits: Iterable[str], scratch: Path) -> None:
    """Say which commits' parents are not there; none makes the history whole."""
    if lines := dump_shallow(commits):
        replace(git_dir / "shallow", lines, scratch)
    elif (git_dir / "shallow").exists():
        (git_dir / "shallow").unlink()
        sync(git_dir)


def dump_shallow(commits: Iterable[str]) -> bytes:
    """The content of the file."""
    return "".join(f"{oid}\n" for oid in sorted(commits)).encode()
