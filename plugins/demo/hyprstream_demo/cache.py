"""A private folder for things that can be made again, each of them complete or absent."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

INVENTORY = "inventory.json"
"""Beside what is published: the size of each of its files, by which a damaged copy is noticed."""


def private_directory(parent: Path) -> Path:
    """``parent/hyprstream-demo-<uid>``, which only this user can write.

    Raises:
        OSError: it cannot be made, or it belongs to somebody else (SECURITY: anybody can make a folder of
            that name among the temporary files first).
    """
    directory = parent / f"hyprstream-demo-{os.getuid()}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{directory} is not a private folder of this user")
    return directory


def published(target: Path, make: Callable[[Path], None]) -> Path:
    """``target``, made by ``make(empty folder)`` unless it is there and whole. Another process may do the same
    at the same time: what is visible under ``target`` is complete at every moment."""
    if _is_whole(target):
        return target
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="making-") as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        make(made)
        (made / INVENTORY).write_text(json.dumps(_sizes(made)), encoding="utf-8")
        if target.exists() and not _is_whole(target):
            target.rename(Path(scratch, "damaged"))
        try:
            made.rename(target)
        except OSError:
            if not _is_whole(target):
                raise
    return target


def _is_whole(target: Path) -> bool:
    try:
        inventory = json.loads((target / INVENTORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(inventory == {k: v for k, v in _sizes(target).items() if k != INVENTORY})


def _sizes(directory: Path) -> dict[str, int]:
    return {str(p.relative_to(directory)): p.stat().st_size for p in sorted(directory.rglob("*")) if p.is_file()}
