"""Clone: fetch into a private folder, check everything, then publish in one step, the registry's commit.

.staging/<id>/repo.git, worktree, admin   fetched, verified, synced
→ <name>/<name>.git, <name>/worktrees/…   renamed, not yet listed; swept when the registry does not follow
→ registry commit                         now it exists
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from hyprstream_core.errors import RefError
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.repo import staging
from hyprstream_core.repo.disk.durable import make_folders, prune, sync, sync_tree, write_new
from hyprstream_core.repo.files import worktrees
from hyprstream_core.repo.files.worktree_admin import admin_id
from hyprstream_core.repo.git.git_config import start_tracking
from hyprstream_core.repo.git.gitdir import GitDir, create, open_git, set_head, write_packed_refs
from hyprstream_core.repo.git.reference_store import HEADS, REMOTES, TAGS
from hyprstream_core.repo.git.shallow import dump_shallow
from hyprstream_core.repo.layout import git_dir, pieces, worktree
from hyprstream_core.repo.records import Model
from hyprstream_core.repo.registry import Record, Registry, taken
from hyprstream_core.repo.remotes.hub import located
from hyprstream_core.repo.remotes.receive import Fetched, fetch
from hyprstream_core.repo.remotes.sources import connect, content_source
from hyprstream_core.repo.remotes.urls import RemoteUrl
from hyprstream_core.repo.remotes.verification import check_tips, require_history
from hyprstream_core.repo.workspace import Workspace

_SHOWN = 20
"""Branches that an error names."""


def clone(
    space: Workspace,
    registry: Registry,
    url: RemoteUrl,
    name: str,
    branch: str | None,
    lfs_url: RemoteUrl | None,
    depth: int,
    progress: Progress,
    publishing: Callable[[], None],
) -> Model:
    """See :meth:`hyprstream_core.repo.store.Store.clone`; ``name`` is normalised and was free a moment ago, and
    ``depth`` 0 is the whole history."""
    access = space.parts.access
    with space.stage() as stage, space.content_in_use():
        place = located(url, access.hub)
        connection = connect(space.parts, place)
        repository = stage / "repo.git"
        create(repository, url=url.clean, lfs=space.layout.lfs, lfs_url=lfs_url.clean if lfs_url else "")
        with open_git(repository) as git:
            with closing(connection.client):
                fetched = fetch(
                    connection, git, space.limits, progress, host=place.host, timeout=space.timeout, depth=depth
                )
            chosen = _choose(fetched, name, branch)
            tips = check_tips(git, space.limits, fetched.heads, fetched.tags)
            if ends := require_history(git, tips, progress, shallow=fetched.shallow):
                write_new(repository / "shallow", dump_shallow(ends))
            _write_refs(git, fetched, chosen)
            files, admin = worktrees.build(
                space, git, space.layout.model(name), chosen, fetched.heads[chosen],
                source=lambda: content_source(access, place, connection, lfs_url), stage=stage, progress=progress,
            )  # fmt: skip
        make_folders(repository / "worktrees")
        admin.rename(repository / "worktrees" / admin_id(chosen))
        sync_tree(repository)
        record = Record(str(uuid.uuid4()), url.clean, fetched.default or chosen, time.time())
        _publish(space, registry, name, record, stage, files, chosen, publishing)
    return registry.get(name)


def _choose(fetched: Fetched, name: str, branch: str | None) -> str:
    if branch in fetched.tags and branch not in fetched.heads:
        raise RefError(
            f"{branch!r} is a tag of the remote, expected a branch",
            remedy=f"clone without it, which fetches all tags, and then use {name}:{branch}",
            code="ref.unknown",
            param="branch",
        )
    if branch is not None and branch not in fetched.heads:
        raise RefError(
            f"the remote has no branch {branch!r}",
            remedy=f"it has: {_some(fetched.heads)}",
            code="ref.unknown",
            param="branch",
        )
    if branch is None and fetched.default is None:
        raise RefError(
            "the remote's HEAD names none of its branches, so that nobody knows its default one",
            remedy=f"choose one with -b: {_some(fetched.heads)}",
            code="ref.no_default",
            param="branch",
        )
    return branch or fetched.default or ""


def _some(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more


def _write_refs(git: GitDir, fetched: Fetched, chosen: str) -> None:
    """The chosen branch becomes local; all of the remote's are remembered as remote-tracking ones."""
    refs = {REMOTES + name: oid for name, oid in fetched.heads.items()}
    refs |= {TAGS + name: oid for name, oid in fetched.tags.items()}
    peeled = {TAGS + name: git.peel(oid)[1] for name, oid in fetched.tags.items()}
    write_packed_refs(git.path, refs, {name: oid for name, oid in peeled.items() if oid != refs[name]})
    local = git.path / (HEADS + chosen)
    local.parent.mkdir(parents=True, exist_ok=True)
    write_new(local, f"{fetched.heads[chosen]}\n".encode())
    set_head(git.path, chosen)
    start_tracking(git.path, chosen)


def _publish(
    space: Workspace,
    registry: Registry,
    name: str,
    record: Record,
    stage: Path,
    files: Path,
    branch: str,
    publishing: Callable[[], None],
) -> None:
    model = space.layout.model(name)
    staging.declare(stage, name)

    def edit(records: dict[str, Record]) -> None:
        """Runs under the registry's lock: only one of two clones gets here with the name still free."""
        if name in records:
            raise taken(name)
        publishing()
        for number, leftover in enumerate(pieces(model)):
            if leftover.exists():
                leftover.rename(stage / f"leftover-{number}")
        make_folders(worktree(model, branch).parent)
        (stage / "repo.git").rename(git_dir(model))
        files.rename(worktree(model, branch))
        sync(worktree(model, branch).parent)
        sync(model)
        records[name] = record

    try:
        registry.change(stage, f"clone {name}\n\n{record.url}", edit)
    except BaseException:
        abandon(space, registry, name)
        raise


def abandon(space: Workspace, registry: Registry, name: str) -> None:
    """Delete the files of a name that is not registered: a command that published or removed it did not finish."""
    with space.stage() as stage, registry.locked(), space.model_lock(name):
        if name in registry.models():
            return
        model = space.layout.model(name)
        for number, piece in enumerate(pieces(model)):
            if piece.exists():
                piece.rename(stage / str(number))
        prune(model, space.layout.root)


def remove(space: Workspace, registry: Registry, model: Model) -> None:
    """Delete a model: first from the registry, then its files."""
    with space.stage() as stage:
        staging.declare(stage, model.name)

        def edit(records: dict[str, Record]) -> None:
            if model.name in records and records[model.name].uuid == model.uuid:
                del records[model.name]

        registry.change(stage, f"remove {model.name}", edit)
        try:
            abandon(space, registry, model.name)
        except BaseException:
            staging.leave(stage)  # it is no longer listed; whoever sweeps next deletes its files
            raise
