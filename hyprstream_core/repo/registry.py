"""The registry: which models exist. A git repository with one file, changed by one commit at a time.

Truth is the tree of its HEAD. A change writes synced objects first and then swaps the reference, all under a
lock, so that a crash at any point leaves the old or the new; ``registry.json`` beside it is a copy for people.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, Conflict, ModelNotFound, StoreError
from hyprstream_core.repo.disk import locks
from hyprstream_core.repo.disk.durable import make_folders, replace
from hyprstream_core.repo.files.large_objects import write_loose
from hyprstream_core.repo.git import index
from hyprstream_core.repo.git.gitdir import GitDir, is_oid, open_git, read_refs
from hyprstream_core.repo.layout import Layout
from hyprstream_core.repo.records import Model

_FILE = "registry.json"
_BRANCH = "refs/heads/main"
_IGNORE = b"*.lock\n*.tmp\n*.pem\n*.key\n*.secret\nkeys/\nsecrets/\n"
_AUTHOR = b"hyprstream <hyprstream@localhost>"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model in ``registry.json``. Unknown fields of newer versions are refused, not dropped."""

    uuid: str
    url: str
    default_branch: str
    created_at: float


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    models: dict[str, Record]


class Registry:
    """The registry of one store."""

    def __init__(self, layout: Layout, limits: Limits, lock_timeout: float) -> None:
        self._layout = layout
        self._limits = limits
        self._lock_timeout = lock_timeout
        self._git = layout.registry / ".git"
        self._ref = self._git / _BRANCH

    def models(self) -> dict[str, Model]:
        """Every model by name, in order.

        Raises:
            BadObject: the registry is damaged.
        """
        head = self._head()
        if head is None:
            return {}
        with open_git(self._git) as git:
            records = self._read(git, head).models
        return {name: self._model(name, records[name]) for name in sorted(records)}

    def get(self, name: str) -> Model:
        """The model ``name``, already normalised.

        Raises:
            ModelNotFound: there is none.
        """
        models = self.models()
        if name not in models:
            raise ModelNotFound(
                f"there is no model {name!r}",
                remedy="hyprstream list shows what there is, hyprstream clone URL fetches more",
                param="model",
            )
        return models[name]

    def require_free(self, name: str) -> None:
        """Refuse a name that is taken.

        Raises:
            Conflict: it is.
        """
        if name in self.models():
            raise taken(name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody changes the registry inside the block.

        Raises:
            Conflict: somebody else holds it for too long.
        """
        with locks.hold(self._layout.lock("registry"), "the registry of models", self._lock_timeout):
            yield

    def change(self, scratch: Path, message: str, edit: Callable[[dict[str, Record]], None]) -> None:
        """Apply ``edit`` to the records, as one commit; what ``edit`` raises leaves the registry as it was.

        Raises:
            Conflict: somebody else holds the registry for too long.
        """
        with self.locked():
            self._create(scratch)
            head = self._head()
            with open_git(self._git) as git:
                records = dict(self._read(git, head).models) if head else {}
                edit(records)
                commit, entries = self._commit(git, head, records, message, scratch)
            replace(self._ref, f"{commit}\n".encode(), scratch)
            # A copy for people; the commit counts, and the next change brings the copy up to date.
            with suppress(OSError, StoreError):
                self._copy(entries, scratch)

    def _create(self, scratch: Path) -> None:
        """Make the repository; each step may find itself done by a run that was killed."""
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            make_folders(self._git / folder)
        for name, text in (
            ("config", b"[core]\n\trepositoryformatversion = 0\n\tbare = false\n"),
            ("HEAD", b"ref: refs/heads/main\n"),
        ):
            if not (self._git / name).exists():
                replace(self._git / name, text, scratch)

    def _head(self) -> str | None:
        """The registry's commit; None before the first one."""
        try:
            with self._ref.open("rb") as file:
                text = file.read(64).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return self._packed_head()
        except NotADirectoryError as error:
            raise StoreError(
                f"there can be no models in {self._layout.root}: it, or what should be a folder in it, is a file",
                code="disk.denied",
                remedy="set models_dir (--models-dir, HYPRSTREAM_MODELS_DIR) to a folder",
                param="models_dir",
            ) from error
        if not is_oid(text):
            raise BadObject(f"the registry's branch holds {text!r}, expected a commit", remedy="git fsck in .registry")
        return text

    def _packed_head(self) -> str | None:
        """The registry's commit when git has packed its branch; a registry that has been there never counts as new."""
        if (self._git / "packed-refs").exists() and (head := read_refs(self._git).get(_BRANCH)):
            return head
        if (self._layout.registry / _FILE).exists():
            raise BadObject(
                f"the registry's branch {_BRANCH} is gone, but {_FILE} is still there",
                remedy=f"look for its last commit with: git -C {self._layout.registry} fsck --lost-found",
            )
        return None

    def _tree(self, git: GitDir, head: str) -> dict[bytes, tuple[int, bytes]]:
        from dulwich.objects import Tree

        tree = Tree.from_string(git.read(git.tree_of(head), "tree")[1])
        return {e.path: (e.mode, e.sha) for e in tree.items()}

    def _read(self, git: GitDir, head: str) -> _File:
        tree = self._tree(git, head)
        if _FILE.encode() not in tree:
            raise BadObject("the registry's commit has no registry.json", remedy="git log in .registry")
        oid = tree[_FILE.encode()][1].decode("ascii")
        if git.blob_size(oid) > self._limits.json_file_bytes:
            raise BadObject(f"registry.json has more than {self._limits.json_file_bytes:,} bytes")
        try:
            return msgspec.json.decode(git.read(oid, "blob")[1], type=_File)
        except msgspec.MsgspecError as error:
            raise BadObject(f"registry.json is malformed: {error}", remedy="git log -p in .registry") from error

    def _commit(
        self, git: GitDir, head: str | None, records: dict[str, Record], message: str, scratch: Path
    ) -> tuple[str, dict[bytes, tuple[int, bytes]]]:
        from dulwich.objects import Blob, Commit, Tree

        objects = self._git / "objects"
        entries = self._tree(git, head) if head else {}
        text = msgspec.json.format(msgspec.json.encode(_File(1, dict(sorted(records.items())))), indent=2) + b"\n"
        for name, data in ((_FILE, text), (".gitignore", _IGNORE)):
            if name == _FILE or name.encode() not in entries:
                blob = Blob.from_string(data)
                entries[name.encode()] = (0o100644, write_loose(objects, blob, scratch).encode())
        tree = Tree()
        for path, (mode, sha) in entries.items():
            tree.add(path, mode, sha)  # type: ignore[arg-type]
        commit = Commit()
        commit.tree = tree.id
        commit.parents = [head.encode()] if head else []  # type: ignore[list-item]
        commit.author = commit.committer = _AUTHOR
        commit.author_time = commit.commit_time = int(time.time())
        commit.author_timezone = commit.commit_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = message.encode() + b"\n"
        write_loose(objects, tree, scratch)
        return write_loose(objects, commit, scratch), entries

    def _copy(self, entries: dict[bytes, tuple[int, bytes]], scratch: Path) -> None:
        """Bring the files that people see, and git's index, up to date."""
        try:
            known = index.load(self._git / "index", self._limits.json_file_bytes)
        except BadObject:
            known = {}  # it is made anew
        with open_git(self._git) as git:
            for name in (_FILE, ".gitignore"):
                oid = entries[name.encode()][1].decode("ascii")
                path = self._layout.registry / name
                replace(path, git.read(oid, "blob")[1], scratch)
                known[name] = index.IndexEntry.of(name, 0o100644, oid, path.stat())
        replace(self._git / "index", index.dump(known.values()), scratch)

    def _model(self, name: str, record: Record) -> Model:
        return Model(name, record.uuid, record.url, record.default_branch, record.created_at, self._layout.model(name))


def taken(name: str) -> Conflict:
    """The error for a name that is in use."""
    return Conflict(
        f"there is already a model {name!r}",
        remedy=f"choose another name (--name NAME), or remove it first: hyprstream remove {name}",
        param="name",
    )
