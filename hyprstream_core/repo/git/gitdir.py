"""A bare git repository: made by us, its objects read and verified, its references.

dulwich reads packs and loose objects; every object read through :class:`GitDir` is hashed again, so that
damage on disk is found by name instead of being served.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.disk.durable import write_new
from hyprstream_core.repo.git import pack

if TYPE_CHECKING:
    from dulwich.object_store import DiskObjectStore

ZERO = "0" * 40
KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
PACKED_REFS_BYTES = 64 * 2**20
"""Size of a ``packed-refs`` file."""
_REF_BYTES = 4096
_HEX = re.compile(r"[0-9a-f]{40}")


def is_oid(text: str) -> bool:
    """Whether ``text`` is a full object id."""
    return bool(_HEX.fullmatch(text))


def create(path: Path, *, url: str, lfs: Path, lfs_url: str = "") -> None:
    """Make an empty bare repository whose remote is ``url``, with its large files at ``lfs_url`` when that is not
    for the remote to say. It still lacks HEAD: see :func:`set_head`."""
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (path / folder).mkdir(parents=True)
    write_new(path / "config", _config(url, lfs, lfs_url).encode())


def set_head(path: Path, branch: str) -> None:
    """Make ``branch`` the HEAD of a new repository."""
    write_new(path / "HEAD", f"ref: refs/heads/{branch}\n".encode())


def lfs_url(path: Path) -> str | None:
    """Where large files come from by the repository's own configuration, git-lfs's ``lfs.url``.

    Raises:
        BadObject: the configuration is damaged.
    """
    from dulwich.config import ConfigFile

    try:
        return ConfigFile.from_path(str(path / "config")).get((b"lfs",), b"url").decode()
    except KeyError:
        return None
    except ValueError as error:
        raise BadObject(f"{path / 'config'} is damaged: {error}", remedy="mend it with: git config --edit") from None


def _config(url: str, lfs: Path, lfs_url: str) -> str:
    # NOTE: a large file's index entry records the stat of the file that stands for the pointer. Links to its
    # inode come and go, so the change time (and what depends on the file system) must not count.
    return (
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
        "\ttrustctime = false\n\tcheckStat = minimal\n"
        f'[remote "origin"]\n\turl = {quote(url)}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'
        f"[lfs]\n\tstorage = {quote(str(lfs))}\n" + (f"\turl = {quote(lfs_url)}\n" if lfs_url else "")
    )


def quote(value: str) -> str:
    """``value`` as git's configuration file wants it between quotes."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_packed_refs(path: Path, refs: Mapping[str, str], peeled: Mapping[str, str]) -> None:
    """Write all of a new repository's references at once; ``peeled`` gives what annotated tags point at."""
    write_new(path / "packed-refs", dump_packed_refs(refs, peeled))


def dump_packed_refs(refs: Mapping[str, str], peeled: Mapping[str, str]) -> bytes:
    """The content of the file ``packed-refs``."""
    lines = ["# pack-refs with: peeled fully-peeled sorted "]
    for name in sorted(refs, key=lambda n: n.encode("utf-8", "surrogateescape")):
        lines.append(f"{refs[name]} {name}")
        if name in peeled:
            lines.append(f"^{peeled[name]}")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def read_refs(path: Path) -> dict[str, str]:
    """Every reference below ``refs/`` with the id it holds; symbolic ones and those that are damaged are left out.

    NOTE: loose files first, ``packed-refs`` after them: git packs a reference before it deletes its file, so that
    in this order one that is being packed is never missed, nor an older value of it found.
    """
    loose = dict(_loose_refs(path))
    return {name: oid for name, oid in {**read_packed(path), **loose}.items() if oid}


def read_ref(path: Path, name: str) -> str | None:
    """The id that one reference holds, or None."""
    loose = _oid_in(path / name)
    return read_packed(path).get(name) if loose is None else loose or None


def _loose_refs(path: Path) -> Iterator[tuple[str, str]]:
    """Every file below ``refs/`` with the id in it, or "" when it holds something else."""
    for folder, _, names in os.walk(path / "refs"):
        for name in names:
            if not name.endswith(".lock"):
                file = Path(folder, name)
                if (oid := _oid_in(file)) is not None:
                    yield file.relative_to(path).as_posix(), oid


def _oid_in(file: Path) -> str | None:
    """What a reference's file holds: an id, "" for something else, None when there is no such file (any more)."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_REF_BYTES).split(b"\n")[0].decode("ascii", "replace").strip()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    return text if is_oid(text) else ""


def read_packed(path: Path) -> dict[str, str]:
    """The references in ``packed-refs``. Raises what :func:`packed_refs` does."""
    return packed_refs(path)[0]


def packed_refs(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The references in ``packed-refs``, and what those of annotated tags point at.

    Raises:
        BadObject: it is larger than any that git or we could have written for the references that are allowed.
    """
    refs: dict[str, str] = {}
    peeled: dict[str, str] = {}
    try:
        with (path / "packed-refs").open("rb") as file:
            data = file.read(PACKED_REFS_BYTES + 1)
    except FileNotFoundError:
        return refs, peeled
    if len(data) > PACKED_REFS_BYTES:
        raise BadObject(f"packed-refs of {path.name} has more than {PACKED_REFS_BYTES:,} bytes")
    last = ""
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        oid, _, name = line.partition(" ")
        if is_oid(oid) and name.startswith("refs/"):
            refs[name], last = oid, name
        elif line.startswith("^") and is_oid(line[1:]) and last:
            peeled[last] = line[1:]
    return refs, peeled


@contextmanager
def open_git(path: Path) -> Iterator[GitDir]:
    """The repository at ``path``, closed afterwards."""
    from dulwich.object_store import DiskObjectStore

    store = DiskObjectStore(str(path / "objects"), fsync_object_files=True)
    try:
        yield GitDir(path, store)
    except BaseException:
        with suppress(BufferError):  # the exception's frames still look into a mapped pack; it goes with them
            store.close()
        raise
    store.close()


class GitDir:
    """An open bare repository."""

    def __init__(self, path: Path, store: DiskObjectStore) -> None:
        self.path = path
        self.store = store

    def refs(self) -> dict[str, str]:
        """:func:`read_refs` of this repository."""
        return read_refs(self.path)

    def small_blobs(self, maximum: int) -> Iterator[str]:
        """Ids of all objects that may be blobs of at most ``maximum`` bytes."""
        for packed in self.store.packs:
            with Path(os.fsdecode(packed.data.path)).open("rb") as file:
                for raw, offset, _ in packed.index.iterentries():
                    kind, size = pack.object_size(file, offset)
                    if kind not in (pack.COMMIT, pack.TREE, pack.TAG) and size <= maximum:
                        yield raw.hex()
        for loose in (self.path / "objects").glob("[0-9a-f][0-9a-f]/*"):
            oid = loose.parent.name + loose.name
            if is_oid(oid) and self._loose_size(oid) <= maximum:
                yield oid

    def __contains__(self, oid: str) -> bool:
        from dulwich.objects import ObjectID

        return ObjectID(oid.encode()) in self.store

    def read(self, oid: str, kind: str | None = None) -> tuple[str, bytes]:
        """Kind and content of an object, hashed again.

        Raises:
            BadObject: it is missing, damaged, or not of the ``kind`` asked for.
        """
        from dulwich.objects import ObjectID

        try:
            number, data = self.store.get_raw(ObjectID(oid.encode()))
        except KeyError:
            raise BadObject(f"git object {oid} is missing", code="repo.missing_object", oid=oid) from None
        except Exception as error:  # zlib, struct, assertions: whatever a damaged file provokes in the library
            raise self._damaged(oid, f"{type(error).__name__}: {error}") from error
        found = KINDS.get(number, "?")
        digest = hashlib.sha1(b"%s %d\0" % (found.encode(), len(data)), usedforsecurity=False)
        digest.update(data)
        if digest.hexdigest() != oid:
            raise self._damaged(oid, f"its content hashes to {digest.hexdigest()}")
        if kind is not None and found != kind:
            raise BadObject(f"git object {oid} is a {found}, expected a {kind}", oid=oid)
        return found, data

    def _damaged(self, oid: str, why: str) -> BadObject:
        return BadObject(f"git object {oid} is damaged: {why}", remedy="remove the model and clone it again", oid=oid)

    def blob_size(self, oid: str) -> int:
        """Size of a blob, from its header.

        Raises:
            BadObject: it is missing or damaged.
        """
        raw = bytes.fromhex(oid)
        for packed in self.store.packs:
            try:
                offset = packed.index.object_offset(raw)  # type: ignore[arg-type]  # dulwich takes raw ids here
            except KeyError:
                continue
            with Path(os.fsdecode(packed.data.path)).open("rb") as file:
                return pack.object_size(file, offset)[1]
        return self._loose_size(oid)

    def _loose_size(self, oid: str) -> int:
        try:
            with (self.path / "objects" / oid[:2] / oid[2:]).open("rb") as file:
                header = zlib.decompressobj().decompress(file.read(256), 64).split(b"\0")[0]
            return int(header.split(b" ")[1])
        except FileNotFoundError:
            raise BadObject(f"git object {oid} is missing", code="repo.missing_object", oid=oid) from None
        except (zlib.error, ValueError, IndexError) as error:
            raise self._damaged(oid, str(error)) from error

    def peel(self, oid: str) -> tuple[str, str]:
        """Follow annotated tags to what they name: (kind, id).

        Raises:
            BadObject: an object is missing or damaged, or the chain of tags is absurdly long.
        """
        for _ in range(16):
            kind, data = self.read(oid)
            if kind != "tag":
                return kind, oid
            oid = header(data, "object", oid)
        raise BadObject(f"tag {oid} is a chain of more than 16 tags", oid=oid)

    def tree_of(self, commit: str) -> str:
        """Id of the tree of ``commit``.

        Raises:
            BadObject: the commit is missing or malformed.
        """
        return header(self.read(commit, "commit")[1], "tree", commit)


def parents_of(data: bytes, commit: str) -> tuple[str, ...]:
    """Ids of the parents in a commit's content: those right after the tree, as git reads them.

    Raises:
        BadObject: one is malformed.
    """
    found = []
    for line in data.split(b"\n\n", 1)[0].split(b"\n")[1:]:
        if not line.startswith(b"parent "):
            break
        found.append(_oid(line[7:], commit))
    return tuple(found)


def header(data: bytes, field: str, oid: str) -> str:
    """The id in the first line of a commit or tag.

    Raises:
        BadObject: the first line is not ``field`` and an id.
    """
    name, _, value = data.split(b"\n", 1)[0].partition(b" ")
    if name != field.encode():
        raise BadObject(f"git object {oid} is malformed: its first line is not {field!r}", oid=oid)
    return _oid(value, oid)


def _oid(value: bytes, owner: str) -> str:
    text = value.decode("ascii", "replace")
    if not is_oid(text):
        raise BadObject(f"git object {owner} is malformed: {text[:80]!r} is no object id", oid=owner)
    return text
