"""Cloning over smart HTTP from stock ``git http-backend``, large files by the LFS batch API."""

import base64
import re
import socket
import threading

import pytest

from hyprstream_core.config import CloneSettings
from hyprstream_core.errors import RemoteError


@pytest.fixture
def hosted(git_server, model_repo):
    """A server with the model on it; (server, clone URL)."""
    for file in (model_repo.git_dir / "lfs/objects").glob("??/??/*"):
        git_server.large[file.name] = file.read_bytes()
    return git_server, f"{git_server.url}/tiny-model/.git"


def test_a_clone_over_http_has_the_large_files_and_stock_git_agrees(store, hosted, model_repo, referee):
    server, url = hosted
    model = store.clone(url, name="m")
    assert (model.worktrees()[0].path / "model.safetensors").read_bytes() == b"first weights" * 1000
    assert model.worktrees()[0].oid == model_repo.head("main")
    assert len([path for _, path, _ in server.seen if path.startswith("/large/")]) == 1
    referee(store)


def test_other_branches_fetch_their_large_files_when_they_are_first_served(store, hosted):
    server, url = hosted
    store.clone(url, name="m")
    before = len(server.seen)
    folder = store.snapshot(store.resolve("m:feature/x"))
    assert (folder / "model.safetensors").read_bytes() == b"second weights" * 1000
    asked = [path for _, path, _ in server.seen[before:]]
    assert [p for p in asked if p.endswith("/objects/batch")]
    store.snapshot(store.resolve("m:feature/x"))
    assert len(server.seen) == before + len(asked)


def test_a_view_whose_files_are_all_here_asks_nobody(store, hosted):
    server, url = hosted
    store.clone(url, name="m")
    before = len(server.seen)
    assert (store.snapshot(store.resolve("m:v1")) / "model.safetensors").stat().st_size == 13000
    assert len(server.seen) == before


def test_credentials_in_the_url_are_used_and_never_recorded(store, hosted, tmp_path):
    server, url = hosted
    server.password = "s3cret-canary"
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == "remote.unauthorized"
    store.clone(url.replace("http://", "http://alice:s3cret-canary@"), name="m")
    wanted = "Basic " + base64.b64encode(b"alice:s3cret-canary").decode()
    assert all(headers.get("Authorization") == wanted for _, path, headers in server.seen[1:])
    found = [p for p in (tmp_path / "models").rglob("*") if p.is_file() and b"canary" in p.read_bytes()]
    assert found == []
    assert store.model("m").url == url


@pytest.fixture
def elsewhere(git_server, hosted, tmp_path):
    """A second server with the same content, under another host name."""
    server = type(git_server)(tmp_path)
    server.large = git_server.large
    yield server
    server.close()


def test_case_013_a_redirect_to_another_host_does_not_carry_credentials(store, hosted, elsewhere):
    server, url = hosted
    server.moved["/tiny-model"] = elsewhere.url.replace("127.0.0.1", "localhost")
    store.clone(url.replace("http://", "http://alice:s3cret@"), name="m")
    assert elsewhere.seen
    assert not [headers for _, _, headers in elsewhere.seen if "Authorization" in headers]


def test_case_013_a_large_file_on_another_host_is_fetched_without_our_credentials(store, hosted, elsewhere):
    server, url = hosted
    server.href = {oid: f"{elsewhere.url}/large/{oid}" for oid in server.large}
    store.clone(url.replace("http://", "http://alice:s3cret@"), name="m")
    assert elsewhere.seen
    assert not [headers for _, _, headers in elsewhere.seen if "Authorization" in headers]


def test_a_server_that_is_no_git_server_is_named_so(store, hosted):
    server, _ = hosted
    for path in ("/nothing/here", "/large/" + next(iter(server.large))):
        with pytest.raises(RemoteError) as caught:
            store.clone(server.url + path, name="m")
        assert caught.value.error_code == "remote.not_found"


def test_a_remote_that_stays_silent_is_given_up(new_store):
    store = new_store(clone=CloneSettings(timeout=0.3))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []
        thread = threading.Thread(target=lambda: taken.append(listener.accept()))
        thread.start()
        try:
            with pytest.raises(RemoteError) as caught:
                store.clone(f"http://127.0.0.1:{listener.getsockname()[1]}/x.git")
            assert caught.value.error_code == "remote.timeout"
            assert re.fullmatch(r"127\.0\.0\.1:\d+ did not answer within 0\.3 s", caught.value.message)
        finally:
            thread.join()
            taken[0][0].close()


def test_a_remote_that_is_not_there_is_a_remote_error(store):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RemoteError) as caught:
        store.clone(f"http://127.0.0.1:{port}/x.git")
    assert caught.value.error_code == "remote.unreachable"
    assert caught.value.message == f"cannot connect to 127.0.0.1:{port}: connection refused"
    assert store.registered() == []


def test_a_host_that_nobody_knows_is_named(store):
    with pytest.raises(RemoteError) as caught:
        store.clone("https://no-such-host.invalid/x.git")
    assert caught.value.error_code == "remote.unreachable"
    assert caught.value.message == "cannot find no-such-host.invalid: the name is not known"


def test_a_place_that_speaks_no_tls_is_named_so(store, git_server):
    with pytest.raises(RemoteError) as caught:
        store.clone(git_server.url.replace("http://", "https://") + "/x.git")
    assert caught.value.error_code == "remote.tls"
    assert git_server.url.removeprefix("http://") in caught.value.message


def test_a_store_of_large_files_that_is_not_there_is_named(store, hosted):
    server, url = hosted
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server.href = {oid: f"http://127.0.0.1:{port}/{oid}" for oid in server.large}
    with pytest.raises(RemoteError, match=r"cannot connect to 127\.0\.0\.1.*: connection refused"):
        store.clone(url, name="m")


def test_a_large_file_that_is_missing_is_named_by_path_and_id(store, hosted, model_repo):
    server, url = hosted
    server.large.clear()
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    details = caught.value.details
    assert caught.value.error_code == "lfs.missing"
    assert details["path"] in caught.value.message
    assert details["oid"] in caught.value.message
    assert details["oid"] in model_repo.run("show", f"main:{details['path']}")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"not json", "remote.failed"),
        (b'{"objects": []}', "lfs.missing"),
        (b'{"transfer": "tus", "objects": []}', "remote.failed"),
        (b'{"objects": [{"oid": 1}]}', "remote.failed"),
    ],
)
def test_a_broken_batch_api_is_a_remote_error(store, hosted, answer, code):
    server, url = hosted
    server.batch_answer = answer
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == code
    assert store.registered() == []


def test_a_download_place_that_is_no_http_url_is_refused(store, hosted):
    server, url = hosted
    server.href = dict.fromkeys(server.large, "file:///etc/passwd")
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == "url.scheme"


def test_a_user_gitconfig_changes_nothing(store, hosted, monkeypatch, tmp_path):
    server, url = hosted
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / ".gitconfig").write_text(
        '[http]\n\textraHeader = X-Leak: yes\n\tproxy = http://127.0.0.1:1\n[filter "lfs"]\n\tsmudge = false\n'
    )
    monkeypatch.setenv("HOME", str(home))
    store.clone(url, name="m")
    assert not [headers for _, _, headers in server.seen if "X-Leak" in headers]
