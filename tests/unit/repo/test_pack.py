import io
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, UnsafeTree
from hyprstream_core.repo.git.gitdir import open_git
from hyprstream_core.repo.git.pack import scan


@pytest.fixture
def deltas(make_repo):
    """A repository whose pack has deltas, empty, large and well compressed objects."""
    repo = make_repo("packed")
    text = "".join(f"line {n}\n" for n in range(5000))
    for n in range(5):
        repo.write("text", text + f"{n}\n")
        repo.write("zeros", b"\0" * (1_000_000 + n))
        repo.write("empty", b"")
        repo.commit()
    repo.run("gc", "--quiet", "--aggressive")
    return repo


def pack_of(repo):
    listed = repo.run("rev-list", "--objects", "--all", "--no-object-names")
    command = ["git", "pack-objects", "--stdout", "--quiet", "--delta-base-offset"]
    return subprocess.run(command, input=listed.encode(), cwd=repo.path, capture_output=True, check=True).stdout


def test_packs_of_stock_git_pass(deltas):
    data = pack_of(deltas)
    scan(io.BytesIO(data), len(data), Limits())


def test_sizes_read_from_headers_are_those_of_stock_git(deltas):
    listed = deltas.run("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype) %(objectsize)")
    with open_git(deltas.git_dir) as git:
        for oid, kind, size in (line.split() for line in listed.splitlines()):
            assert git.blob_size(oid) == int(size)
            assert git.read(oid)[0] == kind
            assert len(git.read(oid, kind)[1]) == int(size)
        small = set(git.small_blobs(100))
    assert {deltas.run("rev-parse", "HEAD:empty")} <= small
    assert deltas.run("rev-parse", "HEAD:zeros") not in small


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_changed_byte_is_always_found(deltas, data):
    pack = getattr(deltas, "pack", None) or pack_of(deltas)
    deltas.pack = pack
    place = data.draw(st.integers(0, len(pack) - 1))
    damaged = bytearray(pack)
    damaged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((BadObject, UnsafeTree)):
        scan(io.BytesIO(bytes(damaged)), len(damaged), Limits())


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    import hashlib

    body = b"PACK\0\0\0\2\0\0\0\3" + data
    for pack in (data, body + hashlib.sha1(body).digest()):
        with pytest.raises((BadObject, UnsafeTree)):
            scan(io.BytesIO(pack), len(pack), Limits())


def test_limits_hold_for_objects_and_what_deltas_make_of_them(deltas):
    data = pack_of(deltas)
    for limits in (Limits(repo_blob_bytes=1_000_001), Limits(repo_objects=3)):
        with pytest.raises(UnsafeTree) as caught:
            scan(io.BytesIO(data), len(data), limits)
        assert caught.value.error_code == "repo.too_large"


def test_damage_on_disk_is_found_by_name_and_never_served(deltas):
    oid = deltas.run("rev-parse", "HEAD:text")
    [pack] = (deltas.git_dir / "objects/pack").glob("*.pack")
    pack.chmod(0o644)
    content = bytearray(pack.read_bytes())
    for place in range(20, len(content) - 20, 7):
        content[place] ^= 0xFF
    pack.write_bytes(bytes(content))
    with open_git(deltas.git_dir) as git, pytest.raises(BadObject, match=oid):
        git.read(oid)
