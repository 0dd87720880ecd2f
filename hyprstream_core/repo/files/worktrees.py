"""Worktrees: a branch checked out, as stock git knows it, made and removed without a half-way.

    <name>.git/worktrees/<id>/   gitdir, commondir, HEAD, index: git's own; hyprstream.json: ours
    <name>/worktrees/<branch>/   .git names the folder above

A worktree exists when its admin folder does; that is renamed into place last, and away first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hyprstream_core.errors import Conflict, ModelNotFound
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo.disk.durable import move, prune, sync_tree, write_new
from hyprstream_core.repo.files.checkout import check_out
from hyprstream_core.repo.files.content import Source
from hyprstream_core.repo.files.worktree_admin import (
    SIDECAR,
    Sidecar,
    admin_folder,
    admin_folders,
    admin_id,
    checked_out,
    sidecar_of,
)
from hyprstream_core.repo.git import index
from hyprstream_core.repo.git.git_config import Tracking, read_tracking, write_tracking
from hyprstream_core.repo.git.gitdir import GitDir, open_git, read_refs
from hyprstream_core.repo.git.reference_store import HEADS, REMOTES, TAGS, References, exists, require_no_clash
from hyprstream_core.repo.layout import git_dir, worktree
from hyprstream_core.repo.records import Model, Resolved, Worktree
from hyprstream_core.repo.resolve import close_names, unknown
from hyprstream_core.repo.workspace import Workspace

_BRANCHES = (HEADS, REMOTES)


def build(
    space: Workspace,
    git: GitDir,
    model: Path,
    branch: str,
    commit: str,
    *,
    source: Source,
    stage: Path,
    progress: Progress,
) -> tuple[Path, Path]:
    """Make the files and the admin folder of a worktree in ``stage``, to be moved where they say they are.

    Returns:
        The staged worktree and the staged admin folder, both synced.
    """
    name, driver = space.parts.driver(space.driver, stage)
    files, admin = stage / "worktree", stage / "admin"
    entries = check_out(
        space, git, commit, files,
        source=source, fill=driver.materialise, shares=driver.shares, read_only=False, progress=progress,
    )  # fmt: skip
    final = git_dir(model) / "worktrees" / admin_id(branch)
    write_new(files / ".git", f"gitdir: {final}\n".encode())
    admin.mkdir()
    write_new(admin / "gitdir", f"{worktree(model, branch)}/.git\n".encode())
    write_new(admin / "commondir", b"../..\n")
    write_new(admin / "HEAD", f"ref: {HEADS}{branch}\n".encode())
    write_new(admin / "index", index.dump(entries))
    write_new(admin / SIDECAR, msgspec.json.encode(Sidecar(branch, name, commit, time.time())))
    sync_tree(files)
    sync_tree(admin)
    return files, admin


def list_worktrees(model: Model) -> list[Worktree]:
    """The model's worktrees, ordered by branch."""
    found, refs = [], read_refs(model.git_dir)
    for admin in admin_folders(model.path):
        sidecar = sidecar_of(admin)
        if sidecar is None:
            continue  # made by somebody else's git
        path = worktree(model.path, sidecar.branch)
        oid = refs.get(HEADS + sidecar.branch)
        if oid and path.is_dir():
            found.append(Worktree(model, sidecar.branch, path, oid, sidecar.driver, sidecar.created_at))
    return sorted(found, key=lambda w: w.branch)


def find(model: Model, branch: str) -> Worktree:
    """The worktree of ``branch``.

    Raises:
        ModelNotFound: it is not checked out.
    """
    for found in list_worktrees(model):
        if found.branch == branch:
            return found
    raise ModelNotFound(
        f"model {model.name!r} has no worktree {branch!r}: {_why_none(model, branch)}",
        remedy=f"hyprstream inspect {model.name} shows its worktrees",
        param="branch",
    )


def _why_none(model: Model, branch: str) -> str:
    refs = read_refs(model.git_dir)
    if HEADS + branch in refs or REMOTES + branch in refs:
        return "that branch is not checked out"
    if TAGS + branch in refs:
        return f"{branch} is a tag; only branches have worktrees"
    known = [name.removeprefix(HEADS) for name in refs if name.startswith(HEADS)]
    close = close_names(branch, known)
    return "there is no such branch" + (f"; did you mean: {', '.join(close)}?" if close else "")


@dataclass(frozen=True)
class _Plan:
    """What a new worktree's branch is: at which commit; whether it is made, and what it then tracks."""

    commit: str
    is_new: bool
    tracking: Tracking | None


def add(
    space: Workspace,
    model: Model,
    branch: str,
    start: Resolved | None,
    source: Source,
    progress: Progress,
) -> Worktree:
    """Check out ``branch``; see :meth:`hyprstream_core.repo.store.Store.add_worktree`."""
    with space.stage() as stage, space.content_in_use(), open_git(model.git_dir) as git:
        plan = _plan(model, branch, start)
        files, admin = build(space, git, model.path, branch, plan.commit, source=source, stage=stage, progress=progress)
        with space.changing(model, stage) as refs:
            if branch in (there := checked_out(model.path)):
                raise Conflict(
                    f"branch {branch!r} of model {model.name!r} is already checked out",
                    remedy=f"its files are in {there[branch]}",
                    param="branch",
                )
            if _plan(model, branch, start) != plan:
                raise Conflict(f"branch {branch!r} moved while it was checked out", remedy="try again")
            if plan.is_new:
                require_no_clash([HEADS + branch], refs.read())
            _clear(worktree(model.path, branch), stage)
            if plan.is_new:
                make_branch(refs, branch, plan.commit, plan.tracking)
            move(files, worktree(model.path, branch))
            move(admin, admin_folder(model.path, branch))
    return find(model, branch)


def make_branch(refs: References, branch: str, commit: str, tracking: Tracking | None) -> None:
    """A new local branch. What it tracks is written first: of a branch that is not there it says nothing."""
    name = HEADS + branch
    if (oid := refs.read().get(name)) is not None:
        raise exists(name, oid)
    require_no_clash([name], refs.read())
    if branch in read_tracking(refs.git_dir) or tracking is not None:
        write_tracking(refs, branch, tracking)
    refs.create(name, commit)


def tracking_of(start: Resolved) -> Tracking | None:
    """What a branch that starts there tracks: the remote's branch, when it is one (git's ``autoSetupMerge``)."""
    if start.ref is None or not start.ref.startswith(REMOTES):
        return None
    return Tracking("origin", HEADS + start.ref.removeprefix(REMOTES))


def _plan(model: Model, branch: str, start: Resolved | None) -> _Plan:
    refs = read_refs(model.git_dir)
    if start is not None:
        if HEADS + branch in refs:
            raise exists(HEADS + branch, refs[HEADS + branch])
        return _Plan(start.commit, True, tracking_of(start))
    if HEADS + branch in refs:
        return _Plan(refs[HEADS + branch], False, None)
    if REMOTES + branch in refs:
        return _Plan(refs[REMOTES + branch], True, Tracking("origin", HEADS + branch))
    names = {HEADS + name.removeprefix(HEADS).removeprefix(REMOTES) for name in refs if name.startswith(_BRANCHES)}
    raise unknown(model, branch, sorted(names), "branch")


def _clear(path: Path, stage: Path) -> None:
    """Put aside what a run that was killed has left where a worktree is to be."""
    if path.exists():
        path.rename(stage / "leftover")


def remove(space: Workspace, found: Worktree, *, force: bool) -> None:
    """Delete a worktree's files; see :meth:`hyprstream_core.repo.store.Store.remove_worktree`."""
    with space.stage() as stage, space.changing(found.model, stage):
        if all(other.branch == found.branch for other in list_worktrees(found.model)):
            raise Conflict(
                f"{found.branch!r} is the only worktree of model {found.model.name!r}",
                code="repo.last_worktree",
                remedy=f"hyprstream remove {found.model.name} removes the model",
                param="branch",
            )
        if not force:
            require_clean(space, found)
        move(admin_folder(found.model.path, found.branch), stage / "admin")
        move(found.path, stage / "worktree")
        prune(found.path.parent, found.model.path / "worktrees")


def require_clean(space: Workspace, found: Worktree) -> None:
    """Refuse to lose work.

    Raises:
        Conflict: something is not committed (code ``repo.dirty``); names the first few paths.
    """
    from hyprstream_core.repo.files.status import changes

    if changed := [c.path for c in changes(space, found, index_of(space, found), ignored=True)]:
        names = ", ".join(changed[:5])
        raise Conflict(
            f"{found.id} has uncommitted changes: {names}{' …' if len(changed) > 5 else ''}",
            code="repo.dirty",
            remedy="commit them, or pass --force to lose them",
            changes=changed[:100],
        )


def index_time(found: Worktree) -> int:
    """When the index was written, in nanoseconds; 0 when there is none."""
    try:
        return (admin_folder(found.model.path, found.branch) / "index").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def index_of(space: Workspace, found: Worktree) -> dict[str, index.IndexEntry]:
    """git's index of a worktree."""
    return index.load(admin_folder(found.model.path, found.branch) / "index", space.limits.json_file_bytes)
