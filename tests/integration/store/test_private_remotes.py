"""Private remotes: who asks is told by URL, hub token, table of tokens or netrc, and only where it is meant to be."""

import base64
import json
import os
import ssl
import subprocess
import sys

import pytest

from hyprstream_core.config import CloneSettings, HubSettings
from hyprstream_core.errors import RemoteError


@pytest.fixture
def hosted(git_server, model_repo):
    """A private server with the model on it; (server, clone URL)."""
    for file in (model_repo.git_dir / "lfs/objects").glob("??/??/*"):
        git_server.large[file.name] = file.read_bytes()
    git_server.password = "canary"
    return git_server, f"{git_server.url}/tiny-model/.git"


@pytest.fixture
def elsewhere(git_server, hosted, tmp_path):
    """A second server with the same content on another port."""
    server = type(git_server)(tmp_path)
    server.large = git_server.large
    yield server
    server.close()


@pytest.fixture
def netrc(tmp_path):
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login alice password canary\n")
    file.chmod(0o600)
    return file


def basic(user):
    return "Basic " + base64.b64encode(f"{user}:canary".encode()).decode()


def said(server):
    """What was said to a server about who asks."""
    return {headers.get("Authorization") for _, _, headers in server.seen}


WAYS = {
    "table": lambda server, netrc: {"clone": CloneSettings(tokens={server.url: "canary"})},
    "netrc": lambda server, netrc: {"clone": CloneSettings(netrc=netrc)},
    "hub": lambda server, netrc: {"hub": HubSettings(endpoint=server.url, token="canary")},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_private_model_is_cloned_and_its_large_files_are_found_again_later(new_store, hosted, netrc, way, tmp_path):
    server, url = hosted
    settings = WAYS[way](server, netrc)
    store = new_store(**settings)
    store.clone(url, name="m")
    folder = new_store(**settings).snapshot(store.resolve("m:feature/x"))
    assert (folder / "model.safetensors").read_bytes() == b"second weights" * 1000
    assert said(server) == {basic("alice" if way == "netrc" else "oauth2")}
    models = tmp_path / "models"
    assert not [p for p in models.rglob("*") if p.is_file() and b"canary" in p.read_bytes()]


def test_without_credentials_a_later_fetch_says_how_to_give_them(new_store, hosted):
    server, url = hosted
    store = new_store()
    store.clone(url.replace("http://", "http://alice:canary@"), name="m")
    with pytest.raises(RemoteError) as caught:
        store.snapshot(store.resolve("m:feature/x"))
    assert caught.value.error_code == "remote.unauthorized"
    assert "clone.tokens" in caught.value.remedy
    assert server.url in caught.value.remedy


def test_credentials_that_are_not_accepted_are_named_by_where_they_come_from(new_store, hosted, git_server, netrc):
    git_server.refused = basic("alice")
    with pytest.raises(RemoteError, match=r"does not accept the credentials from clone\.netrc") as caught:
        new_store(clone=CloneSettings(netrc=netrc)).clone(hosted[1], name="m")
    assert "canary" not in str(caught.value)


def test_urls_of_the_hub_are_asked_at_the_endpoint_and_recorded_as_given(new_store, hosted):
    server, _ = hosted
    store = new_store(hub=HubSettings(endpoint=f"{server.url}/", token="canary"))
    for host in ("huggingface.co", "hf.co"):
        url = f"https://{host}/tiny-model/.git"
        model = store.clone(url, name=host.partition(".")[0])
        assert model.url == url
    assert (store.snapshot(store.resolve("hf:feature/x")) / "model.safetensors").stat().st_size == 14000
    assert said(server) == {basic("oauth2")}


def test_the_hub_is_not_asked_when_it_is_switched_off(new_store, hosted):
    server, url = hosted
    store = new_store(hub=HubSettings(endpoint=server.url, offline=True))
    for place in ("https://huggingface.co/a/b", "https://hf.co/a/b", "git@hf.co:a/b", url):
        with pytest.raises(RemoteError) as caught:
            store.clone(place, name="m")
        assert caught.value.error_code == "remote.offline"
        assert "HF_HUB_OFFLINE" in caught.value.remedy
    assert server.seen == []


# ── never told to anybody else ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", [*WAYS, "url", "default"])
@pytest.mark.parametrize("redirect", ["all", "batch", "href", "file"])
def test_case_013_a_redirect_or_link_to_another_port_carries_no_credentials(
    new_store, hosted, elsewhere, netrc, way, redirect
):
    server, url = hosted
    if way == "url":
        settings, url = {}, url.replace("http://", "http://alice:canary@")
    elif way == "default":
        netrc.write_text("default login alice password canary\n")
        settings = WAYS["netrc"](server, netrc)
    else:
        settings = WAYS[way](server, netrc)
    moved = {"all": "/tiny-model", "batch": "/tiny-model/.git/info/lfs", "file": "/large/"}
    if redirect == "href":
        server.href = {oid: f"{elsewhere.url}/large/{oid}" for oid in server.large}
    else:
        server.moved[moved[redirect]] = elsewhere.url
    new_store(**settings).clone(url, name="m")
    assert said(server) == {basic("alice" if way in ("netrc", "url", "default") else "oauth2")}
    assert elsewhere.seen
    assert said(elsewhere) == {None}


@pytest.mark.parametrize("path", ["/tiny-model/.git/info/refs", "/tiny-model/.git/info/lfs/objects/batch", "/large/"])
def test_case_013_the_place_that_a_challenge_names_is_never_asked(new_store, hosted, elsewhere, path):
    server, url = hosted
    server.password = None
    server.challenge = (path, f'Bearer realm="{elsewhere.url}/token",service="x"')
    with pytest.raises(RemoteError) as caught:
        new_store().clone(url.replace("http://", "http://alice:canary@"), name="m")
    assert caught.value.error_code == "remote.unauthorized"
    assert elsewhere.seen == []


def test_case_013_headers_that_a_batch_answer_names_for_a_file_do_not_follow_a_redirect(new_store, hosted, elsewhere):
    server, url = hosted
    server.password = None
    server.header = {"X-Private": "canary", "Authorization": "Bearer canary"}
    server.moved["/large/"] = elsewhere.url
    new_store().clone(url, name="m")
    files = [headers for _, path, headers in server.seen if path.startswith("/large/")]
    assert [headers["X-Private"] for headers in files] == ["canary"]
    assert elsewhere.seen
    assert "canary" not in str(elsewhere.seen)


@pytest.fixture
def encrypted(git_server, hosted, tmp_path, monkeypatch):
    """A server with the same content by https, which this process trusts; what it moves is on ``hosted``, by http."""
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*made, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = type(git_server)(tmp_path, context)
    server.large = git_server.large
    yield server
    server.close()


@pytest.mark.parametrize("redirect", ["/tiny-model", "/tiny-model/.git/info/lfs", "/large/"])
@pytest.mark.parametrize("way", ["table", "hub", "url", "netrc"])
def test_case_013_nothing_is_told_to_the_same_host_without_encryption(
    new_store, hosted, encrypted, netrc, redirect, way
):
    plain, _ = hosted
    plain.password = None
    encrypted.moved[redirect] = plain.url
    url = f"{encrypted.url}/tiny-model/.git"
    settings = {} if way == "url" else WAYS[way](encrypted, netrc)
    new_store(**settings).clone(url.replace("https://", "https://alice:canary@") if way == "url" else url, name="m")
    assert said(encrypted) == {basic("alice" if way in ("url", "netrc") else "oauth2")}
    assert plain.seen
    assert said(plain) == {None}


def test_the_command_line_reads_the_hubs_variables_and_shows_no_secret(hosted, tmp_path):
    server, _ = hosted
    models = {"HYPRSTREAM_MODELS_DIR": str(tmp_path / "models"), "HF_ENDPOINT": server.url}
    command = [sys.executable, "-m", "hyprstream_core.cli", "clone", "https://huggingface.co/tiny-model/.git", "--json"]

    def run(**more):
        done = subprocess.run(command, env={**os.environ, **models, **more}, capture_output=True, text=True)
        assert "canary" not in done.stdout + done.stderr
        return done

    for more, code in (({}, "remote.unauthorized"), ({"HF_HUB_OFFLINE": "1"}, "remote.offline")):
        assert json.loads(run(**more).stderr)["error"]["code"] == code
    done = run(HF_TOKEN="canary", HYPRSTREAM_LOG="debug")
    assert json.loads(done.stdout)["url"] == "https://huggingface.co/tiny-model/.git"


# ── large files of a server not written here ───────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["url", "netrc"])
def test_a_clone_over_http_with_giftless_agrees_with_stock_git_and_git_lfs(
    new_store, git_server, model_repo, giftless, referee, netrc, way
):
    giftless.take(model_repo.git_dir)
    if way == "netrc":
        netrc.write_text(f"machine 127.0.0.1 login _jwt password {giftless.token}\n")
        lfs_url, store = giftless.url, new_store(clone=CloneSettings(netrc=netrc))
    else:
        lfs_url, store = giftless.url.replace("http://", f"http://_jwt:{giftless.token}@"), new_store()
    model = store.clone(f"{git_server.url}/tiny-model/.git", name="m", lfs_url=lfs_url)
    [worktree] = model.worktrees()
    assert (worktree.path / "model.safetensors").read_bytes() == b"first weights" * 1000
    config = ["git", "config", "lfs.url"]
    assert subprocess.run(config, cwd=model.git_dir, capture_output=True, text=True).stdout.strip() == giftless.url
    referee(store)
    fsck = subprocess.run(["git", "lfs", "fsck"], cwd=worktree.path, capture_output=True, text=True, check=False)
    assert "OK" in fsck.stdout, fsck
    if way == "netrc":
        folder = store.snapshot(store.resolve("m:feature/x"))
        assert (folder / "model.safetensors").read_bytes() == b"second weights" * 1000


def test_giftless_refuses_who_has_no_token(new_store, git_server, model_repo, giftless):
    giftless.take(model_repo.git_dir)
    with pytest.raises(RemoteError) as caught:
        new_store().clone(f"{git_server.url}/tiny-model/.git", name="m", lfs_url=giftless.url)
    assert caught.value.error_code == "remote.unauthorized"
    assert giftless.place in caught.value.remedy


@pytest.mark.parametrize("lfs_url", ["ssh://host/x", "file:///x", "ext::x", "-x", "https://"])
def test_an_lfs_url_that_is_not_http_is_refused_before_anything_is_asked(new_store, hosted, lfs_url):
    server, url = hosted
    with pytest.raises(RemoteError):
        new_store().clone(url, name="m", lfs_url=lfs_url)
    assert server.seen == []
