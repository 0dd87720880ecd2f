"""Branches of a model: listed with what they track, made, deleted, and how far each is from its upstream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyprstream_core.errors import Conflict
from hyprstream_core.repo.files.worktree_admin import checked_out
from hyprstream_core.repo.files.worktrees import make_branch, tracking_of
from hyprstream_core.repo.git.git_config import Tracking, forget_branch, read_tracking
from hyprstream_core.repo.git.gitdir import open_git
from hyprstream_core.repo.git.history import History
from hyprstream_core.repo.git.reference_store import HEADS, References, short_name
from hyprstream_core.repo.records import Model, Resolved
from hyprstream_core.repo.resolve import default_ref, head_branch, unknown

Which = Literal["local", "remote", "all"]
"""Branches of this repository, of its remotes as they were last fetched, or both."""
_REMOTES = "refs/remotes/"


@dataclass(frozen=True)
class Upstream:
    """What a branch tracks, and how many commits each has that the other lacks (None: it is gone)."""

    ref: str
    """Its full name here, such as ``refs/remotes/origin/main``."""
    ahead: int | None
    behind: int | None


@dataclass(frozen=True)
class Branch:
    """A branch, with what a list of them shows."""

    name: str
    """``main``, or ``origin/main`` for one of a remote."""
    ref: str
    commit: str
    subject: str
    """The first line of the commit's message."""
    worktree: Path | None
    upstream: Upstream | None


def list_branches(model: Model, which: Which) -> list[Branch]:
    """The model's branches, local ones first, each kind by name."""
    places, tracking = checked_out(model.path), read_tracking(model.git_dir)
    with open_git(model.git_dir) as git:
        refs, history = git.refs(), History(git)
        found = []
        for ref in _listed(refs, which):
            name = short_name(ref)
            local = ref.startswith(HEADS)
            upstream = upstream_of(history, refs, ref, tracking.get(name)) if local else None
            place = places.get(name) if local else None
            found.append(Branch(name, ref, refs[ref], history.read(refs[ref]).subject, place, upstream))
    return found


def _listed(refs: Mapping[str, str], which: Which) -> list[str]:
    local = sorted(ref for ref in refs if ref.startswith(HEADS))
    remote = sorted(ref for ref in refs if ref.startswith(_REMOTES))
    return {"local": local, "remote": remote, "all": local + remote}[which]


def upstream_of(history: History, refs: Mapping[str, str], ref: str, tracking: Tracking | None) -> Upstream | None:
    """What the branch ``ref`` tracks, and how far it is from that."""
    if tracking is None:
        return None
    if tracking.ref not in refs:
        return Upstream(tracking.ref, None, None)
    return Upstream(tracking.ref, *history.apart(refs[ref], [refs[tracking.ref]]))


def create_branch(refs: References, name: str, start: Resolved) -> None:
    """Make a branch; one that starts at a branch of the remote tracks it.

    Raises:
        Conflict: it exists, or cannot exist beside another.
    """
    make_branch(refs, name, start.commit, tracking_of(start))


def delete_branches(model: Model, refs: References, names: Sequence[str], *, force: bool) -> dict[str, str]:
    """Delete branches, all or none; name → the commit that each was at.

    Raises:
        ModelNotFound: one is not there.
        Conflict: one is checked out (``ref.checked_out``) or, without ``force``, has commits that neither what it
            tracks nor the default branch has (``ref.unmerged``).
    """
    found, places = refs.read(), checked_out(model.path)
    for name in names:
        if HEADS + name not in found:
            raise unknown(model, name, [ref for ref in found if ref.startswith(HEADS)], "local branch")
        if name in places:
            raise Conflict(
                f"branch {name!r} of model {model.name!r} is checked out in {places[name]}",
                code="ref.checked_out",
                remedy=f"hyprstream worktree remove {model.name} {name}",
                param="name",
            )
    if not force:
        _require_merged(model, found, names)
    _leave_head(refs, model, names, places)
    for name in dict.fromkeys(names):
        refs.delete(HEADS + name, found[HEADS + name])
        forget_branch(refs, name)
    return {name: found[HEADS + name] for name in names}


def _require_merged(model: Model, refs: Mapping[str, str], names: Iterable[str]) -> None:
    tracking, default = read_tracking(model.git_dir), default_ref(model, refs)
    with open_git(model.git_dir) as git:
        history = History(git)
        for name in names:
            upstream = tracking[name].ref if name in tracking else ""
            into = next((ref for ref in (upstream, default) if ref in refs and ref != HEADS + name), None)
            lacking = history.apart(refs[HEADS + name], [refs[into]] if into else [])[0]
            if lacking:
                where = f"that {short_name(into)!r} lacks" if into else "that no other branch is known to have"
                raise Conflict(
                    f"branch {name!r} has {lacking} commit{'s' if lacking > 1 else ''} {where}",
                    code="ref.unmerged",
                    remedy="push or merge it, or pass --force to lose them",
                    param="name",
                )


def _leave_head(refs: References, model: Model, names: Sequence[str], places: Mapping[str, Path]) -> None:
    """Let the repository's HEAD be at a branch that stays."""
    if head_branch(refs.git_dir) not in names:
        return
    staying = [n.removeprefix(HEADS) for n in refs.read() if n.startswith(HEADS) and n.removeprefix(HEADS) not in names]
    preferred = [model.default_branch, *places, *sorted(staying)]
    if not staying:
        raise Conflict(f"these are the last branches of model {model.name!r}", code="ref.last_branch")
    refs.set_head(next(name for name in preferred if name in staying))


def unpushed(model: Model) -> dict[str, int]:
    """Local branch → how many of its commits no branch of a remote has; those without any are left out."""
    found = {}
    with open_git(model.git_dir) as git:
        refs, history = git.refs(), History(git)
        remote = [oid for name, oid in refs.items() if name.startswith(_REMOTES)]
        for ref in _listed(refs, "local"):
            if ahead := history.apart(refs[ref], remote)[0]:
                found[short_name(ref)] = ahead
    return found
