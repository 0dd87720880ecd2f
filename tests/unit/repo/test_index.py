import subprocess

import pytest

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.git import index
from hyprstream_core.repo.git.index import IndexEntry


def entry(path, **fields):
    return IndexEntry(path, 0o100644, "11" * 20, fields.pop("size", 5), 1_700_000_000_123_456_789, **fields)


def test_what_is_written_is_read_again_and_by_stock_git_too(make_repo):
    repo = make_repo()
    paths = ["a", "a/b", "a.b", "ä/ö", "x" * 200, "/".join(["d" * 200] * 20), "/".join(["e" * 204] * 20)[:4095], "z"]
    (repo.git_dir / "index").write_bytes(index.dump(entry(p) for p in paths if p != "a"))
    read = index.load(repo.git_dir / "index", 1 << 20)
    assert set(read) == set(paths) - {"a"}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repo.path, capture_output=True, check=True).stdout.decode()
    assert sorted(listed.split("\0")[:-1]) == sorted(set(paths) - {"a"})


def test_files_of_more_than_four_gigabytes_are_recorded_as_git_does(tmp_path):
    (tmp_path / "index").write_bytes(index.dump([entry("big", size=5 * 2**30, ino=2**40, dev=2**33)]))
    assert index.load(tmp_path / "index", 1000)["big"].size == 5 * 2**30 - 2**32


def test_a_missing_index_is_empty_and_a_damaged_one_an_error(tmp_path):
    path = tmp_path / "index"
    assert index.load(path, 100) == {}
    for data in (
        b"",
        b"junk",
        b"DIRC\0\0\0\x09\0\0\0\0" + b"\0" * 20,
        b"DIRC\0\0\0\2\0\0\0\5",
        index.dump([entry("a")])[:40],
    ):
        path.write_bytes(data)
        with pytest.raises(BadObject):
            index.load(path, 1000)
    path.write_bytes(b"x" * 1001)
    with pytest.raises(BadObject, match="more than"):
        index.load(path, 1000)
