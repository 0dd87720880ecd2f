"""Remotes that never come to an end (security-cases.md 10), at the level of bytes: nobody's git sends such things."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hyprstream_core.errors import RemoteError

TIP = b"1" * 40


def packet(data: bytes) -> bytes:
    return b"%04x" % (len(data) + 4) + data


def advertisement() -> bytes:
    """One branch, in git's protocol version 0."""
    head = packet(TIP + b" HEAD\0side-band-64k ofs-delta symref=HEAD:refs/heads/main\n")
    return packet(b"# service=git-upload-pack\n") + b"0000" + head + packet(TIP + b" refs/heads/main\n") + b"0000"


class Talker(BaseHTTPRequestHandler):
    """Answers a fetch with progress messages until the client hangs up; counts their bytes in ``server.sent``."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def start(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", f"application/x-git-upload-pack-{kind}")
        self.send_header("Connection", "close")
        self.end_headers()

    def do_GET(self):
        self.start("advertisement")
        self.wfile.write(advertisement())
        self.close_connection = True

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.start("result")
        with contextlib.suppress(ConnectionError):
            self.wfile.write(packet(b"NAK\n"))
            while True:
                self.wfile.write(packet(b"\x02still counting objects " + b"." * 60_000 + b"\r"))
                self.server.sent += 60_000
        self.close_connection = True


@pytest.fixture
def talker():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Talker)
    server.sent = 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_case_010_endless_messages_beside_the_pack_are_a_limit(store, talker, tmp_path):
    with pytest.raises(RemoteError) as caught:
        store.clone(f"http://127.0.0.1:{talker.server_port}/talks", name="m")
    assert (caught.value.error_code, caught.value.message) == ("remote.limit", "the remote sends endless messages")
    assert talker.sent < 32 * 2**20  # what the sockets between us held is sent, too
    assert store.registered() == []
    assert not any((tmp_path / "models/.staging").iterdir())
