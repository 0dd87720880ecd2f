"""Cloning over git:// from stock ``git daemon``."""

import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from hyprstream_core.config import CloneSettings, Limits
from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import GitTransport
from hyprstream_core.testing.suites.git_transport import GitTransportSuite
from tests.servers.daemon import GitDaemon


@pytest.fixture
def plain_repo(make_repo):
    """A repository without large files."""
    repo = make_repo("plain")
    repo.write("config.json", "{}")
    repo.commit()
    return repo


def test_a_clone_over_git_has_the_large_files_of_a_named_lfs_server_and_stock_git_agrees(
    new_store, git_daemon, model_repo, giftless, referee
):
    giftless.take(model_repo.git_dir)
    store = new_store(clone=CloneSettings(tokens={giftless.place: "unused"}))
    url, lfs_url = (
        f"{git_daemon.url}/tiny-model/.git",
        giftless.url.replace("http://", f"http://_jwt:{giftless.token}@"),
    )
    model = store.clone(url, name="m", lfs_url=lfs_url)
    [worktree] = model.worktrees()
    assert (worktree.path / "model.safetensors").read_bytes() == b"first weights" * 1000
    assert worktree.oid == model_repo.head("main")
    referee(store)


def test_large_files_come_from_https_of_the_host_when_nobody_says_where(new_store, git_daemon, model_repo):
    with pytest.raises(RemoteError, match=r"cannot connect to 127\.0\.0\.1") as caught:
        new_store().clone(f"{git_daemon.url}/tiny-model/.git", name="m")
    assert caught.value.error_code == "remote.unreachable"


def test_a_repository_that_is_not_served_is_named_so(store, git_daemon):
    with pytest.raises(RemoteError) as caught:
        store.clone(f"{git_daemon.url}/nothing")
    assert caught.value.error_code == "remote.not_found"


def test_nobody_there_is_remote_unreachable(store, git_daemon):
    git_daemon.close()
    with pytest.raises(RemoteError) as caught:
        store.clone(f"{git_daemon.url}/plain/.git")
    assert caught.value.error_code == "remote.unreachable"


def test_the_name_behind_the_slash_is_the_default_name(store, git_daemon, plain_repo):
    assert store.clone(f"{git_daemon.url}/plain/.git").name == "plain"


@pytest.fixture
def talker():
    """talker(speak) → URL of a server that answers with ``speak(socket)``."""
    listener, threads = socket.create_server(("127.0.0.1", 0)), []

    def start(speak):
        def serve():
            connected, _ = listener.accept()
            with connected:
                speak(connected)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return f"git://127.0.0.1:{listener.getsockname()[1]}/x"

    yield start
    for thread in threads:
        thread.join()
    listener.close()


def until_closed(connected):
    while connected.recv(4096):
        pass


def test_case_010_a_silent_server_is_given_up(new_store, talker):
    started = time.monotonic()
    with pytest.raises(RemoteError) as caught:
        new_store(clone=CloneSettings(timeout=0.4)).clone(talker(until_closed))
    assert caught.value.error_code == "remote.timeout"
    assert time.monotonic() - started < 5


def test_case_010_endless_references_are_refused(new_store, talker):
    def speak(connected):
        connected.recv(4096)
        line = b"0" * 40 + b" refs/heads/%08d\n"
        try:
            for number in range(10**6):
                connected.sendall(b"%04x" % (len(line) + 8) + line % number)
        except OSError:
            pass

    with pytest.raises(RemoteError) as caught:
        new_store(limits=Limits(repo_refs=100)).clone(talker(speak))
    assert caught.value.error_code == "remote.limit"


@pytest.mark.parametrize("answer", [b"", b"0000", b"HTTP/1.0 400 Bad\r\n\r\n", b"fffe" + b"x" * 100, b"0009ERR x"])
def test_nonsense_is_a_remote_error(store, talker, answer):
    def speak(connected):
        connected.recv(4096)
        connected.sendall(answer)

    with pytest.raises(RemoteError):
        store.clone(talker(speak))


class TestConformance(GitTransportSuite):
    record = GitTransport("git", ("git",), load="hyprstream_core.builtin.transports.daemon:Daemon")
    missing = "git://127.0.0.1:1/nothing"
    server: GitDaemon

    @pytest.fixture(autouse=True)
    def serve(self, tmp_path):
        type(self).server = GitDaemon(Path("/"), tmp_path / "daemon.log")
        yield
        self.server.close()

    def url(self, folder):
        identity = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
        subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
        subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], cwd=folder, check=True)
        (folder / "config.json").write_text("{}")
        subprocess.run(["git", "add", "."], cwd=folder, check=True)
        subprocess.run(["git", *identity, "commit", "-q", "-m", "y"], cwd=folder, check=True)
        return f"{self.server.url}{folder}/.git"
