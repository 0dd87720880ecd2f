"""Worktrees: a branch checked out, as stock git knows it, made and removed without a half-way.

    <name>.git/worktrees/<id>/   gitdir, commondir, HEAD, index: git's own; hyprstream.json: ours
    <name>/worktrees/<branch>/   .git names the folder above

A worktree exists when its admin folder does; that is renamed into place last, and away first.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hyprstream_core.errors import Conflict, ModelNotFound
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo import index
from hyprstream_core.repo.changing import changing
from hyprstream_core.repo.checkout import check_out
from hyprstream_core.repo.content import Source
from hyprstream_core.repo.durable import move, replace, sync_tree, write_new
from hyprstream_core.repo.git_config import Tracking, read_tracking, write_tracking
from hyprstream_core.repo.gitdir import GitDir, is_oid, open_git, read_refs
from hyprstream_core.repo.layout import git_dir, worktree
from hyprstream_core.repo.records import Model, Resolved, Worktree
from hyprstream_core.repo.reference_store import HEADS, REMOTES, TAGS, References, exists, require_no_clash
from hyprstream_core.repo.resolve import close_names, unknown
from hyprstream_core.repo.workspace import Workspace

_SIDECAR = "hyprstream.json"
_SIDECAR_BYTES = 65536
_POINTER_BYTES = 8192


class Sidecar(msgspec.Struct, frozen=True):
    """What we know of a worktree beyond git: how it was filled, from which commit, when."""

    branch: str
    driver: str
    base: str
    created_at: float


def admin_folder(model: Model, branch: str) -> Path:
    """git's own folder of the worktree of ``branch``."""
    return model.git_dir / "worktrees" / admin_id(branch)


def admin_id(branch: str) -> str:
    """A name for the admin folder that no two branches share."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", branch).strip("-")[:40] or "branch"
    return f"{safe}-{hashlib.sha256(branch.encode()).hexdigest()[:8]}"


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
    write_new(admin / _SIDECAR, msgspec.json.encode(Sidecar(branch, name, commit, time.time())))
    sync_tree(files)
    sync_tree(admin)
    return files, admin


def list_worktrees(model: Model) -> list[Worktree]:
    """The model's worktrees, ordered by branch."""
    found, refs = [], read_refs(model.git_dir)
    for admin in _admins(model):
        sidecar = _sidecar(admin)
        if sidecar is None:
            continue  # made by somebody else's git
        path = worktree(model.path, sidecar.branch)
        oid = refs.get(HEADS + sidecar.branch)
        if oid and path.is_dir():
            found.append(Worktree(model, sidecar.branch, path, oid, sidecar.driver, sidecar.created_at))
    return sorted(found, key=lambda w: w.branch)


def _sidecar(admin: Path) -> Sidecar | None:
    try:
        with (admin / _SIDECAR).open("rb") as file:
            return msgspec.json.decode(file.read(_SIDECAR_BYTES), type=Sidecar)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


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
        with changing(space, model, stage) as refs:
            if branch in (there := checked_out(model)):
                raise Conflict(
                    f"branch {branch!r} of model {model.name!r} is already checked out",
                    remedy=f"its files are in {there[branch]}",
                    param="branch",
                )
            if _plan(model, branch, start) != plan:
                raise Conflict(f"branch {branch!r} moved while it was checked out", remedy="try again")
            if plan.is_new:
                require_no_clash(HEADS + branch, refs.read())
            _clear(worktree(model.path, branch), stage)
            if plan.is_new:
                make_branch(refs, branch, plan.commit, plan.tracking)
            move(files, worktree(model.path, branch))
            move(admin, admin_folder(model, branch))
    return find(model, branch)


def make_branch(refs: References, branch: str, commit: str, tracking: Tracking | None) -> None:
    """A new local branch. What it tracks is written first: of a branch that is not there it says nothing."""
    name = HEADS + branch
    if (oid := refs.read().get(name)) is not None:
        raise exists(name, oid)
    require_no_clash(name, refs.read())
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
    names = [name for name in refs if name.startswith((HEADS, REMOTES))]
    raise unknown(model, branch, names, "branch")


def _clear(path: Path, stage: Path) -> None:
    """Put aside what a run that was killed has left where a worktree is to be."""
    if path.exists():
        path.rename(stage / "leftover")


def remove(space: Workspace, found: Worktree, *, force: bool) -> None:
    """Delete a worktree's files; see :meth:`hyprstream_core.repo.store.Store.remove_worktree`."""
    with space.stage() as stage, changing(space, found.model, stage):
        if all(other.branch == found.branch for other in list_worktrees(found.model)):
            raise Conflict(
                f"{found.branch!r} is the only worktree of model {found.model.name!r}",
                code="repo.last_worktree",
                remedy=f"hyprstream remove {found.model.name} removes the model",
                param="branch",
            )
        if not force:
            require_clean(space, found)
        move(admin_folder(found.model, found.branch), stage / "admin")
        move(found.path, stage / "worktree")
        prune(found.path.parent, found.model.path / "worktrees")


def prune(folder: Path, top: Path) -> None:
    """Remove the empty folders that a nested branch leaves below ``top``."""
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def pointer_to(path: Path) -> Path | None:
    """The admin folder that the worktree at ``path`` names; None when there is none."""
    try:
        with (path / ".git").open("rb") as file:
            text = file.read(_POINTER_BYTES).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return Path(text.removeprefix("gitdir:").strip()) if text.startswith("gitdir:") else None


def retarget(model: Model, old: str, new: str, scratch: Path) -> None:
    """Make the admin folder of the worktree of ``old`` that of ``new``, whose files have moved already."""
    admin = admin_folder(model, old)
    sidecar = _sidecar(admin)
    if sidecar is None:
        return
    replace(admin / "gitdir", f"{worktree(model.path, new)}/.git\n".encode(), scratch)
    replace(admin / _SIDECAR, msgspec.json.encode(msgspec.structs.replace(sidecar, branch=new)), scratch)
    move(admin, admin_folder(model, new))


def switch_heads(model: Model, old: str, new: str, scratch: Path) -> None:
    """Let every worktree that is at the branch ``old``, also one that somebody else's git made, be at ``new``."""
    for admin in _admins(model):
        if head_of(admin) == HEADS + old:
            replace(admin / "HEAD", f"ref: {HEADS}{new}\n".encode(), scratch)


def checked_out(model: Model) -> dict[str, Path]:
    """Branch → the worktree that is at it, those that somebody else's git made included."""
    found = {}
    for admin in _admins(model):
        head = head_of(admin)
        if head is not None and head.startswith(HEADS):
            found[head.removeprefix(HEADS)] = _files_of(admin)
    return found


def _admins(model: Model) -> list[Path]:
    return sorted((model.git_dir / "worktrees").glob("*"))


def _files_of(admin: Path) -> Path:
    """The folder that an admin folder is about."""
    try:
        with (admin / "gitdir").open("rb") as file:
            return Path(file.read(_POINTER_BYTES).decode("utf-8", "surrogateescape").strip()).parent
    except FileNotFoundError:
        return admin


def head_of(admin: Path) -> str | None:
    """What a worktree's HEAD says: a full reference, or a commit when it is detached; None when it says neither."""
    try:
        with (admin / "HEAD").open("rb") as file:
            text = file.read(_POINTER_BYTES).decode("utf-8", "surrogateescape").strip()
    except FileNotFoundError:
        return None
    if text.startswith("ref:"):
        return text.removeprefix("ref:").strip()
    return text if is_oid(text) else None


def require_clean(space: Workspace, found: Worktree) -> None:
    """Refuse to lose work.

    Raises:
        Conflict: something is not committed (code ``repo.dirty``); names the first few paths.
    """
    from hyprstream_core.repo.status import changes

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
        return (admin_folder(found.model, found.branch) / "index").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def index_of(space: Workspace, found: Worktree) -> dict[str, index.IndexEntry]:
    """git's index of a worktree."""
    return index.load(admin_folder(found.model, found.branch) / "index", space.limits.json_file_bytes)
