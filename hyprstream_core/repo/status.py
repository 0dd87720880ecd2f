"""What differs in a worktree, and what its files really take on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hyprstream_core.repo.content import read_pointer
from hyprstream_core.repo.gitdir import GitDir, open_git
from hyprstream_core.repo.index import IndexEntry
from hyprstream_core.repo.records import Worktree, WorktreeInfo
from hyprstream_core.repo.tree import SUBMODULE, walk
from hyprstream_core.repo.workspace import Workspace

_CHUNK = 1 << 20


def files_of(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file of a worktree, with its path and state; git's own is left out."""
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            relative = str(file.relative_to(path))
            if relative != ".git":
                yield relative, file.lstat()


def changes(space: Workspace, worktree: Worktree, index: Mapping[str, IndexEntry]) -> list[str]:
    """Paths that are not as in the branch's commit: changed, added, deleted, staged or untracked."""
    found: set[str] = set()
    with open_git(worktree.model.git_dir) as git:
        head = {path: e.oid for path, e in walk(git, git.tree_of(worktree.oid), space.limits)}
        found |= {path for path in head.keys() | index.keys() if path not in index or head.get(path) != index[path].oid}
        seen = set()
        for path, stat in files_of(worktree.path):
            seen.add(path)
            entry = index.get(path)
            if entry is None or not (entry.matches(stat) or _same(space, git, worktree.path / path, entry)):
                found.add(path)
        found |= {path for path, entry in index.items() if entry.mode != SUBMODULE and path not in seen}
    return sorted(found)


def _same(space: Workspace, git: GitDir, file: Path, entry: IndexEntry) -> bool:
    """Whether a file whose times differ still has the content that the index names."""
    if file.is_symlink() or file.stat().st_size & 0xFFFFFFFF != entry.size & 0xFFFFFFFF:
        return False
    match = read_pointer(git, entry.oid, space.parts)
    if match is not None:
        return _hash(file, hashlib.sha256()) == match[1].oid
    return _hash(file, hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)) == entry.oid


def _hash(file: Path, digest: hashlib._Hash) -> str:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def measure(
    space: Workspace,
    worktree: Worktree,
    index: Mapping[str, IndexEntry],
    older: Iterable[tuple[Worktree, Mapping[str, IndexEntry]]],
) -> WorktreeInfo:
    """Measure a worktree. Of the storage that a large file shares, its first user saves nothing: ``older`` are
    all worktrees of the store that were made before, each with its index.
    """
    driver = space.parts.materialiser(worktree.driver)
    used_before = {e.oid for other, entries in older for e in entries.values() if _unchanged(other, e)}
    apparent = saved = 0
    for path, stat in files_of(worktree.path):
        apparent += stat.st_size
        entry = index.get(path)
        if entry is not None and entry.oid in used_before:
            saved += min(driver.saved_bytes(worktree.path / path), stat.st_size)
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


def _unchanged(worktree: Worktree, entry: IndexEntry) -> bool:
    try:
        return entry.matches((worktree.path / entry.path).lstat())
    except OSError:
        return False
