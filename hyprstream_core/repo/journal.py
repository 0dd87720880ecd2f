"""The journal: a change of a model that has been decided, and is carried out to the end whoever dies on the way.

    .staging/<id>/journal.json   what is to be done; its appearance is the moment of decision
                 /files/<n>      new files of the worktree, complete and synced
                 /index          git's index of the worktree afterwards
                 /incoming.git   new git objects, in packs with their indexes

Whoever decided it carries it out, under the model's lock. When that process dies, whoever takes the model's lock
next carries it out first: :func:`settle`. Every step may find itself done. The order is: objects, ``shallow``, files
(deletions, then new ones), index, references, a branch's new name; the journal goes last, after everything was synced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from hyprstream_core.errors import BadObject, RefError
from hyprstream_core.repo.disk.confined import Confined
from hyprstream_core.repo.disk.durable import move, replace, sync, write_new
from hyprstream_core.repo.git.gitdir import read_refs
from hyprstream_core.repo.git.reference_store import References, RefSwap
from hyprstream_core.repo.git.shallow import write_shallow
from hyprstream_core.repo.layout import Layout, git_dir
from hyprstream_core.repo.refs import check_name
from hyprstream_core.repo.rename import Rename, carry_out_rename

NAME = "journal.json"
INCOMING = "incoming.git"
_DELETED = "deleted"
_MAX_BYTES = 2**30


class TreeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of a worktree's files. All paths are relative to it."""

    folder: str
    """The worktree, relative to the model's folder."""
    branch: str
    """The full name of the branch that it shows, which must be one of the journal's references."""
    index: str
    """git's index of it, relative to the model's repository."""
    delete: list[str]
    """Files that go."""
    drop: list[str]
    """Folders of submodules that go, when they are empty."""
    folders: list[str]
    """Folders of submodules that come."""
    files: list[str]
    """Files that come or change; number n is ``files/<n>`` in the staging folder."""


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of one model."""

    model: str
    refs: dict[str, RefSwap] = {}
    packs: list[str] = []
    """Names of packs in ``incoming.git``, without ending."""
    shallow: list[str] | None = None
    """The commits without parents afterwards; None: as before."""
    tree: TreeChange | None = None
    rename: Rename | None = None
    version: Literal[1] = 1


def commit(layout: Layout, refs: References, journal: Journal) -> list[str]:
    """Decide and carry out ``journal``, whose files are ready in the staging folder ``refs.scratch``; the caller holds
    the model's lock. Stock git changes none of the references meanwhile.

    Returns:
        Paths of files that could not be put in place, since something that was not there before is in the way.

    Raises:
        Conflict: a reference is not as expected, or cannot be (:meth:`References.require`); nothing was done then.
    """
    data = msgspec.json.encode(journal)
    if len(data) > _MAX_BYTES:
        raise BadObject(f"the change takes a journal of {len(data):,} bytes, at most {_MAX_BYTES:,} are possible")
    with refs.holding(journal.refs):
        refs.require(journal.refs)
        replace(refs.scratch / NAME, data, refs.scratch)
        sync(refs.scratch.parent)
        obstructed = _carry_out(layout, refs, journal)
    _finish(refs.scratch)
    return obstructed


def is_pending(stage: Path) -> bool:
    """Whether a staging folder holds a change that is decided and not finished."""
    return (stage / NAME).exists()


def pending(layout: Layout) -> list[tuple[Path, str]]:
    """The staging folders with unfinished changes, and the model that each changes.

    Raises:
        BadObject: a journal is damaged.
    """
    if not layout.staging.is_dir():
        return []
    found = [(stage, _read(stage)) for stage in sorted(layout.staging.iterdir()) if is_pending(stage)]
    return [(stage, journal.model) for stage, journal in found if journal is not None]


def settle(layout: Layout, name: str, timeout: float) -> None:
    """Finish the changes of model ``name`` whose owners died or failed; the caller holds the model's lock.
    ``timeout`` is how many seconds to wait for stock git.

    Raises:
        BadObject: a journal is damaged.
        Conflict, OSError: it cannot be finished now; the next call tries again.
    """
    for stage, model in pending(layout):
        if model == name and (journal := _read(stage)) is not None:
            repository = git_dir(layout.model(name))
            if repository.is_dir():
                refs = References(repository, stage, timeout)
                with refs.holding(journal.refs):
                    _carry_out(layout, refs, journal)
            _finish(stage)


def _read(stage: Path) -> Journal | None:
    try:
        with (stage / NAME).open("rb") as file:
            journal = msgspec.json.decode(file.read(_MAX_BYTES), type=Journal)
        if check_name(journal.model) != journal.model:
            raise RefError(f"{journal.model!r} is not normalised")
    except FileNotFoundError:
        return None  # finished meanwhile
    except (msgspec.MsgspecError, RefError) as error:
        raise BadObject(
            f"the journal of an unfinished change is damaged: {stage / NAME}: {error}",
            remedy="remove that file; git status in the model's worktrees shows what is then half-done",
        ) from error
    return journal


def _carry_out(layout: Layout, refs: References, journal: Journal) -> list[str]:
    model, stage, git = layout.model(journal.model), refs.scratch, refs.git_dir
    obstructed: list[str] = []
    if _still_valid(git, journal):
        for name in journal.packs:
            _move_pack(stage / INCOMING / "objects/pack", git / "objects/pack", name)
        if journal.shallow is not None:
            write_shallow(git, journal.shallow, stage)
        if journal.tree is not None:
            obstructed = _change_files(model, stage, journal.tree)
            _replace_index(stage / "index", git / journal.tree.index)
        refs.apply(journal.refs)
        if journal.rename is not None:
            carry_out_rename(model, refs, journal.rename)
    return obstructed


def _finish(stage: Path) -> None:
    """Nothing is left to do, and no lock to break: whoever dies before this has it done again."""
    (stage / NAME).unlink()
    sync(stage)


def _still_valid(git: Path, journal: Journal) -> bool:
    """Not when somebody's own git has moved the branch after a crash: the files that it made must stay."""
    if journal.tree is None:
        return True
    old, new = journal.refs[journal.tree.branch]
    return read_refs(git).get(journal.tree.branch) in (old, new)


def _move_pack(source: Path, target: Path, name: str) -> None:
    """The pack first: git knows a pack by its index, which must never be alone."""
    if (target / f"{name}.idx").exists():
        return  # the same objects are there already
    for ending in (".pack", ".idx"):
        if (source / f"{name}{ending}").exists():
            move(source / f"{name}{ending}", target / f"{name}{ending}")


def _change_files(model: Path, stage: Path, change: TreeChange) -> list[str]:
    try:
        opened = Confined(model, change.folder)
    except (FileNotFoundError, NotADirectoryError):
        return change.files  # somebody has deleted the worktree
    with opened as tree:
        if not (stage / _DELETED).exists():
            # NOTE: never again once new files are in place: on a file system that ignores case, a deletion of
            # "Readme" would then hit the new "README".
            for path in change.delete:
                tree.delete(path)
            for path in change.drop:
                tree.remove_folder(path)
            for path in dict.fromkeys(p.rpartition("/")[0] for p in change.delete):
                tree.remove_folder(path)
            tree.sync()
            write_new(stage / _DELETED, b"")
            sync(stage)
        obstructed = [path for path in change.folders if not tree.make_folder(path)]
        for number, path in enumerate(change.files):
            source = stage / "files" / str(number)
            if source.exists() and not tree.place(source, path):
                obstructed.append(path)
        tree.sync()
    return obstructed


def _replace_index(staged: Path, index: Path) -> None:
    if staged.exists():
        staged.replace(index)
        sync(index.parent)
