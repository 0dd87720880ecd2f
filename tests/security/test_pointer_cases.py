"""Large files that are not what their pointers say (security-cases.md 14)."""

import hashlib
import os

import pytest

from hyprstream_core.errors import BadObject, RemoteError


def _pointer(oid: str, size: object) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


SHA = hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        _pointer(SHA + "0", 7),
        _pointer(SHA[:-1], 7),
        _pointer(SHA.upper(), 7),
        _pointer("../" * 21 + "x", 7),
        _pointer(SHA, -1),
        _pointer(SHA, "07"),
        _pointer(SHA, "7 "),
        _pointer(SHA, 10**18 * 10),
        _pointer(SHA, 7) + "ext-0-x sha256:" + SHA + "\n",
        _pointer(SHA, 7).replace("\n", "\r\n"),
        _pointer(SHA, 7)[:-1],
        _pointer(SHA, 7).replace("sha256:", "md5:"),
        _pointer(SHA, 7).replace("v1", "v2"),
        _pointer(SHA, 7) + "x" * (10 * 2**20),
    ],
)
def test_case_014_malformed_pointers_are_refused(refused, hostile, text):
    hostile.large("other.bin", b"weights")
    hostile.write("model.safetensors", text)
    hostile.commit()
    refused(hostile.path, "lfs.bad_object", BadObject)


@pytest.mark.parametrize(
    "delivered",
    [b"weight!", b"weights and more", b"weig", b""],
    ids=["wrong sha256", "too long", "too short", "empty"],
)
def test_case_014_content_that_is_not_what_the_pointer_says_is_refused_and_not_cached(
    refused, hostile, git_server, delivered
):
    oid = hostile.large("model.safetensors", b"weights")
    hostile.commit()
    hostile.content(oid).write_bytes(delivered)
    git_server.large[oid] = delivered
    refused(hostile.path, "lfs.bad_object", BadObject)


@pytest.mark.parametrize("delivered", [b"weight!", b"weights and more", b"weig", b""])
def test_case_014_content_over_http_that_is_not_what_the_pointer_says_is_refused(
    store, hostile, git_server, delivered, tmp_path
):
    oid = hostile.large("model.safetensors", b"weights")
    hostile.commit()
    git_server.large[oid] = delivered
    with pytest.raises(BadObject) as caught:
        store.clone(f"{git_server.url}/hostile/.git", name="hostile")
    assert caught.value.error_code == "lfs.bad_object"
    assert not [p for p in (tmp_path / "models/lfs").rglob("*") if p.is_file()]
    assert store.registered() == []


def test_case_014_a_connection_that_always_breaks_off_is_given_up_and_nothing_is_visible(
    store, hostile, git_server, tmp_path, monkeypatch
):
    monkeypatch.setattr("hyprstream_core.builtin.downloads.FIRST_PAUSE", 0.01)
    oid = hostile.large("model.safetensors", b"weights" * 1000)
    hostile.commit()
    git_server.large[oid] = b"weights" * 1000
    git_server.cuts = [3, 4]
    git_server.cut[oid] = 0
    with pytest.raises(RemoteError) as caught:
        store.clone(f"{git_server.url}/hostile/.git", name="hostile")
    assert caught.value.error_code == "lfs.incomplete"
    assert "7B of 7.0kB are kept" in caught.value.message
    assert store.registered() == []
    assert not [p for p in (tmp_path / "models/lfs/objects").rglob("*") if p.is_file()]


def test_case_014_pointers_that_disagree_on_a_size_are_refused(refused, hostile):
    oid = hostile.large("a", b"weights")
    hostile.write("b", _pointer(oid, 8))
    hostile.commit()
    refused(hostile.path, "lfs.bad_object", BadObject)


def test_case_014_an_endless_size_is_refused_before_anything_is_fetched(refused, hostile):
    hostile.write("model.safetensors", _pointer(SHA, 2**62))
    hostile.commit()
    refused(hostile.path, "disk.full")


def test_case_014_a_local_object_that_is_a_link_or_a_pipe_is_not_read(refused, hostile, tmp_path):
    oid = hostile.large("model.safetensors", b"weights")
    hostile.commit()
    secret = tmp_path / "secret"
    secret.write_bytes(b"weights")
    content = hostile.content(oid)
    content.unlink()
    content.symlink_to(secret)
    refused(hostile.path, "lfs.missing", RemoteError)
    content.unlink()
    os.mkfifo(content)
    refused(hostile.path, "lfs.missing", RemoteError)
