"""Stock ``git http-backend`` with an LFS batch API and a hub's ``resolve/`` on loopback, which can misbehave.

``python -m hyprstream_core.testing.git_server FOLDER`` serves the repositories below a folder, with the large files
of their ``lfs/objects``, and prints its URL: for benchmarks, and for looking at a transfer by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from urllib.parse import unquote

_RESOLVE = re.compile(r"(/.+)/resolve/([0-9a-f]{40})/(.+)")
_OID = re.compile(rb"oid sha256:([0-9a-f]{64})\n")
_CHUNK = 1 << 16


class GitServer:
    """Serves the repositories below ``root``; every attribute may be changed while it runs."""

    def __init__(self, root: Path, tls: ssl.SSLContext | None = None) -> None:
        self.root = root
        self.scheme = "https" if tls else "http"
        self.large: dict[str, bytes | Path] = {}
        """By oid, the content that ``/large/<oid>`` and the batch API have."""
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of every request."""
        self.sent: Counter[str] = Counter()
        """By oid, bytes of content that were sent."""
        self.at_once: list[int] = []
        """How many answers with content were under way whenever one began."""
        self.sending = 0
        self.password: str | None = None
        """When set, requests without any ``Authorization`` get 401."""
        self.refused: str | None = None
        """An ``Authorization`` that is refused as well."""
        self.challenge = ("none", "")
        """Requests to paths with this beginning always get 401, with this ``WWW-Authenticate``."""
        self.moved: dict[str, str] = {}
        """By prefix of a path, the server to which such requests are redirected."""
        self.href: dict[str, str] = {}
        """By oid, another place that the batch API names."""
        self.header: dict[str, str] = {}
        """What the batch API wants to be sent to the places that it names."""
        self.batch_answer: bytes | None = None
        self.batch_status = 200
        self.is_hub = False
        """Whether ``/<repository>/resolve/<commit>/<path>`` is answered."""
        self.content_host = ""
        """The server to which ``resolve/`` redirects for large files; itself when empty."""
        self.cut: dict[str, int] = {}
        """By oid, after how many bytes every answer with its content breaks off."""
        self.cuts: list[int] = []
        """The same for the next answers with any content, one each."""
        self.statuses: list[int] = []
        """What the next requests for content are answered instead of content."""
        self.silences: list[float] = []
        """Seconds of silence before the next answers with content."""
        self.ranges = "honoured"
        """Or "ignored", "shifted" (another range than was asked for), "refused" (416), "unlike" (other bytes)."""
        self.has_length = True
        self.rate = 0
        """Bytes per second of one answer; 0 is as fast as possible."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, by address."""
        return f"{self.scheme}://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    site: ClassVar[GitServer]
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self._body()
        path, _, query = self.path.partition("?")
        self.site.seen.append((self.command, self.path, {k.title(): v for k, v in self.headers.items()}))
        if target := next((t for prefix, t in self.site.moved.items() if path.startswith(prefix)), None):
            self._answer(307, b"", "text/plain", Location=target + self.path)
        elif self._is_refused(path):
            challenge = self.site.challenge[1] or 'Basic realm="x"'
            self._answer(401, b"", "text/plain", **{"WWW-Authenticate": challenge})
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif path.startswith("/large/"):
            self._large(path.removeprefix("/large/"))
        elif self.site.is_hub and (found := _RESOLVE.fullmatch(path)):
            self._resolve(*found.groups())
        else:
            self._git(path, query, body)

    def _is_refused(self, path: str) -> bool:
        who = self.headers.get("Authorization")
        return bool(self.site.password and who in (None, self.site.refused)) or path.startswith(self.site.challenge[0])

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def _batch(self, request: dict[str, Any]) -> None:
        objects = []
        for wanted in request["objects"]:
            href = self.site.href.get(wanted["oid"], f"{self.site.url}/large/{wanted['oid']}")
            action = {"href": href, "header": self.site.header}
            known = wanted["oid"] in self.site.large or wanted["oid"] in self.site.href
            offer = {"actions": {"download": action}} if known else {"error": {"code": 404, "message": "no"}}
            objects.append({"oid": wanted["oid"], "size": wanted["size"], **offer})
        answer = self.site.batch_answer or json.dumps({"transfer": "basic", "objects": objects}).encode()
        self._answer(self.site.batch_status, answer, "application/vnd.git-lfs+json")

    def _resolve(self, repository: str, commit: str, path: str) -> None:
        folder = self.site.root / repository.strip("/")
        command = ["git", "cat-file", "blob", f"{commit}:{unquote(path)}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        if done.returncode:
            self._answer(404, b"", "text/plain")
        elif found := _OID.search(done.stdout[:200]):
            place = f"{self.site.content_host or self.site.url}/large/{found[1].decode()}"
            self._answer(302, b"", "text/plain", Location=place)
        else:
            self._answer(200, done.stdout, "application/octet-stream")

    def _large(self, oid: str) -> None:
        site, content = self.site, self.site.large.get(oid)
        if site.silences:
            time.sleep(site.silences.pop(0))
        if site.statuses and (status := site.statuses.pop(0)) != 200:
            return self._answer(status, b"", "text/plain")
        if content is None:
            return self._answer(404, b"", "text/plain")
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        start, found = 0, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found and site.ranges != "ignored":
            start = int(found[1])
            if start >= size or site.ranges == "refused":
                return self._answer(416, b"", "text/plain", **{"Content-Range": f"bytes */{size}"})
            start -= start // 2 if site.ranges == "shifted" else 0
        self.send_response(206 if found and site.ranges != "ignored" else 200)
        if found and site.ranges != "ignored":
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if site.has_length:
            self.send_header("Content-Length", str(size - start))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError), _opened(content) as file:
            self._send(oid, file, start, size, spoilt=bool(start) and site.ranges == "unlike")
        return None

    def _send(self, oid: str, file: BinaryIO, start: int, size: int, *, spoilt: bool) -> None:
        site = self.site
        end = min(size, start + (site.cuts.pop(0) if site.cuts else site.cut.get(oid, size)))
        file.seek(start)
        site.sending += 1
        site.at_once.append(site.sending)
        try:
            self._copy(oid, file, start, end, spoilt=spoilt)
        finally:
            site.sending -= 1
        if end < size:
            self.close_connection = True

    def _copy(self, oid: str, file: BinaryIO, start: int, end: int, *, spoilt: bool) -> None:
        site = self.site
        while start < end:
            chunk = file.read(min(_CHUNK if site.rate else 1 << 20, end - start))
            self.wfile.write(bytes(len(chunk)) if spoilt else chunk)
            site.sent[oid] += len(chunk)
            start += len(chunk)
            if site.rate:
                time.sleep(len(chunk) / site.rate)

    def _git(self, path: str, query: str, body: bytes) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.site.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.get("Status", "200").split()[0])
        self._answer(status, content, headers.get("Content-Type", "text/plain"))


@contextlib.contextmanager
def _opened(content: bytes | Path) -> Iterator[BinaryIO]:
    with content.open("rb") if isinstance(content, Path) else BytesIO(content) as file:
        yield file


def main() -> None:
    """Serve a folder until standard input ends."""
    folder = Path(sys.argv[1])
    server = GitServer(folder)
    for file in folder.glob("**/lfs/objects/??/??/*"):
        server.large[file.name] = file
    print(server.url, flush=True)
    sys.stdin.read()
    server.close()


if __name__ == "__main__":
    main()
