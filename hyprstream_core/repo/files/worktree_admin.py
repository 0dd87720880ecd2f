"""git's own folders of worktrees, as ``gitrepository-layout(5)`` describes them: read, and changed when a branch is
renamed. ``model`` is always a model's folder.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec

from hyprstream_core.repo.disk.durable import move, replace
from hyprstream_core.repo.git.gitdir import is_oid
from hyprstream_core.repo.git.reference_store import HEADS
from hyprstream_core.repo.layout import git_dir, worktree

SIDECAR = "hyprstream.json"
_SIDECAR_BYTES = 65536
_POINTER_BYTES = 8192


class Sidecar(msgspec.Struct, frozen=True):
    """What we know of a worktree beyond git: how it was filled, from which commit, when."""

    branch: str
    driver: str
    base: str
    created_at: float


def admin_folder(model: Path, branch: str) -> Path:
    """git's own folder of the worktree of ``branch``."""
    return git_dir(model) / "worktrees" / admin_id(branch)


def admin_id(branch: str) -> str:
    """A name for the admin folder that no two branches share."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", branch).strip("-")[:40] or "branch"
    return f"{safe}-{hashlib.sha256(branch.encode()).hexdigest()[:8]}"


def sidecar_of(admin: Path) -> Sidecar | None:
    """What we noted of a worktree; None for one that somebody else's git made."""
    try:
        with (admin / SIDECAR).open("rb") as file:
            return msgspec.json.decode(file.read(_SIDECAR_BYTES), type=Sidecar)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def pointer_to(path: Path) -> Path | None:
    """The admin folder that the worktree at ``path`` names; None when there is none."""
    try:
        with (path / ".git").open("rb") as file:
            text = file.read(_POINTER_BYTES).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return Path(text.removeprefix("gitdir:").strip()) if text.startswith("gitdir:") else None


def retarget(model: Path, old: str, new: str, scratch: Path) -> None:
    """Make the admin folder of the worktree of ``old`` that of ``new``, whose files have moved already."""
    admin = admin_folder(model, old)
    sidecar = sidecar_of(admin)
    if sidecar is None:
        return
    replace(admin / "gitdir", f"{worktree(model, new)}/.git\n".encode(), scratch)
    replace(admin / SIDECAR, msgspec.json.encode(msgspec.structs.replace(sidecar, branch=new)), scratch)
    move(admin, admin_folder(model, new))


def switch_heads(model: Path, old: str, new: str, scratch: Path) -> None:
    """Let every worktree that is at the branch ``old``, also one that somebody else's git made, be at ``new``."""
    for admin in admin_folders(model):
        if head_of(admin) == HEADS + old:
            replace(admin / "HEAD", f"ref: {HEADS}{new}\n".encode(), scratch)


def checked_out(model: Path) -> dict[str, Path]:
    """Branch → the worktree that is at it, those that somebody else's git made included."""
    found = {}
    for admin in admin_folders(model):
        head = head_of(admin)
        if head is not None and head.startswith(HEADS):
            found[head.removeprefix(HEADS)] = _files_of(admin)
    return found


def admin_folders(model: Path) -> list[Path]:
    """Those of all worktrees that git knows."""
    return sorted((git_dir(model) / "worktrees").glob("*"))


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
