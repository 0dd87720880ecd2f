"""Git trees from strangers, checked before anything is written: the rules of ``git fsck --strict``, and ours.

What is refused, and under which code:

    repo.unsafe_path   `.`, `..`, a `/` or `\\` in a name, a drive letter, `.git` in any disguise, a symbolic link
    repo.bad_tree      an unsorted or malformed tree, duplicates (without regard to case too), a null id, an
                       unknown kind, a control character, a name that is empty, not UTF-8 or cannot be stored
    repo.too_large     more entries, levels, path bytes or bytes of files than the limits allow

A regular file with odd permission bits (setuid, writable by all) is written as a plain one, mode 0644.
Submodules are never fetched: the place of one is an empty folder, as after a plain ``git clone``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from hyprstream_core.config import Limits
from hyprstream_core.errors import UnsafeTree
from hyprstream_core.repo.git.gitdir import ZERO, GitDir

FOLDER, FILE, EXECUTABLE, LINK, SUBMODULE = 0o040000, 0o100644, 0o100755, 0o120000, 0o160000
_MODES = {b"40000": FOLDER, b"100644": FILE, b"100755": EXECUTABLE, b"120000": LINK, b"160000": SUBMODULE}
_ODD_FILE = re.compile(rb"10[0-7]{4}")
"""A regular file with permission bits that git does not write, such as setuid: a plain file, and nothing more."""
_ID_BYTES = 20
_MAX_ENTRY_BYTES = 7 + 255 + 1 + _ID_BYTES
_HFS_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF], None)
"""Code points that HFS+ ignores in names (git's ``utf8.c``)."""
_NTFS_GIT = re.compile(r"(?:\.git|git~1)[ .]*(?::.*)?", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Entry:
    """One line of a tree."""

    name: str
    mode: int
    oid: str


@dataclass(frozen=True)
class PlannedFile:
    """A file (or submodule) of a commit, by its whole path. ``size`` is the blob's."""

    path: str
    mode: int
    oid: str
    size: int


@dataclass(frozen=True)
class _Extent:
    """What a tree and everything below it amounts to."""

    entries: int
    depth: int
    path_bytes: int


class TreeCheck:
    """Checks trees of one repository; a tree that many commits share is read once."""

    def __init__(self, git: GitDir, limits: Limits) -> None:
        self._git = git
        self._limits = limits
        self._known: dict[str, _Extent] = {}

    def check(self, tree: str) -> None:
        """Check ``tree`` and all trees below it.

        Raises:
            UnsafeTree: a rule is broken or a limit exceeded; the message names path and rule.
            BadObject: an object is missing or damaged.
        """
        self._extent(tree, "", 1)

    def _extent(self, oid: str, path: str, depth: int) -> _Extent:
        if depth > self._limits.repo_depth:
            raise too_large(f"the tree is more than {self._limits.repo_depth} levels deep")
        if oid not in self._known:
            self._known[oid] = self._measure(oid, path, depth)
        extent = self._known[oid]
        if depth + extent.depth - 1 > self._limits.repo_depth:
            raise too_large(f"the tree is more than {self._limits.repo_depth} levels deep")
        return extent

    def _measure(self, oid: str, path: str, depth: int) -> _Extent:
        entries = parse(self._git.read(oid, "tree")[1], path, self._limits.repo_files)
        total, deepest, longest = len(entries), 1, 0
        for entry in entries:
            inner = f"{path}/{entry.name}" if path else entry.name
            length = len(entry.name.encode())
            if entry.mode == FOLDER:
                below = self._extent(entry.oid, inner, depth + 1)
                total += below.entries
                deepest = max(deepest, below.depth + 1)
                length += 1 + below.path_bytes
            elif entry.mode != SUBMODULE and entry.oid not in self._git:
                self._git.read(entry.oid, "blob")  # says what is wrong with it
            longest = max(longest, length)
            if total > self._limits.repo_files:
                raise too_large(f"the tree has more than {self._limits.repo_files:,} entries")
            if longest > self._limits.repo_path_bytes:
                raise too_large(f"a path in the tree is longer than {self._limits.repo_path_bytes:,} bytes")
        return _Extent(total, deepest, longest)


def plan(git: GitDir, tree: str, limits: Limits) -> list[PlannedFile]:
    """Everything that a checkout of ``tree`` would write, ordered by path as in git's index.

    Raises:
        UnsafeTree: a rule is broken or a limit exceeded.
        BadObject: an object is missing or damaged.
    """
    TreeCheck(git, limits).check(tree)
    files, total = [], 0
    for path, entry in walk(git, tree, limits):
        size = 0 if entry.mode == SUBMODULE else git.blob_size(entry.oid)
        total += size
        if total > limits.repo_pack_bytes:
            raise too_large(f"the files of the tree have more than {limits.repo_pack_bytes:,} bytes")
        files.append(PlannedFile(path, entry.mode, entry.oid, size))
    return sorted(files, key=lambda f: f.path.encode())


def walk(git: GitDir, tree: str, limits: Limits, path: str = "") -> Iterator[tuple[str, Entry]]:
    """Every file and submodule of a checked tree, with its path."""
    for entry in parse(git.read(tree, "tree")[1], path, limits.repo_files):
        inner = f"{path}/{entry.name}" if path else entry.name
        if entry.mode == FOLDER:
            yield from walk(git, entry.oid, limits, inner)
        else:
            yield inner, entry


def parse(data: bytes, path: str, max_entries: int) -> list[Entry]:
    """Read one tree object strictly; ``path`` is where it is, for messages.

    Raises:
        UnsafeTree: a rule is broken, or there are more than ``max_entries``.
    """
    if len(data) > max_entries * _MAX_ENTRY_BYTES:
        raise too_large(f"a tree has more than {max_entries:,} entries")
    entries: list[Entry] = []
    seen: set[str] = set()
    previous = b""
    for mode, raw, oid in _split(data, path):
        entry = Entry(_name(raw, path), _mode(mode, raw, path), oid)
        _check_path(entry, path)
        if oid == ZERO:
            raise _bad(path, raw, "has a null id")
        key = raw + b"/" if entry.mode == FOLDER else raw
        folded = unicodedata.normalize("NFC", entry.name).casefold()
        if folded in seen:
            raise _bad(path, raw, "appears twice (names may not differ by case alone)")
        if key <= previous:
            raise _bad(path, raw, "is out of order")
        if len(entries) == max_entries:
            raise too_large(f"the tree has more than {max_entries:,} entries")
        seen.add(folded)
        previous = key
        entries.append(entry)
    return entries


def _split(data: bytes, path: str) -> Iterator[tuple[bytes, bytes, str]]:
    position = 0
    while position < len(data):
        space, end = data.find(b" ", position, position + 8), -1
        if space > 0:
            end = data.find(b"\0", space)
        if space < 0 or end < 0 or end + 1 + _ID_BYTES > len(data):
            raise _bad(path, b"", "is malformed")
        yield data[position:space], data[space + 1 : end], data[end + 1 : end + 1 + _ID_BYTES].hex()
        position = end + 1 + _ID_BYTES


def entries_of(data: bytes) -> Iterator[tuple[int, str]]:
    """Mode and id of every entry of a tree that is history only: it must be readable, rules do not apply.

    Raises:
        UnsafeTree: it cannot be read.
    """
    for raw, _, oid in _split(data, ""):
        yield _MODES.get(raw.lstrip(b"0"), FILE), oid


def _name(raw: bytes, path: str) -> str:
    if not raw:
        raise _bad(path, raw, "has an entry without a name")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise _bad(path, raw, "has a name that is not UTF-8") from None
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
        raise _bad(path, raw, "has a control character in its name")
    if len(raw) > 255:
        raise _bad(path, raw, "has a name of more than 255 bytes")
    return name


def _mode(raw: bytes, name: bytes, path: str) -> int:
    mode = _MODES.get(raw)
    if mode is None and _ODD_FILE.fullmatch(raw):
        return FILE
    if mode is None:
        raise _bad(path, name, f"has mode {raw.decode('ascii', 'replace')!r}, expected one of git's")
    return mode


def _check_path(entry: Entry, path: str) -> None:
    name = entry.name
    if name in (".", ".."):
        raise _unsafe(path, name, f"is {name!r}")
    if "/" in name:
        raise _unsafe(path, name, "contains '/'")
    if "\\" in name:
        raise _unsafe(path, name, "contains a backslash")
    if _DRIVE.match(name):
        raise _unsafe(path, name, "starts with a drive letter")
    if is_dot_git(name):
        raise _unsafe(path, name, "is a disguise of .git")
    if entry.mode == LINK:
        raise _unsafe(path, name, "is a symbolic link")


def is_dot_git(name: str) -> bool:
    """Whether some file system would take ``name`` for ``.git`` (git's ``is_hfs_dotgit`` and ``is_ntfs_dotgit``)."""
    return name.translate(_HFS_IGNORED).casefold() == ".git" or bool(_NTFS_GIT.fullmatch(name))


def _show(path: str, name: bytes | str) -> str:
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return ascii(f"{path}/{text}" if path else text)[:300]


def _unsafe(path: str, name: str, why: str) -> UnsafeTree:
    return UnsafeTree(
        f"the repository contains {_show(path, name)}, which {why}",
        code="repo.unsafe_path",
        remedy="do not use this repository, or ask its owner to remove the entry",
    )


def _bad(path: str, name: bytes, why: str) -> UnsafeTree:
    return UnsafeTree(
        f"the repository's tree is bad: {_show(path, name)} {why}",
        remedy="git fsck --strict in a clone of it shows what its owner must mend",
    )


def too_large(why: str) -> UnsafeTree:
    """The error for a repository beyond the limits."""
    return UnsafeTree(why, code="repo.too_large", remedy="raise the limit in the configuration if you trust the remote")
