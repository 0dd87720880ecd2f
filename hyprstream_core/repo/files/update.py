"""Bringing a worktree from its branch's commit to another one, in place: all of it or nothing, whoever dies when.

prepare   what differs between the commits is written into the staging folder and synced; what does not is
          not touched. May take long and fetch content; no lock
check     under the model's lock: the branch is still there, nothing tracked was changed, nothing untracked
          would be overwritten
decide    the journal: from here on it is carried out, by us or by whoever comes next
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from hyprstream_core.errors import Conflict
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo import journal
from hyprstream_core.repo.disk.confined import Confined
from hyprstream_core.repo.disk.durable import sync_tree, write_new
from hyprstream_core.repo.files import worktrees
from hyprstream_core.repo.files.checkout import fetch_files, write_file
from hyprstream_core.repo.files.content import Source
from hyprstream_core.repo.files.status import changes
from hyprstream_core.repo.files.worktree_admin import admin_folder
from hyprstream_core.repo.git import index
from hyprstream_core.repo.git.difference import Difference, compare
from hyprstream_core.repo.git.gitdir import GitDir, open_git
from hyprstream_core.repo.git.index import IndexEntry
from hyprstream_core.repo.git.reference_store import HEADS, RefSwap, moved
from hyprstream_core.repo.git.tree import EXECUTABLE, SUBMODULE, PlannedFile
from hyprstream_core.repo.journal import Journal, TreeChange
from hyprstream_core.repo.records import Worktree
from hyprstream_core.repo.workspace import Workspace

_SHOWN, _LISTED = 5, 100


def advance(
    space: Workspace,
    found: Worktree,
    commit: str,
    *,
    source: Source,
    progress: Progress,
    refs: Mapping[str, RefSwap] | None = None,
    publishing: Callable[[], None] = lambda: None,
) -> int:
    """Make ``commit`` the commit of the worktree's branch, and its files the worktree's; ``refs`` change with it.

    ``found.oid`` is the commit that the branch must still have. ``publishing`` is called at the last moment at
    which everything can still be undone.

    Returns:
        How many files were written or deleted.

    Raises:
        Conflict: tracked files were changed (``repo.dirty``), an untracked one is in the way (``repo.untracked``),
            the branch moved (``ref.moved``), or somebody's git is at work in the worktree (``repo.busy``). Or,
            done all the same: somebody put something in the way in the last moment (``repo.obstructed``).
        UnsafeTree, BadObject, RemoteError, DiskFull: as for :meth:`hyprstream_core.repo.store.Store.clone`.
    """
    with space.stage() as stage, space.content_in_use(), open_git(found.model.git_dir) as git:
        difference = compare(git, found.oid, commit, space.limits)
        _require_unchanged(space, found, difference)  # before anything large is fetched in vain; counts below
        entries = _stage(space, git, found, commit, difference.files(), stage, source, progress)
        with space.changing(found.model, stage) as references:
            known = _require_unchanged(space, found, difference)
            kept = {path: entry for path, entry in known.items() if difference.keeps(entry)}
            write_new(stage / "index", index.dump({**kept, **entries, **_submodules(difference)}.values()))
            swaps: dict[str, RefSwap] = {HEADS + found.branch: (found.oid, commit), **(refs or {})}
            publishing()
            tree = _tree_change(found, difference)
            obstructed = journal.commit(space.layout, references, Journal(found.model.name, swaps, tree=tree))
    if obstructed:
        raise Conflict(
            f"{found.id} is at {commit[:12]}, but something was put in the way of: {_names(obstructed)}",
            code="repo.obstructed",
            remedy=f"look at git status in {found.path}",
            changes=_printable(obstructed),
        )
    return len(tree.files) + len(tree.delete)


def _stage(
    space: Workspace,
    git: GitDir,
    found: Worktree,
    commit: str,
    files: list[PlannedFile],
    stage: Path,
    source: Source,
    progress: Progress,
) -> dict[str, IndexEntry]:
    """Write the files that are to come, numbered; git's index of them."""
    driver = space.parts.materialiser(found.driver)
    pointers = fetch_files(space, git, commit, files, source, shares=driver.shares, progress=progress)
    folder = stage / "files"
    folder.mkdir()
    entries = {}
    for number, file in enumerate(files):
        path = folder / str(number)
        write_file(space, git, file, pointers.get(file.oid), path, driver.materialise)
        entries[file.path] = IndexEntry.of(file.path, file.mode, file.oid, path.lstat())
        progress("checkout", number + 1, len(files))
    sync_tree(folder)
    return entries


def _tree_change(found: Worktree, difference: Difference) -> TreeChange:
    return TreeChange(
        folder=str(found.path.relative_to(found.model.path)),
        branch=HEADS + found.branch,
        index=str(admin_folder(found.model.path, found.branch).relative_to(found.model.git_dir) / "index"),
        delete=difference.delete(),
        drop=difference.drop(),
        folders=difference.folders(),
        files=[f.path for f in difference.files()],
    )


def _submodules(difference: Difference) -> dict[str, IndexEntry]:
    """git looks at nothing of a submodule's folder but that it is one."""
    found = [f for f in difference.changed() if f.mode == SUBMODULE]
    return {f.path: IndexEntry(f.path, f.mode, f.oid, 0, 0) for f in found}


def _require_unchanged(space: Workspace, found: Worktree, difference: Difference) -> dict[str, IndexEntry]:
    """The worktree is as it was when the change was prepared, and nothing would be lost by it.

    Returns:
        git's index of it.
    """
    if (now := worktrees.find(found.model, found.branch)).oid != found.oid:
        raise moved(HEADS + found.branch, now.oid, found.oid)
    _require_idle(found, admin_folder(found.model.path, found.branch))
    known = worktrees.index_of(space, found)
    if changed := _changed(space, found, known, difference):
        raise Conflict(
            f"{found.id} has uncommitted changes: {_names(changed)}",
            code="repo.dirty",
            remedy=f"commit them, or undo them: git restore FILE in {found.path}",
            changes=_printable(changed),
        )
    with Confined(found.model.path, str(found.path.relative_to(found.model.path))) as tree:
        if blocked := sorted(set(_in_the_way(tree, difference))):
            raise Conflict(
                f"files in {found.id} that git does not track are in the way: {_names(blocked)}",
                code="repo.untracked",
                remedy=f"move them out of {found.path}",
                changes=_printable(blocked),
            )
    return known


def _require_idle(found: Worktree, admin: Path) -> None:
    if (admin / "index.lock").exists():
        raise Conflict(
            f"a git command is at work in {found.path}, or was killed there",
            code="repo.busy",
            remedy=f"wait for it; if there is none, remove {admin / 'index.lock'}",
        )
    with (admin / "HEAD").open("rb") as file:
        head = file.read(4096).decode("utf-8", "replace").strip()
    if head != f"ref: {HEADS}{found.branch}":
        raise Conflict(
            f"somebody has checked out something else in {found.path}: {head[:100]!r}",
            code="repo.busy",
            remedy=f"git checkout {found.branch} in that folder",
        )


def _changed(space: Workspace, found: Worktree, known: Mapping[str, IndexEntry], difference: Difference) -> list[str]:
    """Tracked files that are not as in the commit, on disk or in git's index."""
    before, odd = difference.before, set[str]()
    with Confined(found.model.path, str(found.path.relative_to(found.model.path))) as tree:
        for path, (mode, _) in before.items():
            state = tree.lstat(path) if mode != SUBMODULE else None
            if state is not None and not (
                stat.S_ISREG(state.st_mode) and bool(state.st_mode & 0o100) == (mode == EXECUTABLE)
            ):
                odd.add(path)
    if odd:  # a pipe in a file's place must not be opened to see whether it has changed
        return sorted(odd)
    paths = {change.path for change in changes(space, found, known)}
    tracked = {path for path in paths if path in known or path in before}
    return sorted(tracked | {p for p, e in known.items() if p in before and before[p] != (e.mode, e.oid)})


def _in_the_way(tree: Confined, difference: Difference) -> Iterator[str]:
    """Everything unknown that is where something is to come."""
    going = set(difference.delete())
    checked: set[str] = set()
    for path in difference.arriving():
        yield from _blocking_parents(tree, path, going, checked)
        state = tree.lstat(path)
        if state is not None and stat.S_ISDIR(state.st_mode):
            yield from (inner for inner in tree.files_below(path) if inner not in going)
        elif state is not None and path not in going:
            yield path


def _blocking_parents(tree: Confined, path: str, going: set[str], checked: set[str]) -> Iterator[str]:
    parts = path.split("/")
    for number in range(1, len(parts)):
        parent = "/".join(parts[:number])
        if parent in checked:
            continue
        checked.add(parent)
        state = tree.lstat(parent)
        if state is not None and not stat.S_ISDIR(state.st_mode) and parent not in going:
            yield parent


def _printable(paths: Iterable[str]) -> list[str]:
    """Paths as text, whatever bytes they are on disk; no more than anybody reads."""
    return [path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for path in paths][:_LISTED]


def _names(paths: Iterable[str]) -> str:
    found = _printable(paths)
    return ", ".join(found[:_SHOWN]) + (f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
