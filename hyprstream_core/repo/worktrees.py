"""Worktrees: a branch checked out, as stock git knows it, made and removed without a half-way.

    <name>.git/worktrees/<id>/   gitdir, commondir, HEAD, index: git's own; hyprstream.json: ours
    <name>/worktrees/<branch>/   .git names the folder above

A worktree exists when its admin folder does; that is renamed into place last, and away first.
"""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import msgspec

from hyprstream_core.errors import Conflict, ModelNotFound
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo import index
from hyprstream_core.repo.checkout import check_out
from hyprstream_core.repo.content import Source
from hyprstream_core.repo.durable import make_folders, move, replace, sync_tree, write_new
from hyprstream_core.repo.gitdir import GitDir, open_git, read_refs
from hyprstream_core.repo.layout import git_dir, worktree
from hyprstream_core.repo.records import Model, Worktree
from hyprstream_core.repo.resolve import HEADS, REMOTES, TAGS
from hyprstream_core.repo.workspace import Workspace

_SIDECAR = "hyprstream.json"
_SIDECAR_BYTES = 65536


class Sidecar(msgspec.Struct, frozen=True):
    """What we know of a worktree beyond git: how it was filled, from which commit, when."""

    branch: str
    driver: str
    base: str
    created_at: float


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
    for admin in (model.git_dir / "worktrees").glob("*"):
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
    return "there is no such branch"


def add(space: Workspace, model: Model, branch: str, source: Source, progress: Progress) -> Worktree:
    """Check out ``branch``; see :meth:`hyprstream_core.repo.store.Store.add_worktree`."""
    with space.stage() as stage, space.content_in_use(), open_git(model.git_dir) as git:
        commit = _commit_of(model, branch)
        files, admin = build(space, git, model.path, branch, commit, source=source, stage=stage, progress=progress)
        with space.model_lock(model.name):
            if any(w.branch == branch for w in list_worktrees(model)):
                raise Conflict(
                    f"branch {branch!r} of model {model.name!r} is already checked out",
                    remedy=f"its files are in {worktree(model.path, branch)}",
                    param="branch",
                )
            if _commit_of(model, branch) != commit:
                raise Conflict(f"branch {branch!r} moved while it was checked out", remedy="try again")
            _clear(worktree(model.path, branch), stage)
            _ensure_branch(model, branch, commit, stage)
            move(files, worktree(model.path, branch))
            move(admin, model.git_dir / "worktrees" / admin_id(branch))
    return find(model, branch)


def _commit_of(model: Model, branch: str) -> str:
    refs = read_refs(model.git_dir)
    commit = refs.get(HEADS + branch) or refs.get(REMOTES + branch)
    if commit is None:
        raise ModelNotFound(
            f"model {model.name!r} has no branch {branch!r}",
            remedy=f"hyprstream inspect {model.name} shows its branches",
            param="branch",
        )
    return commit


def _ensure_branch(model: Model, branch: str, commit: str, stage: Path) -> None:
    if HEADS + branch not in read_refs(model.git_dir):
        path = model.git_dir / (HEADS + branch)
        make_folders(path.parent)
        replace(path, f"{commit}\n".encode(), stage)


def _clear(path: Path, stage: Path) -> None:
    """Put aside what a run that was killed has left where a worktree is to be."""
    if path.exists():
        path.rename(stage / "leftover")


def remove(space: Workspace, found: Worktree, *, force: bool) -> None:
    """Delete a worktree's files; see :meth:`hyprstream_core.repo.store.Store.remove_worktree`."""
    with space.stage() as stage, space.model_lock(found.model.name):
        if all(other.branch == found.branch for other in list_worktrees(found.model)):
            raise Conflict(
                f"{found.branch!r} is the only worktree of model {found.model.name!r}",
                code="repo.last_worktree",
                remedy=f"hyprstream remove {found.model.name} removes the model",
                param="branch",
            )
        if not force:
            require_clean(space, found)
        move(admin_folder(found), stage / "admin")
        move(found.path, stage / "worktree")
        _prune(found.path.parent, found.model.path / "worktrees")


def admin_folder(found: Worktree) -> Path:
    """git's own files of a worktree: HEAD, index."""
    return found.model.git_dir / "worktrees" / admin_id(found.branch)


def _prune(folder: Path, top: Path) -> None:
    """Remove the empty folders that a nested branch leaves."""
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def require_clean(space: Workspace, found: Worktree) -> None:
    """Refuse to lose work.

    Raises:
        Conflict: something is not committed (code ``repo.dirty``); names the first few paths.
    """
    from hyprstream_core.repo.status import changes

    if changed := changes(space, found, index_of(space, found)):
        raise Conflict(
            f"{found.id} has uncommitted changes: {', '.join(changed[:5])}{' …' if len(changed) > 5 else ''}",
            code="repo.dirty",
            remedy="commit them, or pass --force to lose them",
            changes=changed[:100],
        )


def index_of(space: Workspace, found: Worktree) -> dict[str, index.IndexEntry]:
    """git's index of a worktree."""
    return index.load(admin_folder(found) / "index", space.limits.json_file_bytes)
