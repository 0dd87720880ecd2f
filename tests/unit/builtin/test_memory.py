"""Free memory under control groups of both versions, read from made-up /proc and /sys."""

import ctypes
import mmap

import pytest

from hyprstream_core.builtin.memory import free_memory, resident_bytes

MIB = 2**20


@pytest.fixture
def system(tmp_path):
    """system(cgroup=…, **{path: text}): a /proc and a /sys/fs/cgroup; 1000 MiB are available."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"

    def make(cgroup, **files):
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text(f"MemTotal: 2 kB\nMemAvailable: {1000 * 1024} kB\n")
        (proc / "self/cgroup").write_text(cgroup)
        for name, text in files.items():
            (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
            (cgroups / name).write_text(str(text))
        return free_memory(proc, cgroups)

    return make


def test_without_a_limit_it_is_what_the_kernel_has(system):
    assert system("0::/\n") == 1000 * MIB


def test_version_2_counts_droppable_cache_as_free(system):
    group = {
        "a/b/memory.max": 300 * MIB,
        "a/b/memory.current": 200 * MIB,
        "a/b/memory.stat": f"anon 5\ninactive_file {50 * MIB}\n",
    }
    assert system("0::/a/b\n", **group) == 150 * MIB


def test_a_group_further_up_may_be_tighter(system):
    group = {
        "a/memory.max": 100 * MIB,
        "a/memory.current": 90 * MIB,
        "a/memory.stat": "inactive_file 0\n",
        "a/b/memory.max": "max",
    }
    assert system("0::/a/b\n", **group) == 10 * MIB


def test_version_1(system):
    group = {
        "memory/x/memory.limit_in_bytes": 64 * MIB,
        "memory/x/memory.usage_in_bytes": 60 * MIB,
        "memory/x/memory.stat": f"total_inactive_file {6 * MIB}\n",
        "memory/memory.limit_in_bytes": 9223372036854771712,
    }
    assert system("4:cpu,cpuacct:/\n7:memory:/x\n", **group) == 10 * MIB


def test_a_group_that_is_over_its_limit_has_nothing(system):
    group = {"memory.max": MIB, "memory.current": 2 * MIB, "memory.stat": "inactive_file 0\n"}
    assert system("0::/\n", **group) == 0


def test_pages_are_resident_once_they_were_written():
    pages = mmap.mmap(-1, 2**22, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    held = ctypes.c_char.from_buffer(pages)
    address = ctypes.addressof(held)
    assert resident_bytes(address, 2**22) == 0
    pages[: 2**20] = bytes(2**20)
    assert resident_bytes(address, 2**22) == 2**20
    assert resident_bytes(address, 100) == 100
    del held
    pages.close()


def test_what_is_not_mapped_has_no_resident_bytes():
    with pytest.raises(OSError, match="Cannot allocate"):
        resident_bytes(0, 4096)
