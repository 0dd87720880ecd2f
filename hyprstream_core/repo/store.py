"""The store: the face that commands and services talk to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from hyprstream_core.errors import BadObject, Conflict, RefError
from hyprstream_core.interfaces.storage import Progress, RemoteSource
from hyprstream_core.repo import clone as cloning
from hyprstream_core.repo import fetching, pulling, removal, resolve, staging
from hyprstream_core.repo.files import content, views, worktrees
from hyprstream_core.repo.files.measure import Measure, Measured, measured
from hyprstream_core.repo.git.gitdir import lfs_url as recorded_lfs_url
from hyprstream_core.repo.layout import Layout
from hyprstream_core.repo.models import Models
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.records import Model, Pulled, RefChange, Resolved, Worktree, WorktreeInfo
from hyprstream_core.repo.refs import check_branch, check_name, check_ref, default_name
from hyprstream_core.repo.registry import Registry
from hyprstream_core.repo.remotes.hub import located
from hyprstream_core.repo.remotes.sources import connect, content_source, parse_lfs_url
from hyprstream_core.repo.remotes.urls import RemoteUrl, parse_url
from hyprstream_core.repo.workspace import Workspace
from hyprstream_core.telemetry import logger

ORIGIN = "origin"
"""The remote that a model was cloned from; there is no other."""


def _silent(phase: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""


def _nothing() -> None:
    """Nobody wants to know that a clone is about to be published."""


class Store(Models):
    """All models below one folder. Safe to use from several processes at once; holds no open files."""

    def __init__(
        self,
        root: Path,
        parts: Parts,
        *,
        driver: str = "auto",
        lock_timeout: float = 30.0,
    ) -> None:
        """``driver`` names how worktrees are filled; ``lock_timeout`` is seconds to wait for another writer."""
        space = Workspace(Layout(root.absolute()), parts, driver, lock_timeout)
        super().__init__(space, Registry(space.layout, space.limits, lock_timeout))

    def clone(
        self,
        url: str,
        name: str | None = None,
        branch: str | None = None,
        lfs_url: str | None = None,
        depth: int | None = None,
        progress: Progress | None = None,
        publishing: Callable[[], None] | None = None,
    ) -> Model:
        """Fetch ``url``'s repository with all branches and tags, and check out ``branch`` (the remote's default).

        ``lfs_url`` is the LFS endpoint of its large files, when it is not the one that belongs to ``url``; later
        fetches use it too. User and password in either URL are used for this clone and not recorded.
        ``depth`` is the number of commits to fetch of each branch and tag, 0 the whole history, None what the
        setting ``clone.depth`` says.
        Nothing is listed before everything is there and verified; a clone that fails leaves nothing but
        what has arrived of large files, where the next one continues.
        ``publishing`` is called when only making it visible is left, which takes a moment: what it raises, or what
        was raised before, still undoes everything; a caller that wants one truth keeps interrupts away from then on.

        Raises:
            RefError: the name is not allowed, or the branch does not exist.
            Conflict: a model of that name exists.
            UnsafeTree: a tree would write where it must not, or is too large.
            BadObject: content does not match its id or size.
            RemoteError: the URL cannot be used, or the remote failed.
            DiskFull: there is not enough space.
        """
        address = parse_url(url)
        chosen = check_name(name) if name is not None else default_name(address.named)
        lfs = parse_lfs_url(lfs_url) if lfs_url is not None else None
        if branch is not None:
            check_ref(branch)
        self._sweep()
        self._registry.require_free(chosen)
        return cloning.clone(
            self._space, self._registry, address, chosen, branch, lfs,
            self._space.parts.access.clone.depth if depth is None else depth,
            progress or _silent, publishing or _nothing,
        )  # fmt: skip

    def fetch(
        self,
        name: str,
        remote: str = ORIGIN,
        *,
        depth: int = 0,
        prune: bool = False,
        force: bool = False,
        progress: Progress | None = None,
    ) -> list[RefChange]:
        """Bring what is remembered of the remote's branches, and the tags, up to date; no branch or file changes.

        ``depth`` cuts all histories after so many commits, or lengthens them to as many
        (:data:`~hyprstream_core.repo.git.shallow.FULL_DEPTH`: to the whole); 0 leaves them as long as they are.
        Branches that the remote no longer has are forgotten with ``prune``; tags that moved there are replaced with
        ``force``.

        Returns:
            What has changed on the remote.

        Raises:
            ModelNotFound: no such model.
            RefError: no such remote.
            UnsafeTree, BadObject, RemoteError, DiskFull: as for :meth:`clone`; then nothing has changed.
            Conflict: new references cannot stand beside old ones (``ref.exists``).
        """
        model = self.model(name)
        wishes = fetching.Wishes(depth, prune, force)
        self._sweep()
        return fetching.fetch(self._space, model, self._remote(model, remote), wishes, progress or _silent)

    def pull(
        self,
        name: str,
        branch: str | None = None,
        remote: str = ORIGIN,
        remote_branch: str | None = None,
        *,
        force: bool = False,
        progress: Progress | None = None,
        publishing: Callable[[], None] | None = None,
    ) -> Pulled:
        """:meth:`fetch`, then move ``branch`` (the default branch), and the files of its worktree, forward to the
        remote's branch that it tracks (or ``remote_branch``). What is served meanwhile is not disturbed.

        With ``force`` it also follows a remote that took commits back, when the branch has none of its own.
        ``publishing`` is as for :meth:`clone`.

        Raises:
            ModelNotFound: no such model or branch.
            RefError: no such remote, or the branch tracks none of its branches (``ref.no_upstream``).
            Conflict: it is no fast-forward (``repo.diverged``), tracked files were changed (``repo.dirty``), or
                untracked ones are in the way (``repo.untracked``).
            RemoteError: the remote took commits back (``remote.rewound``), or failed.
            UnsafeTree, BadObject, DiskFull: as for :meth:`clone`.
        """
        model = self.model(name)
        chosen = check_ref(branch or self.default_branch(name))
        self._sweep()
        return pulling.pull(
            self._space, model, self._remote(model, remote), chosen, remote_branch and check_ref(remote_branch),
            force=force, source=partial(self._source, model), progress=progress or _silent,
            publishing=publishing or _nothing,
        )  # fmt: skip

    def _remote(self, model: Model, remote: str) -> RemoteUrl:
        if remote != ORIGIN:
            raise RefError(
                f"model {model.name!r} has no remote {remote!r}, only {ORIGIN!r}", code="remote.unknown", param="remote"
            )
        return located(parse_url(model.url), self._space.parts.access.hub)

    def models(self) -> list[Worktree]:
        """One entry per branch worktree of every model, ordered by name and branch."""
        return [worktree for model in self.registered() for worktree in model.worktrees()]

    def snapshot(self, resolved: Resolved, progress: Progress | None = None) -> Path:
        """A folder with the read-only files of exactly ``resolved.commit``; made once, shared by everybody.

        Large files that are not in the store yet are fetched from the model's remote.

        Raises:
            UnsafeTree, BadObject, RemoteError, DiskFull: as for :meth:`clone`.
        """
        if found := views.existing(self._space, resolved):
            return found
        self._sweep()
        return views.make(self._space, resolved, partial(self._source, resolved.model), progress or _silent)

    def add_worktree(
        self, name: str, branch: str, progress: Progress | None = None, *, start: str | None = None
    ) -> Worktree:
        """Check out another branch; a branch that only the remote has becomes a local one that tracks it.

        With ``start``, a reference ("" is the default branch), the branch is a new one that starts there.

        Raises:
            RefError: the name is not allowed.
            ModelNotFound: no such model or branch.
            Conflict: it is already checked out, or, with ``start``, it exists.
        """
        model = self.model(name)
        self._sweep()
        check_ref(branch) if start is None else check_branch(branch)
        origin = None if start is None else resolve.resolve(model, start or None)
        return worktrees.add(self._space, model, branch, origin, partial(self._source, model), progress or _silent)

    def worktree_info(self, name: str, branch: str) -> WorktreeInfo:
        """The worktree of ``branch``, measured.

        Raises:
            ModelNotFound: no such model, or the branch is not checked out.
        """
        found = worktrees.find(self.model(name), branch)
        return Measure(self._space, self.models()).measure(found)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Delete a model with everything of it, and the large files that no other model uses.

        Raises:
            ModelNotFound: there is none.
            Conflict: a worktree has uncommitted changes (code ``repo.dirty``), unless ``force``.
        """
        model = self.model(name)
        self._sweep()
        if not force:
            for worktree in model.worktrees():
                worktrees.require_clean(self._space, worktree)
        cloning.remove(self._space, self._registry, model)
        self._collect()

    def _collect(self) -> None:
        """Delete content that nothing needs. What keeps it from being done is no failure: the next removal will."""
        try:
            content.collect(self._space, lambda: [m.git_dir for m in self.registered()])
        except Conflict:
            pass  # somebody is using content
        except BadObject as error:
            logger(__name__).warning("unneeded large files were not deleted", error=str(error))

    def remove_worktree(self, name: str, branch: str, *, force: bool = False) -> None:
        """Delete the files of one branch; the branch itself stays.

        Raises:
            ModelNotFound: no such model, or the branch is not checked out.
            Conflict: it has uncommitted changes (code ``repo.dirty``), unless ``force``; or it is the model's last
                worktree (code ``repo.last_worktree``).
        """
        worktrees.remove(self._space, worktrees.find(self.model(name), branch), force=force)

    def measured(self) -> list[Measured]:
        """Every worktree with its size, and every model without one, by name and branch. Each index is read once;
        what is wrong with one is said of it, and keeps no other from being measured."""
        return list(measured(self._space, self.registered()))

    def worktrees(self, name: str) -> list[Worktree]:
        """The worktrees of one model, ordered by branch.

        Raises:
            ModelNotFound: there is none of that name.
        """
        return self.model(name).worktrees()

    def removal(self, name: str, branch: str | None = None) -> removal.Removal:
        """What :meth:`remove`, or with ``branch`` :meth:`remove_worktree`, would delete and free.

        Raises:
            ModelNotFound: no such model, or the branch is not checked out.
        """
        model = self.model(name)
        if branch is not None:
            return removal.plan_worktree(self._space, worktrees.find(model, branch))
        return removal.plan_model(self._space, model, [m for m in self.registered() if m.name != model.name])

    def _source(self, model: Model) -> RemoteSource:
        """Where the large files of a model come from."""
        access, recorded = self._space.parts.access, recorded_lfs_url(model.git_dir)
        address = located(parse_url(model.url), access.hub)
        lfs = parse_lfs_url(recorded) if recorded else None
        return content_source(access, address, connect(self._space.parts, address), lfs)

    def _sweep(self) -> None:
        """Clear up after commands that were killed."""
        abandon = partial(cloning.abandon, self._space, self._registry)
        staging.sweep(self._space.layout.staging, abandon, self._space.finish)
