"""The models of a store as git repositories: references read and changed, history, what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hyprstream_core.repo import branches, journal, rename, resolve, tags
from hyprstream_core.repo.branches import Branch
from hyprstream_core.repo.files import status, worktrees
from hyprstream_core.repo.files.status import WorktreeStatus
from hyprstream_core.repo.git.git_config import read_tracking
from hyprstream_core.repo.git.gitdir import open_git, read_refs
from hyprstream_core.repo.git.history import History, LogEntry, decorations
from hyprstream_core.repo.git.reference_store import HEADS, TAGS, bare_name
from hyprstream_core.repo.identity import Identity
from hyprstream_core.repo.records import Model, Resolved
from hyprstream_core.repo.refs import ModelRef, check_branch, check_name, check_ref
from hyprstream_core.repo.registry import Registry
from hyprstream_core.repo.tags import Tag
from hyprstream_core.repo.workspace import Workspace

_NOBODY = Identity("hyprstream", "hyprstream@localhost")


class Models:
    """The part of :class:`hyprstream_core.repo.store.Store` that moves no files and asks no remote, but for the files
    of a branch that is renamed."""

    def __init__(self, space: Workspace, registry: Registry) -> None:
        self._space = space
        self._registry = registry

    def registered(self) -> list[Model]:
        """Every model, with or without worktrees, ordered by name. None is seen half-changed."""
        self._space.settle()
        return list(self._registry.models().values())

    def model(self, name: str) -> Model:
        """The model called ``name``, looked up without regard to case.

        Raises:
            RefError: ``name`` cannot name a model.
            ModelNotFound: there is none.
        """
        self._space.settle()
        return self._registry.get(check_name(name))

    def resolve(self, reference: str) -> Resolved:
        """The one commit that ``name[:ref]`` stands for.

        Raises:
            RefError: bad syntax, or several candidates (code ``ref.ambiguous``, ``details["candidates"]``).
            ModelNotFound: no such model, branch, tag or commit.
        """
        parsed = ModelRef.parse(reference)
        return resolve.resolve(self._registry.get(parsed.name), parsed.ref)

    def commit(self, name: str, oid: str) -> Resolved:
        """The commit with this full id, whatever branch or tag may be named like it.

        Raises:
            ModelNotFound: no such model or commit.
        """
        model = self.model(name)
        model.commit_time(oid)
        return Resolved(model, None, "commit", oid)

    def default_branch(self, name: str) -> str:
        """The branch that a model's bare name stands for.

        Raises:
            ModelNotFound: there is none of that name.
        """
        model = self.model(name)
        return bare_name(resolve.default_ref(model, read_refs(model.git_dir)))

    def branches(self, name: str, which: branches.Which = "local") -> list[Branch]:
        """The branches of a model, with what they track and where they are checked out.

        Raises:
            ModelNotFound: there is none of that name.
        """
        return branches.list_branches(self.model(name), which)

    def create_branch(self, name: str, branch: str, start: str | None = None) -> Resolved:
        """Make a branch at ``start`` (None: the default branch); at a branch of the remote it tracks that.

        Raises:
            RefError: the name is not allowed, or ``start`` is ambiguous.
            ModelNotFound: no such model, or no such ``start``.
            Conflict: it exists, or cannot exist beside another (code ``ref.exists``).
        """
        model = self.model(name)
        check_branch(branch)
        with self._space.stage() as stage, self._space.changing(model, stage) as refs:
            origin = resolve.resolve(model, start)
            branches.create_branch(refs, branch, origin)
        return Resolved(model, HEADS + branch, "branch", origin.commit)

    def delete_branches(self, name: str, names: Sequence[str], *, force: bool = False) -> dict[str, str]:
        """Delete local branches, all or none; name → the commit that each was at.

        Raises:
            ModelNotFound: no such model or branch.
            Conflict: one is checked out (``ref.checked_out``), or has commits that neither what it tracks nor the
                default branch has (``ref.unmerged``), unless ``force``.
        """
        model = self.model(name)
        with self._space.stage() as stage, self._space.changing(model, stage) as refs:
            return branches.delete_branches(model, refs, list(map(check_ref, names)), force=force)

    def rename_branch(self, name: str, old: str, new: str) -> None:
        """Rename a local branch with its worktree, upstream and log, in one step.

        Raises:
            RefError: the new name is not allowed.
            ModelNotFound: no such model or branch.
            Conflict: the new name is taken, or there are files where the worktree would be.
        """
        model = self.model(name)
        check_branch(new)
        with self._space.stage() as stage, self._space.changing(model, stage) as refs:
            plan = rename.plan_rename(model, refs, check_ref(old), new)
            journal.commit(self._space.layout, refs, journal.Journal(model.name, rename=plan))

    def tags(self, name: str) -> list[Tag]:
        """The tags of a model."""
        return tags.list_tags(self.model(name))

    def create_tag(
        self,
        name: str,
        tag: str,
        ref: str | None = None,
        *,
        message: str | None = None,
        tagger: Identity | None = None,
        force: bool = False,
    ) -> Resolved:
        """Tag the commit ``ref`` (None: the default branch's), annotated when there is a ``message``, by ``tagger``.

        Raises:
            RefError: the name is not allowed, or ``ref`` is ambiguous.
            ModelNotFound: no such model, or no such ``ref``.
            Conflict: the tag exists, unless ``force``.
        """
        model = self.model(name)
        check_branch(tag, "tag")
        with self._space.stage() as stage, self._space.changing(model, stage) as refs:
            target = resolve.resolve(model, ref)
            tags.create_tag(refs, tag, target, message, tagger or _NOBODY, force=force)
        return Resolved(model, TAGS + tag, "tag", target.commit)

    def delete_tags(self, name: str, names: Sequence[str]) -> dict[str, str]:
        """Delete tags, all or none; name → the id that each held.

        Raises:
            ModelNotFound: no such model or tag.
        """
        model = self.model(name)
        with self._space.stage() as stage, self._space.changing(model, stage) as refs:
            return tags.delete_tags(model, refs, list(map(check_ref, names)))

    def log(self, reference: str) -> Iterator[LogEntry]:
        """The commits of ``name[:ref]``, the latest first, in the order of ``git log``; read as they are asked for.

        Raises:
            RefError, ModelNotFound: as for :meth:`resolve`.
            BadObject: a commit is missing or damaged.
        """
        start = self.resolve(reference)
        with open_git(start.model.git_dir) as git:
            decorated = decorations(git, git.refs())
            for commit in History(git).walk(start.commit):
                yield LogEntry(commit, decorated.get(commit.oid, ()))

    def status(self, name: str, branch: str | None = None) -> list[WorktreeStatus]:
        """What differs in the worktree of ``branch``, or in each of the model's.

        Raises:
            ModelNotFound: no such model, or the branch is not checked out.
        """
        model = self.model(name)
        trees = model.worktrees() if branch is None else [worktrees.find(model, branch)]
        tracking = read_tracking(model.git_dir)
        with open_git(model.git_dir) as git:
            refs, history = git.refs(), History(git)
            return [
                WorktreeStatus(
                    tree,
                    status.head_name(tree),
                    status.head_commit(tree),
                    branches.upstream_of(history, refs, HEADS + tree.branch, tracking.get(tree.branch)),
                    status.changes(self._space, tree, worktrees.index_of(self._space, tree)),
                )
                for tree in trees
            ]
