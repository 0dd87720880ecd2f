"""Missing, damaged and endless git objects (security-cases.md 8 and 9), as a remote sends them."""

import hashlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import HyprstreamError
from tests.servers.packs import PackClient, pack_of, packed, varint, whole_pack

FILE, FOLDER = "100644", "40000"


@pytest.fixture
def sends(new_store, refused, monkeypatch):
    """sends(pack, code): a store refuses a remote that answers with these bytes."""

    def check(pack, code, limits=None, tip="1" * 40, names=("refs/heads/main",)):
        store = new_store(limits=limits or Limits())
        monkeypatch.setattr(store._space.parts, "transport", lambda scheme: _transport(pack, tip, names))
        return refused("evil://x/evil", code, using=store)

    return check


def _transport(pack, tip="1" * 40, names=("refs/heads/main",)):
    """Answers with these bytes."""
    from hyprstream_core.interfaces.transport import Connection, Transport

    class Evil(Transport):
        def connect(self, url):
            return Connection(PackClient(pack, tip, list(names)), "")

    return Evil()


def test_case_008_a_missing_blob_tree_or_commit_is_a_typed_error_and_nothing_is_kept(sends, hostile):
    hostile.write("folder/a", "old")
    first = hostile.commit()
    hostile.write("folder/a", "new")
    second = hostile.commit()
    for missing in (f"{second}:folder/a", f"{first}:folder/a", f"{first}:folder", f"{first}^{{tree}}", first, second):
        oid = hostile.run("rev-parse", missing)
        error = sends(whole_pack(hostile, oid), "repo.missing_object", tip=second)
        assert error.details["oid"] == oid


def test_case_008_an_object_that_is_not_what_it_is_used_as_is_refused(sends, hostile):
    blob = hostile.blob()
    tree = hostile.tree((FILE, b"a", blob))
    sends(whole_pack(hostile), "repo.bad_tree", tip=tree)
    for wrong in (hostile.tree((FOLDER, b"a", blob)), blob):
        commit = hostile.raw("commit", f"tree {wrong}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nx".encode())
        sends(whole_pack(hostile), "repo.bad_object", tip=commit)
    for text in (f"tree {tree[:-1]}x\n\n", "nothing", f"tree {tree}\nparent xyz\n\n"):
        commit = hostile.raw("commit", text.encode())
        sends(whole_pack(hostile), "repo.bad_object", tip=commit)


def test_case_008_trees_that_are_no_trees_are_typed_errors(sends, make_repo):
    for number, data in enumerate(
        (b"8 a\0" + b"1" * 20, b"-1 a\0" + b"1" * 20, b"100644 a\0short", b"junk", b"100644 a")
    ):
        repo = make_repo(f"hostile-{number}")
        tip = repo.point(repo.raw("tree", data))
        sends(whole_pack(repo), "repo.bad_object", tip=tip)


def test_case_008_damaged_packs_are_typed_errors(sends):
    blob = packed(3, 5, b"hello")
    good = pack_of(blob)
    for damaged in (
        b"",
        b"PACK",
        good[:-25],
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:-20] + b"xx" + good[-20:],
        pack_of(blob, count=2),
        pack_of(packed(3, 6, b"hello")),
        pack_of(packed(3, 4, b"hello")),
        pack_of(packed(5, 5, b"hello")),
        pack_of(packed(6, 3, b"\x05\x05\x00", base=b"\x00")),
        pack_of(packed(6, 3, b"\x05\x05\x00", base=b"\x7f")),
        pack_of(packed(7, 3, b"\x05\x05\x00", base=b"\x11" * 20)),
        pack_of(blob, packed(6, 2, b"\x05\xff", base=bytes([len(blob)]))),
    ):
        sends(damaged, "remote.empty" if not damaged else "repo.bad_object")


@pytest.mark.parametrize(
    "names",
    [["refs/heads/a", "refs/heads/a/b"], ["refs/tags/x/y", "refs/tags/x"]],
)
def test_references_that_cannot_be_files_beside_each_other_are_refused(sends, hostile, names):
    hostile.write("a", "x")
    head = hostile.commit()
    sends(whole_pack(hostile), "remote.failed", tip=head, names=["refs/heads/main", *names])


def _pack_bombs():
    """Packs, each with the limits that it exceeds."""
    giga = b"\x80\x80\x80\x80\x04"
    delta = packed(7, 12, b"\x05" + giga + b"\x00" * 6, base=b"1" * 20)
    yield pack_of(packed(3, 5, b"hello"), delta), Limits()
    name = hashlib.sha1(b"blob 1048576\0" + b"\0" * 2**20).digest()
    copy = varint(2**20) + varint(2**24) + b"\x90\xff" * 100
    many = [packed(7, len(copy), copy, base=name) for _ in range(40)]
    yield pack_of(packed(3, 2**20, b"\0" * 2**20), *many), Limits(repo_inflated_bytes=2**28)
    yield pack_of(packed(3, 600 * 2**20, b"\0" * 1000)), Limits()
    yield pack_of(packed(3, 5, b"hello"), count=2**31), Limits()
    yield pack_of(packed(3, 100_000, bytes(os.urandom(100_000)))), Limits(repo_pack_bytes=50_000)


def test_case_009_pack_bombs_are_refused_early(sends):
    start = time.monotonic()
    for bomb, limits in _pack_bombs():
        sends(bomb, "repo.too_large", limits)
    assert time.monotonic() - start < 5


def _peak() -> int:
    """Most memory, in bytes, that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _clone_pack_bombs(folder: str) -> None:
    """Prints how much the bombs added to the most memory that this process ever had."""
    from hyprstream_core.config import Settings
    from hyprstream_core.plugins import Plugins, installed
    from hyprstream_core.services.store import open_store

    builtin = Plugins([c for c in installed() if c.name == "builtin"])
    harmless = [(pack_of(), Limits())]  # what is imported for it does not count
    for bomb, limits in [*harmless, *_pack_bombs()]:
        store = open_store(Settings(models_dir=Path(folder), limits=limits), builtin)
        store._space.parts.transport = lambda scheme, bomb=bomb: _transport(bomb)
        with pytest.raises(HyprstreamError):
            store.clone("evil://x/evil")
        if (bomb, limits) in harmless:
            before = _peak()
    print(_peak() - before)


def test_case_009_pack_bombs_take_little_memory(tmp_path):
    """In a process of its own: what other tests took before would hide everything."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['_clone_pack_bombs'](sys.argv[2])"
    command = [sys.executable, "-c", code, __file__, str(tmp_path / "models")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 512 * 2**20
