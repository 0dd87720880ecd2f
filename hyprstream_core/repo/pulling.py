"""Pull: fetch, then let a branch follow the remote's, fast-forward only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hyprstream_core.errors import Conflict, ModelNotFound, RefError, RemoteError
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo.fetching import REWOUND, Wishes, fetch
from hyprstream_core.repo.files import update, worktrees
from hyprstream_core.repo.files.content import Source
from hyprstream_core.repo.git.git_config import read_tracking
from hyprstream_core.repo.git.gitdir import open_git, read_refs
from hyprstream_core.repo.git.history import History
from hyprstream_core.repo.git.reference_store import HEADS, REMOTES, RefSwap, moved
from hyprstream_core.repo.records import Model, Pulled, RefChange
from hyprstream_core.repo.refs import check_ref
from hyprstream_core.repo.remotes.urls import RemoteUrl
from hyprstream_core.repo.workspace import Workspace


@dataclass(frozen=True)
class _Course:
    """Where a branch is and where it is to be; ``note`` is what it is then no longer necessary to remember."""

    old: str
    new: str
    note: RefSwap | None = None


def pull(
    space: Workspace,
    model: Model,
    url: RemoteUrl,
    branch: str,
    remote_branch: str | None,
    *,
    force: bool,
    source: Source,
    progress: Progress,
    publishing: Callable[[], None],
) -> Pulled:
    """See :meth:`hyprstream_core.repo.store.Store.pull`."""
    remote_branch = remote_branch or _upstream(model, branch)
    changes = fetch(space, model, url, Wishes(), progress)
    course = _course(model, branch, remote_branch, changes, force=force)
    found = next((w for w in worktrees.list_worktrees(model) if w.branch == branch), None)
    notes = {REWOUND + remote_branch: course.note} if course.note else {}
    files = 0
    if found is not None and found.oid != course.old:
        raise moved(HEADS + branch, found.oid, course.old)
    if course.new != course.old and found is not None:
        files = update.advance(
            space, found, course.new, source=source, progress=progress, refs=notes, publishing=publishing
        )
    elif course.new != course.old or notes:
        with space.stage() as stage, space.changing(model, stage) as references:
            references.swap({HEADS + branch: (course.old, course.new), **notes})
    path = found.path if found else None
    return Pulled(model, branch, remote_branch, course.old, course.new, files, path, tuple(changes))


def _upstream(model: Model, branch: str) -> str:
    """The remote's branch that a branch tracks, by the repository's configuration.

    Raises:
        RefError: it tracks none (``ref.no_upstream``).
    """
    tracked = read_tracking(model.git_dir).get(branch)
    if tracked is not None and tracked.ref.startswith(REMOTES) and tracked.merge.startswith(HEADS):
        return check_ref(tracked.merge.removeprefix(HEADS))
    refs = read_refs(model.git_dir)
    if HEADS + branch not in refs:
        return branch  # what is wrong with that is said when the remote was asked
    what = f"tracks {tracked.merge} of {tracked.remote!r}" if tracked else "tracks nothing"
    same = branch if REMOTES + branch in refs else model.default_branch
    raise RefError(
        f"branch {branch!r} of model {model.name!r} {what}, expected a branch of the remote",
        code="ref.no_upstream",
        remedy=f"say which of the remote's branches it is to follow, such as: hyprstream pull {model.name}:{branch}"
        f" origin {same}",
        param="branch",
    )


def _course(model: Model, branch: str, remote_branch: str, changes: Iterable[RefChange], *, force: bool) -> _Course:
    """Where the branch may go.

    Raises:
        ModelNotFound: there is no such branch, here or on the remote.
        Conflict: both have commits of their own (``repo.diverged``).
        RemoteError: the remote took commits back (``remote.rewound``).
    """
    with open_git(model.git_dir) as git:
        refs = git.refs()
        history = History(git)
        local, head = refs.get(HEADS + branch), refs.get(REMOTES + remote_branch)
        gone = any(c.ref == REMOTES + remote_branch and c.kind == "deleted" for c in changes)
        if local is None:
            raise _no_branch(model, branch, exists=REMOTES + branch in refs)
        if head is None or gone:
            raise ModelNotFound(
                f"the remote of model {model.name!r} has no branch {remote_branch!r}",
                remedy=f"it has: {', '.join(sorted(n.removeprefix(REMOTES) for n in refs if n.startswith(REMOTES)))}",
                param="branch",
            )
        trusted = refs.get(REWOUND + remote_branch)
        if trusted is not None:
            return _follow(model, history, branch, _Course(local, head, (trusted, None)), trusted, force=force)
        if history.is_ancestor(local, head):
            return _Course(local, head)
        if history.is_ancestor(head, local):
            return _Course(local, local)
        raise _diverged(model, branch, *history.apart(local, [head]))


def _follow(model: Model, history: History, branch: str, course: _Course, trusted: str, *, force: bool) -> _Course:
    """Go where the remote went, although that is not forward, when that is wished and loses nothing of ours."""
    if course.old == course.new:
        return course
    own = history.apart(course.old, [trusted, course.new])[0]
    if not force:
        follow = f"if that is meant: hyprstream pull --force {model.name}:{branch}"
        keep = f"{model.name}:{branch} has {_commits(own)} of its own, and cannot follow; put them on another branch"
        raise RemoteError(
            f"the remote has taken back commits that {model.name}:{branch} relies on: it was at {trusted[:12]} and is"
            f" at {course.new[:12]}, which does not descend from it; {model.name}:{branch} stays at {course.old[:12]}",
            code="remote.rewound",
            remedy=keep if own else follow,
            param="model",
            old=trusted,
            new=course.new,
        )
    if own:
        raise _diverged(model, branch, own, history.apart(course.old, [course.new])[1])
    return course


def _no_branch(model: Model, branch: str, *, exists: bool) -> ModelNotFound:
    if exists:
        return ModelNotFound(
            f"branch {branch!r} of model {model.name!r} is the remote's alone, and fetch keeps it up to date",
            remedy=f"hyprstream worktree add {model.name} {branch} makes one",
            param="branch",
        )
    return ModelNotFound(
        f"model {model.name!r} has no branch {branch!r}",
        remedy=f"hyprstream inspect {model.name} shows its branches",
        param="branch",
    )


def _diverged(model: Model, branch: str, ahead: int, behind: int) -> Conflict:
    return Conflict(
        f"{model.name}:{branch} and the remote's branch have gone different ways: {_commits(ahead)} of its own,"
        f" {_commits(behind)} on the remote",
        code="repo.diverged",
        remedy="only a branch without commits of its own can follow; put them on another branch",
        param="model",
        ahead=ahead,
        behind=behind,
    )


def _commits(count: int) -> str:
    return f"{count} commit" if count == 1 else f"{count} commits"
