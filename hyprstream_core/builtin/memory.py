"""How much memory this process may still take: what the kernel has, within the limits of its control groups."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 2**62


@dataclass(frozen=True)
class Files:
    """One version of the memory controller: its folder below the root, and the names of its files."""

    controller: str
    limit: str
    used: str
    reclaimable: str
    """Key of ``memory.stat`` that counts page cache that the kernel gives back under pressure."""


_V1 = Files("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = Files("", "memory.max", "memory.current", "inactive_file")


def free_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that may still be allocated without swapping or being killed."""
    return min([_available(proc), *_headrooms(proc, cgroups)])


def resident_bytes(address: int, length: int) -> int:
    """How many of ``length`` bytes from ``address`` (a page's start) are in memory, by whole pages: mincore(2).

    Raises:
        OSError: nothing is mapped there.
    """
    pages = (ctypes.c_ubyte * -(-length // mmap.PAGESIZE))()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), pages):
        raise OSError(number := ctypes.get_errno(), os.strerror(number))
    return min(length, mmap.PAGESIZE * sum(memoryview(pages).tobytes().translate(_LOWEST_BIT)))


_LOWEST_BIT = bytes(i & 1 for i in range(256))
"""mincore's other bits are undefined."""


def _available(proc: Path) -> int:
    for line in (proc / "meminfo").read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _headrooms(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is left in this process's group and in each group above it."""
    for line in (proc / "self/cgroup").read_text("utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            files = _V2
        elif "memory" in controllers.split(","):
            files = _V1
        else:
            continue
        root = cgroups / files.controller
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            if (left := _headroom(folder, files)) is not None:
                yield left


def _headroom(folder: Path, files: Files) -> int | None:
    """Limit less use, counting page cache that can be dropped as free; None where there is no limit."""
    try:
        limit = (folder / files.limit).read_text("ascii").strip()
        if limit == "max" or int(limit) >= UNLIMITED:
            return None
        stat = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
        used = int((folder / files.used).read_text("ascii")) - int(stat.get(files.reclaimable, 0))
        return max(0, int(limit) - used)
    except (OSError, ValueError):
        return None
