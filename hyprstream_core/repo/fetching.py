"""Fetch: what the remote has now, into a repository that is there already.

The network knows no lock: objects come into a repository of their own in the staging folder, which borrows what is
there (git's ``alternates``). They are checked there. Then, under the model's lock and by a journal, packs and
references appear together. A reference that somebody else has changed meanwhile starts the fetch anew.

    refs/heads/x  →  refs/remotes/origin/x          follows the remote, also backwards
    refs/tags/x   →  refs/tags/x                    stays where it was, unless forced
    refs/hyprstream/rewound/x                       where origin/x was before the remote took commits back; gone when
                                                    the remote has them again, or somebody followed it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hyprstream_core.errors import BadObject, Conflict
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo import journal
from hyprstream_core.repo.disk.durable import sync_tree, write_new
from hyprstream_core.repo.git.gitdir import GitDir, open_git, read_refs
from hyprstream_core.repo.git.haves import Haves
from hyprstream_core.repo.git.history import History
from hyprstream_core.repo.git.reference_store import HEADS, REMOTES, TAGS, RefSwap
from hyprstream_core.repo.git.shallow import read_shallow
from hyprstream_core.repo.journal import INCOMING, Journal
from hyprstream_core.repo.records import Model, RefChange
from hyprstream_core.repo.remotes import receive
from hyprstream_core.repo.remotes.sources import connect
from hyprstream_core.repo.remotes.urls import RemoteUrl
from hyprstream_core.repo.remotes.verification import check_tips, require_history
from hyprstream_core.repo.workspace import Workspace

REWOUND = "refs/hyprstream/rewound/"
_ATTEMPTS = 5


@dataclass(frozen=True)
class Wishes:
    """How to fetch: ``depth`` commits of each branch and tag (0: all that is new), forget branches that the remote
    no longer has, replace tags."""

    depth: int = 0
    prune: bool = False
    force: bool = False


class _Overtaken(Exception):
    """Somebody else has changed the repository meanwhile."""


def fetch(space: Workspace, model: Model, url: RemoteUrl, wishes: Wishes, progress: Progress) -> list[RefChange]:
    """See :meth:`hyprstream_core.repo.store.Store.fetch`."""
    for _ in range(_ATTEMPTS):
        try:
            return _fetch(space, model, url, wishes, progress)
        except _Overtaken:
            continue
        except Conflict as error:
            if error.error_code != "ref.moved":
                raise
    raise Conflict(f"others change model {model.name!r} all the time; gave up after {_ATTEMPTS} attempts")


def _fetch(space: Workspace, model: Model, url: RemoteUrl, wishes: Wishes, progress: Progress) -> list[RefChange]:
    with space.stage() as stage:
        connection = connect(space.parts, url)
        refs, shallow = read_refs(model.git_dir), read_shallow(model.git_dir)
        incoming = stage / INCOMING
        _borrow(incoming, model.git_dir)
        with open_git(model.git_dir) as base, open_git(incoming) as git:
            reached = _Reached(base, refs, shallow)
            with closing(connection.client):
                fetched = receive.fetch(
                    connection, git, space.limits, progress, host=url.host, timeout=space.timeout,
                    owned=reached.owned(), depth=wishes.depth,
                )  # fmt: skip
            ends = _verify(space, git, fetched, reached, whole=wishes.depth == 0, progress=progress)
            after = ends | (shallow & fetched.shallow)
            history = History(git, after)
            changes = list(_compare(refs, fetched, model.default_branch, history, wishes))
            swaps = _swaps(refs, fetched, changes, history)
        if swaps or after != shallow:
            sync_tree(incoming)
            packs = sorted(path.stem for path in (incoming / "objects/pack").glob("*.idx"))
            _publish(space, model, stage, Journal(model.name, swaps, packs, sorted(after)), shallow)
    return changes


def _borrow(path: Path, lender: Path) -> None:
    """Make a repository for what comes, in which everything that ``lender`` has is there already."""
    for folder in ("objects/info", "objects/pack"):
        (path / folder).mkdir(parents=True)
    write_new(path / "objects/info/alternates", f"{lender / 'objects'}\n".encode())


class _Reached:
    """The commits that the references reach, and so are there with all they need. Looked for when first asked."""

    def __init__(self, base: GitDir, refs: Mapping[str, str], shallow: frozenset[str]) -> None:
        self._base = base
        self._refs = {name: oid for name, oid in refs.items() if name.startswith((HEADS, REMOTES, TAGS))}
        self._shallow = shallow
        self._history = History(base, shallow)
        self._tips = frozenset(_commits(base, self._refs.values()))
        self._all: frozenset[str] | None = None

    def owned(self) -> receive.Owned:
        """What to tell the remote."""
        return receive.Owned(
            frozenset(self._refs.values()), Haves(self._history, sorted(self._tips), sorted(self._shallow))
        )

    def __contains__(self, oid: object) -> bool:
        if oid in self._tips:
            return True
        if not isinstance(oid, str) or oid not in self._base:
            return False
        if self._all is None:
            self._all = frozenset(self._history.reach(self._tips))
        return oid in self._all

    def names(self, oid: str) -> bool:
        """Whether a reference holds ``oid`` itself."""
        return oid in self._refs.values()


def _commits(git: GitDir, oids: Iterable[str]) -> Iterator[str]:
    for oid in set(oids):
        try:
            kind, peeled = git.peel(oid)
        except BadObject:
            continue  # damage of ours is no reason to refuse what may mend it
        if kind == "commit":
            yield peeled


def _verify(
    space: Workspace, git: GitDir, fetched: receive.Fetched, reached: _Reached, *, whole: bool, progress: Progress
) -> frozenset[str]:
    """Check what is new; with another depth, ``whole`` is not what is there, and all is checked."""
    heads, tags = (
        {name: oid for name, oid in refs.items() if not (whole and reached.names(oid))}
        for refs in (fetched.heads, fetched.tags)
    )
    tips = check_tips(git, space.limits, heads, tags)
    return require_history(git, tips, progress, whole=reached if whole else (), shallow=fetched.shallow)


def _compare(
    refs: Mapping[str, str], fetched: receive.Fetched, default: str, history: History, wishes: Wishes
) -> Iterator[RefChange]:
    """What is different on the remote."""
    for name, oid in sorted(fetched.heads.items()):
        old = refs.get(REMOTES + name)
        if old is None:
            yield RefChange(REMOTES + name, "new", None, oid)
        elif old != oid:
            yield RefChange(REMOTES + name, "updated", old, oid, forced=not history.is_ancestor(old, oid))
    for name, oid in sorted(fetched.tags.items()):
        old = refs.get(TAGS + name)
        if old is None:
            yield RefChange(TAGS + name, "new", None, oid)
        elif old != oid:
            yield RefChange(TAGS + name, "updated" if wishes.force else "kept", old, oid, forced=wishes.force)
    for ref, old in sorted(refs.items()):
        if ref.startswith(REMOTES) and ref.isprintable() and ref.removeprefix(REMOTES) not in fetched.heads:
            yield RefChange(ref, "pruned" if wishes.prune else "deleted", old, None)
    if fetched.default not in (None, default) and (fetched.is_default_named or default not in fetched.heads):
        yield RefChange("HEAD", "default", default, fetched.default)


def _swaps(
    refs: Mapping[str, str], fetched: receive.Fetched, changes: Iterable[RefChange], history: History
) -> dict[str, RefSwap]:
    """The references to change, with those that remember what a remote took back."""
    swaps: dict[str, RefSwap] = {}
    for change in changes:
        if change.kind in ("new", "updated", "pruned"):
            swaps[change.ref] = (change.old, change.new)
        note = REWOUND + change.ref.removeprefix(REMOTES)
        if change.ref.startswith(REMOTES) and change.forced and note not in refs:
            swaps[note] = (None, change.old)
        if change.kind == "pruned" and note in refs:
            swaps[note] = (refs[note], None)
    for note, old in refs.items():
        head = fetched.heads.get(note.removeprefix(REWOUND)) if note.startswith(REWOUND) else None
        if head is not None and history.is_ancestor(old, head):
            swaps[note] = (old, None)
    return swaps


def _publish(space: Workspace, model: Model, stage: Path, planned: Journal, shallow: frozenset[str]) -> None:
    """Let everything appear, unless somebody was faster.

    Raises:
        _Overtaken: the repository is no longer as it was when the remote was asked.
        Conflict: the same of a reference (``ref.moved``), or a new one cannot stand beside another (``ref.exists``).
    """
    with space.changing(model, stage) as refs:
        current, now = refs.read(), read_shallow(model.git_dir)
        swaps = {name: swap for name, swap in planned.refs.items() if current.get(name) != swap[1]}
        if now not in (shallow, frozenset(planned.shallow or ())):
            raise _Overtaken
        if swaps or now != frozenset(planned.shallow or ()):
            journal.commit(space.layout, refs, Journal(model.name, swaps, planned.packs, planned.shallow))
