import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hyprstream_core.builtin.rpc import Ipc
from hyprstream_core.errors import ConfigError, Conflict, Unavailable
from hyprstream_core.rpc.endpoints import MAX_IPC_PATH, EndpointLock, endpoint, ipc_path, private_directory


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="hs") as path:
        yield Path(path)


def test_endpoints_name_service_scheme_and_place():
    assert endpoint("registry", "ipc", Path("/run/h")) == "ipc:///run/h/registry.sock"
    assert endpoint("registry", "inproc", Path("/run/h")) == "inproc:///run/h/registry"
    assert ipc_path("ipc:///run/h/registry.sock") == Path("/run/h/registry.sock")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "1a", "a" * 33, "a\n"])
def test_service_names_cannot_lead_elsewhere(name):
    with pytest.raises(ConfigError, match="service name"):
        endpoint(name, "ipc", Path("/run/h"))


def test_a_path_that_no_socket_address_can_hold_is_refused():
    longest = "/" + "d" * (MAX_IPC_PATH - len("//a.sock"))
    assert len(endpoint("a", "ipc", Path(longest))) == len("ipc://") + MAX_IPC_PATH
    with pytest.raises(ConfigError, match=r"108 bytes.*holds 107") as caught:
        endpoint("a", "ipc", Path(longest + "d"))
    assert caught.value.param == "runtime_dir"
    with pytest.raises(ConfigError, match="108 bytes"):
        endpoint("a", "ipc", Path(longest[:-1] + "é"))


@pytest.mark.parametrize("bad", ["tcp://127.0.0.1:1", "ipc://relative", "ipc:///" + "x" * 120])
def test_only_ipc_endpoints_have_a_path(bad):
    with pytest.raises(ConfigError):
        ipc_path(bad)


def test_the_directory_is_made_private(home):
    old = os.umask(0)
    try:
        private_directory(home / "a/b")
    finally:
        os.umask(old)
    for made in (home / "a", home / "a/b"):
        assert stat.S_IMODE(made.stat().st_mode) & 0o077 == 0
    private_directory(home / "a/b")


def test_a_symbolic_link_is_refused(home):
    (home / "real").mkdir(mode=0o700)
    (home / "link").symlink_to("real")
    with pytest.raises(Unavailable, match="symbolic link"):
        private_directory(home / "link")


def test_a_file_is_refused(home):
    (home / "file").touch()
    with pytest.raises(Unavailable, match="not a directory"):
        private_directory(home / "file")


def test_somebody_elses_directory_is_refused(home):
    if os.geteuid() == 0:
        foreign = home / "foreign"
        foreign.mkdir(mode=0o700)
        os.chown(foreign, 65534, 65534)
    else:
        foreign = Path("/usr")
    with pytest.raises(Unavailable, match="belongs to user id"):
        private_directory(foreign)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o707])
def test_a_directory_that_others_can_enter_is_refused(home, mode):
    (home / "open").mkdir()
    (home / "open").chmod(mode)
    with pytest.raises(Unavailable, match=f"{mode:04o}"):
        private_directory(home / "open")


def test_nobody_is_told_to_delete_or_open_what_is_not_ours(home):
    (home / "file").touch()
    (home / "lock.sock.lock").mkdir()
    (home / "taken.sock").touch()
    for attempt in (
        lambda: private_directory(Path("/tmp")),
        lambda: private_directory(home / "file"),
        lambda: private_directory(home / "file/below"),
        lambda: EndpointLock.acquire(home / "lock.sock"),
        lambda: EndpointLock.acquire(home / "taken.sock"),
    ):
        with pytest.raises(Unavailable) as caught:
            attempt()
        assert caught.value.remedy == "choose another runtime_dir"
        assert caught.value.error_code == "rpc.unsafe_directory"


def test_a_second_lock_names_the_holder_and_release_frees_it(home):
    lock = EndpointLock.acquire(home / "a.sock")
    with pytest.raises(Conflict, match=f"pid {os.getpid()}") as caught:
        EndpointLock.acquire(home / "a.sock")
    assert caught.value.details["pid"] == os.getpid()
    lock.release()
    EndpointLock.acquire(home / "a.sock").release()


def test_what_a_killed_process_left_is_taken_over(home):
    code = f"""
import os, socket
from pathlib import Path
from hyprstream_core.rpc.endpoints import EndpointLock
EndpointLock.acquire(Path({str(home)!r}) / "a.sock")
socket.socket(socket.AF_UNIX).bind({str(home / "a.sock")!r})
print("held", flush=True)
input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Conflict, match=f"pid {process.pid}"):
            EndpointLock.acquire(home / "a.sock")
        process.kill()
        process.wait()
    assert (home / "a.sock").exists()
    lock = EndpointLock.acquire(home / "a.sock")
    assert not (home / "a.sock").exists()
    lock.release()


def test_something_else_in_the_sockets_place_is_left_alone(home):
    (home / "a.sock").write_text("precious")
    with pytest.raises(Unavailable, match="no socket"):
        EndpointLock.acquire(home / "a.sock")
    assert (home / "a.sock").read_text() == "precious"


def test_a_lock_file_that_is_a_link_is_not_followed(home):
    (home / "victim").write_text("precious")
    (home / "a.sock.lock").symlink_to("victim")
    with pytest.raises(Unavailable, match="lock"):
        EndpointLock.acquire(home / "a.sock")
    assert (home / "victim").read_text() == "precious"


def test_the_ipc_link_prepares_and_releases(home):
    link, place = Ipc(), endpoint("a", "ipc", home / "run")
    link.prepare_bind(place)
    with pytest.raises(Conflict):
        link.prepare_bind(place)
    socket_path = ipc_path(place)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(socket_path))
    link.release(place)
    assert not socket_path.exists()
    link.release(place)
    Ipc().prepare_bind(place)
