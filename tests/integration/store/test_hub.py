"""Cloning from a Hugging Face style hub: git, the LFS batch API, and files by revision and path."""

import random

import pytest

from hyprstream_core.config import HubSettings
from hyprstream_core.errors import BadObject, RemoteError
from hyprstream_core.interfaces.transport import Access, Credential
from hyprstream_core.plugins import Plugins, installed, load
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.store import Store

DATA = random.Random(7).randbytes(700_000)
NAMES = ["model 100%.safetensors", "onnx/größe#1?.bin"]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("hyprstream_core.builtin.downloads.FIRST_PAUSE", 0.01)


@pytest.fixture
def hub(git_server, make_repo):
    """A hub with org/model, whose batch API has nothing; (server, head commit)."""
    repo = make_repo("org/model")
    for number, name in enumerate(NAMES):
        git_server.large[repo.large(name, DATA + bytes([number]))] = DATA + bytes([number])
    repo.write("config.json", "{}")
    git_server.is_hub, git_server.batch_status = True, 501
    return git_server, repo.commit()


@pytest.fixture
def content_host(hub, tmp_path):
    """Where the hub redirects to for large files: another port."""
    server = type(hub[0])(tmp_path)
    server.large, hub[0].content_host = hub[0].large, server.url
    yield server
    server.close()


@pytest.fixture
def store_at(tmp_path):
    """store_at(hub, credential) → a store that takes this URL for the hub."""
    builtin = Plugins([c for c in installed() if c.name == "builtin"])

    def make(hub, credential=lambda url, given="": None):
        parts = Parts(
            transports=builtin.git_transports(),
            filters=builtin.storage_filters(),
            drivers=builtin.worktree_drivers(),
            load=load,
            access=Access(hub=HubSettings(endpoint=hub), credential=credential),
        )
        return Store(tmp_path / "models", parts)

    return make


def resolved(server):
    return [(path, headers) for _, path, headers in server.seen if "/resolve/" in path]


def check(model):
    for number, name in enumerate(NAMES):
        assert (model.worktrees()[0].path / name).read_bytes() == DATA + bytes([number])


@pytest.mark.parametrize("suffix", ["", ".git", "/"])
@pytest.mark.parametrize("status", [404, 501])
def test_what_the_batch_api_does_not_have_comes_by_revision_and_path(
    store_at, hub, content_host, referee, status, suffix
):
    server, head = hub
    (server.root / "org/model.git").symlink_to(server.root / "org/model/.git")
    server.batch_status = status
    store = store_at(server.url)
    check(store.clone(f"{server.url}/org/model{suffix}", name="m"))
    assert {path for path, _ in resolved(server)} == {
        f"/org/model/resolve/{head}/model%20100%25.safetensors",
        f"/org/model/resolve/{head}/onnx/gr%C3%B6%C3%9Fe%231%3F.bin",
    }
    assert len(content_host.seen) == 2
    referee(store)


def test_the_batch_api_goes_first_and_only_what_it_lacks_is_asked_for_by_path(store_at, hub):
    server, _ = hub
    server.batch_status = 200
    store_at(server.url).clone(f"{server.url}/org/model", name="m")
    assert not resolved(server)


def test_single_objects_that_the_batch_api_does_not_offer_come_by_path(store_at, hub):
    server, _ = hub
    server.batch_status, server.batch_answer = 200, b'{"transfer": "basic", "objects": []}'
    check(store_at(server.url).clone(f"{server.url}/org/model", name="m"))
    assert len(resolved(server)) == 2


def test_a_download_by_path_is_continued_after_a_cut(store_at, hub, content_host):
    server, _ = hub
    content_host.cuts = [300_000, 100_000, 200_000]
    check(store_at(server.url).clone(f"{server.url}/org/model", name="m"))
    assert sum(content_host.sent.values()) == 2 * (len(DATA) + 1)


def test_what_comes_by_path_is_verified(store_at, hub):
    server, _ = hub
    oid = next(iter(server.large))
    server.large[oid] = b"?" * (len(DATA) + 1)
    store = store_at(server.url)
    with pytest.raises(BadObject) as caught:
        store.clone(f"{server.url}/org/model", name="m")
    assert caught.value.error_code == "lfs.bad_object"
    assert store.registered() == []


@pytest.mark.parametrize("elsewhere", ["https://huggingface.co", "{url}/mirror", "http://localhost:1"])
def test_a_remote_that_is_not_the_hub_is_never_asked_by_path(store_at, hub, elsewhere):
    server, _ = hub
    with pytest.raises(RemoteError) as caught:
        store_at(elsewhere.format(url=server.url)).clone(f"{server.url}/org/model", name="m")
    assert caught.value.error_code == "lfs.missing"
    assert not resolved(server)


def test_a_hub_may_live_below_a_path(store_at, hub, tmp_path):
    server, head = hub
    check(store_at(f"{server.url}/org/").clone(f"{server.url}/org/model", name="m"))
    assert resolved(server)[0][0].startswith(f"/org/model/resolve/{head}/")


def test_a_file_that_the_hub_does_not_have_is_named(store_at, hub):
    server, _ = hub
    server.large.clear()
    with pytest.raises(RemoteError) as caught:
        store_at(server.url).clone(f"{server.url}/org/model", name="m")
    assert caught.value.error_code == "lfs.missing"
    assert caught.value.details["path"] in NAMES


def test_case_013_a_token_goes_to_the_hub_and_not_to_where_it_redirects(store_at, hub, content_host):
    server, _ = hub
    asked = []

    def credential(url, given=""):
        asked.append(url)
        return Credential("", "hf_canary") if url.startswith(server.url) else None

    check(store_at(server.url, credential).clone(f"{server.url}/org/model", name="m"))
    assert {headers["Authorization"] for _, headers in resolved(server)} == {"Bearer hf_canary"}
    batch = [headers for _, path, headers in server.seen if path.endswith("/objects/batch")]
    assert batch[0]["Authorization"] == Credential("", "hf_canary").basic
    assert "canary" not in str(content_host.seen)
    assert any(url.startswith(content_host.url) for url in asked), "asked anew for the other host"
