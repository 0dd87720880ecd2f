"""Unfinished work: one folder per running command, locked by it, swept by the next when it died.

A command that is about to publish, or has begun to remove, writes its *intent* (a model's name and UUID).
The registry decides: files of a name that is not registered under any UUID are leftovers of a crash.
A change that was decided (:mod:`hyprstream_core.repo.journal`) keeps its folder until it is carried out.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyprstream_core.errors import Conflict, RefError
from hyprstream_core.repo import journal
from hyprstream_core.repo.disk.durable import remove_tree, replace, write_new
from hyprstream_core.repo.refs import check_name

_INTENT = "intent.json"
_CHANGE = "change.json"
_LATER = "later"
_INTENT_BYTES = 4096


@contextmanager
def staging_folder(area: Path) -> Iterator[Path]:
    """A fresh private folder, deleted afterwards whatever happens, unless :func:`leave` was called or a decided
    change in it is not finished."""
    folder, fd = _create(area)
    try:
        yield folder
    finally:
        if not ((folder / _LATER).exists() or journal.is_pending(folder)):
            remove_tree(folder)
        os.close(fd)


def leave(folder: Path) -> None:
    """Keep ``folder`` with its intent for the next sweep: what must still be done cannot be done now."""
    write_new(folder / _LATER, b"")


def _create(area: Path) -> tuple[Path, int]:
    area.mkdir(parents=True, exist_ok=True)
    while True:
        folder = area / os.urandom(12).hex()
        folder.mkdir(mode=0o700)
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # swept before it was locked
        fcntl.flock(fd, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), folder.stat()):
                return folder, fd
        os.close(fd)


def declare(folder: Path, name: str) -> None:
    """Say that ``name``'s files are about to appear or to vanish."""
    replace(folder / _INTENT, json.dumps({"name": name}).encode(), folder)


def declare_change(folder: Path, name: str) -> None:
    """Say that ``name`` is about to be changed, so that locks of git may be left in it."""
    replace(folder / _CHANGE, json.dumps({"name": name}).encode(), folder)


def sweep(area: Path, abandon: Callable[[str], None], finish: Callable[[str, Path], None]) -> None:
    """Delete the folders whose owner is gone; ``abandon(name)`` deals with the model each was about to make or remove,
    ``finish(name, folder)`` carries out what was decided for a model that is changed, and breaks the locks in it."""
    for folder in _entries(area):
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if changed := _name_in(folder / _CHANGE):
                finish(changed, folder)
            if journal.is_pending(folder):
                continue
            if name := _name_in(folder / _INTENT):
                abandon(name)
            remove_tree(folder)
        except (BlockingIOError, Conflict):
            continue  # somebody is at work in it, or in that model
        finally:
            os.close(fd)


def _entries(area: Path) -> list[Path]:
    return sorted(area.iterdir()) if area.is_dir() else []


def _name_in(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            name = json.loads(file.read(_INTENT_BYTES)).get("name")
    except (OSError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) and _is_name(name) else None


def _is_name(text: str) -> bool:
    try:
        return check_name(text) == text
    except RefError:
        return False
