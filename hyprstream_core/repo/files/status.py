"""What differs in a worktree, as ``git status`` sees it: HEAD's commit, the index, and the files.

Content is read only where size or times differ from those in the index. A large file is compared by what stands
behind its pointer: the file holds the content, the index the pointer.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyprstream_core.repo.branches import Upstream
from hyprstream_core.repo.files import worktrees
from hyprstream_core.repo.files.content import read_pointer
from hyprstream_core.repo.files.worktree_admin import admin_folder, head_of
from hyprstream_core.repo.git.gitdir import GitDir, is_oid, open_git, read_refs
from hyprstream_core.repo.git.ignore import Rules, rules_of
from hyprstream_core.repo.git.index import IndexEntry
from hyprstream_core.repo.git.reference_store import HEADS
from hyprstream_core.repo.git.tree import EXECUTABLE, LINK, SUBMODULE, walk
from hyprstream_core.repo.records import Worktree
from hyprstream_core.repo.workspace import Workspace

Kind = Literal["", "added", "modified", "deleted", "type changed", "untracked", "ignored", "unmerged"]
"""What happened to a path; "" is nothing."""

_CHUNK = 1 << 20
_LETTERS: dict[Kind, str] = {
    "": " ", "added": "A", "modified": "M", "deleted": "D", "type changed": "T",
    "untracked": "?", "ignored": "!", "unmerged": "U",
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A path that is not as in HEAD's commit. A folder that is a repository of its own ends in "/"."""

    path: str
    staged: Kind
    """Between HEAD's commit and the index: added, modified, deleted, type changed."""
    unstaged: Kind
    """Between the index and the file: the same, untracked, ignored, or unmerged (a merge is not finished)."""

    @property
    def code(self) -> str:
        """The two letters of ``git status --porcelain``."""
        both = self.unstaged if self.unstaged in ("untracked", "ignored", "unmerged") else self.staged
        return _LETTERS[both] + _LETTERS[self.unstaged]


@dataclass(frozen=True)
class WorktreeStatus:
    """A worktree compared with its commit and with what its branch tracks."""

    worktree: Worktree
    head: str
    """Its HEAD: a full reference, or a commit. The worktree's branch, unless stock git switched it."""
    commit: str
    upstream: Upstream | None
    changes: list[Change]


def changes(
    space: Workspace, worktree: Worktree, index: Mapping[str, IndexEntry], *, ignored: bool = False
) -> list[Change]:
    """Everything that is not as in the commit at the worktree's HEAD, ordered by path.

    ``ignored``: also the files that are to be left alone (``.gitignore``), which nobody has a copy of either.
    """
    found: dict[str, tuple[Kind, Kind]] = {}
    with open_git(worktree.model.git_dir) as git:
        for path, staged in _staged(space, git, worktree, index):
            found[path] = staged, ""
        indexed_at = worktrees.index_time(worktree)
        files = _Files(worktree.path, index, rules_of(worktree.model.git_dir), with_ignored=ignored)
        for path, entry in index.items():
            changed = _unstaged(space, git, worktree.path / path, entry, files.tracked.get(path), indexed_at)
            if changed:
                found[path] = found.get(path, ("", ""))[0], changed
        other: tuple[Kind, list[str]]
        for other in (("untracked", files.untracked), ("ignored", files.ignored)):
            found |= {path: (found.get(path, ("", ""))[0], other[0]) for path in other[1]}
    return [Change(path, *kinds) for path, kinds in sorted(found.items())]


def head_name(worktree: Worktree) -> str:
    """What a worktree's HEAD names: its branch, unless stock git switched it to something else."""
    branch = HEADS + worktree.branch
    return head_of(admin_folder(worktree.model.path, worktree.branch)) or branch


def head_commit(worktree: Worktree) -> str:
    """The commit at a worktree's HEAD: its branch's, unless stock git switched it to something else."""
    head = head_name(worktree)
    if head == HEADS + worktree.branch:
        return worktree.oid
    if is_oid(head):
        return head
    return read_refs(worktree.model.git_dir).get(head, worktree.oid)


def _staged(
    space: Workspace, git: GitDir, worktree: Worktree, index: Mapping[str, IndexEntry]
) -> Iterator[tuple[str, Kind]]:
    """Paths whose index entry differs from HEAD's commit."""
    head = {p: (e.mode, e.oid) for p, e in walk(git, git.tree_of(head_commit(worktree)), space.limits)}
    for path in head.keys() - index.keys():
        yield path, "deleted"
    for path, entry in index.items():
        if entry.is_unmerged or entry.is_intended:
            continue
        if path not in head:
            yield path, "added"
        elif head[path] != (entry.mode, entry.oid):
            same_type = _type(head[path][0]) == _type(entry.mode)
            yield path, "modified" if same_type else "type changed"


def _type(mode: int) -> int:
    return stat.S_IFMT(mode)


def _unstaged(
    space: Workspace, git: GitDir, file: Path, entry: IndexEntry, found: os.stat_result | None, indexed_at: int
) -> Kind:
    """How the file differs from its index entry."""
    if entry.is_unmerged:
        return "unmerged"
    if entry.is_skipped:
        return ""
    if found is None:
        return "deleted"
    if entry.is_intended:
        return "added"
    if _type(entry.mode) != _type(found.st_mode) and entry.mode != SUBMODULE:
        return "type changed"
    if entry.mode == SUBMODULE or _same(space, git, file, entry, found, indexed_at):
        return ""
    return "modified"


def _same(space: Workspace, git: GitDir, file: Path, entry: IndexEntry, found: os.stat_result, indexed_at: int) -> bool:
    """Whether a file of the right type has the mode and the content that the index names.

    Another size is another content, unless the index holds none (0: git's mark for a file to be read).

    A file that was changed within the tick of the clock in which the index was written may look unchanged: its
    times are then no proof (git's "racy" entries).
    """
    if entry.mode != LINK and bool(found.st_mode & stat.S_IXUSR) != (entry.mode == EXECUTABLE):
        return False
    if entry.matches(found) and entry.mtime_ns < indexed_at:
        return True
    if entry.size and entry.size != found.st_size & 0xFFFFFFFF:
        return False
    if entry.mode == LINK:
        return _blob_id(os.fsencode(file.readlink())) == entry.oid
    return _content_is(space, git, file, entry.oid, found.st_size)


def _content_is(space: Workspace, git: GitDir, file: Path, oid: str, size: int) -> bool:
    """Whether a file holds the blob ``oid``, or what that is a pointer to."""
    if git.blob_size(oid) == size and _hash(file, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)) == oid:
        return True
    match = read_pointer(git, oid, space.parts)
    return match is not None and match[1].size == size and _hash(file, hashlib.sha256()) == match[1].oid


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _hash(file: Path, digest: hashlib._Hash) -> str:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class _Files:
    """The files of a worktree: those that git tracks, by their path, and the others. Follows no links."""

    def __init__(self, root: Path, index: Mapping[str, IndexEntry], rules: Rules, *, with_ignored: bool) -> None:
        self.tracked: dict[str, os.stat_result] = {}
        self.untracked: list[str] = []
        self.ignored: list[str] = []
        self._root = root
        self._index = index
        self._with_ignored = with_ignored
        self._folders = {str(parent) for path in index for parent in Path(path).parents}
        self._scan("", rules, is_ignored=False)

    def _scan(self, folder: str, rules: Rules, *, is_ignored: bool) -> None:
        rules = rules if is_ignored else rules.below(folder, self._root)
        with os.scandir(self._root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path != ".git":
                    self._add(path, entry, rules, is_ignored=is_ignored)

    def _add(self, path: str, entry: os.DirEntry[str], rules: Rules, *, is_ignored: bool) -> None:
        is_folder = entry.is_dir(follow_symlinks=False)
        known = self._index.get(path)
        if known is not None and (not is_folder or known.mode == SUBMODULE):
            self.tracked[path] = entry.stat(follow_symlinks=False)
            return
        leave = is_ignored or rules.ignores(path, is_folder=is_folder)
        if is_folder and path not in self._folders and (self._root / path / ".git").exists():
            self._note(f"{path}/", leave=leave)
        elif is_folder:
            if not leave or self._with_ignored or path in self._folders:
                self._scan(path, rules, is_ignored=leave)
        elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
            self._note(path, leave=leave)

    def _note(self, path: str, *, leave: bool) -> None:
        if not leave:
            self.untracked.append(path)
        elif self._with_ignored:
            self.ignored.append(path)
