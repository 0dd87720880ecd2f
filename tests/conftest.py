"""Real git repositories to clone from, a real server to clone over, and stores to clone into."""

import contextlib
import hashlib
import json
import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.servers.daemon import GitDaemon
from tests.servers.giftless import Giftless
from tests.servers.sshd import Sshd


class GitRepo:
    """A repository driven by stock git; large files are added as git-lfs would, without git-lfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.run("init", "--quiet", "--initial-branch=main")
        self.run("config", "user.name", "Test")
        self.run("config", "user.email", "test@localhost")

    @property
    def git_dir(self) -> Path:
        return self.path / ".git"

    def run(self, *args: str, stdin: bytes | None = None) -> str:
        done = subprocess.run(["git", *args], cwd=self.path, input=stdin, capture_output=True, check=False)
        if done.returncode:
            raise AssertionError(f"git {args} failed: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    def write(self, path: str, data: bytes | str) -> None:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)

    def large(self, path: str, data: bytes) -> str:
        """A pointer in the tree, the content in git-lfs's place; its sha256."""
        oid = hashlib.sha256(data).hexdigest()
        self.write(path, pointer(oid, len(data)))
        self.content(oid).parent.mkdir(parents=True, exist_ok=True)
        self.content(oid).write_bytes(data)
        return oid

    def content(self, oid: str) -> Path:
        return self.git_dir / "lfs/objects" / oid[:2] / oid[2:4] / oid

    def commit(self, message: str = "change") -> str:
        self.run("add", "--all")
        self.run("commit", "--quiet", "--allow-empty", "-m", message)
        return self.head()

    def head(self, name: str = "HEAD") -> str:
        return self.run("rev-parse", f"{name}^{{commit}}")

    def raw(self, kind: str, data: bytes) -> str:
        """Write any bytes as an object, however wrong."""
        return self.run("hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=data)

    def blob(self, data: bytes = b"content\n") -> str:
        return self.raw("blob", data)

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        """A tree of (mode, name, id), written in the order given."""
        return self.raw("tree", b"".join(m.encode() + b" " + n + b"\0" + bytes.fromhex(o) for m, n, o in entries))

    def point(self, tree: str, branch: str = "main") -> str:
        """Make ``branch`` a new commit of ``tree``."""
        commit = self.run("commit-tree", tree, "-m", "hostile")
        self.run("update-ref", f"refs/heads/{branch}", commit)
        return commit


def pointer(oid: str, size: int) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


@pytest.fixture
def make_repo(tmp_path):
    """make_repo("name") → an empty GitRepo."""
    return lambda name="source": GitRepo(tmp_path / name)


@pytest.fixture
def model_repo(make_repo):
    """A small model: two branches, a plain and an annotated tag, a large file that differs between branches."""
    repo = make_repo("tiny-model")
    repo.write("config.json", '{"hidden_size": 8}')
    repo.write("nested/folder/notes.txt", "deep\n")
    repo.write("run.sh", "#!/bin/sh\n")
    (repo.path / "run.sh").chmod(0o755)
    repo.write(".gitattributes", "*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    repo.large("model.safetensors", b"first weights" * 1000)
    repo.large("copy.safetensors", b"first weights" * 1000)
    repo.commit("first")
    repo.run("tag", "v1-light")
    repo.run("tag", "-a", "v1", "-m", "the first")
    repo.run("checkout", "--quiet", "-b", "feature/x")
    repo.large("model.safetensors", b"second weights" * 1000)
    repo.commit("second")
    repo.run("checkout", "--quiet", "main")
    return repo


@pytest.fixture
def new_store(tmp_path):
    """new_store(limits=…, …) → a store of built-in parts in a temporary folder."""
    from hyprstream_core.config import Settings
    from hyprstream_core.plugins import Plugins, installed
    from hyprstream_core.services.store import open_store

    def make(root="models", **settings):
        builtin = Plugins([c for c in installed() if c.name == "builtin"])
        return open_store(Settings(models_dir=tmp_path / root, **settings), builtin)

    return make


@pytest.fixture
def store(new_store):
    return new_store()


def git(path: Path, *args: str) -> str:
    """Stock git as referee: its output, or a failed test."""
    done = subprocess.run(["git", *args], cwd=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {args} in {path}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def referee():
    """referee(store) → stock git finds nothing wrong with anything in it, and no command left anything behind."""

    def check(store) -> None:
        root = store._space.layout.root
        for model in store.registered():
            assert git(model.git_dir, "fsck", "--strict", "--no-dangling") == ""
            listed = git(model.git_dir, "worktree", "list", "--porcelain")
            for worktree in model.worktrees():
                assert f"worktree {worktree.path}\nHEAD {worktree.oid}\nbranch refs/heads/{worktree.branch}" in listed
                assert git(worktree.path, "status", "--porcelain") == ""
        if (root / ".registry").exists():
            unborn = "notice: HEAD points to an unborn branch (main)\n"
            assert git(root / ".registry", "fsck", "--strict", "--no-dangling") in ("", unborn)
            assert git(root / ".registry", "status", "--porcelain") == ""
        assert not any((root / ".staging").glob("*"))
        assert not [p for p in root.rglob("*") if p.name.endswith((".lock", ".tmp")) or p.name.startswith("tmp_")]

    return check


class GitServer:
    """Stock ``git http-backend`` and a git-lfs batch API on loopback, which can be told to misbehave."""

    def __init__(self, root: Path, tls: ssl.SSLContext | None = None) -> None:
        self.root = root
        self.scheme = "https" if tls else "http"
        self.large: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.moved: dict[str, str] = {}
        self.href: dict[str, str] = {}
        self.cut: dict[str, int] = {}
        self.batch_answer: bytes | None = None
        self.password: str | None = None
        self.refused: str | None = None
        self.challenge = ("none", "")
        self.header: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    site: GitServer

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def _serve(self):
        body = self._body()
        path, _, query = self.path.partition("?")
        self.site.seen.append((self.command, self.path, {k.title(): v for k, v in self.headers.items()}))
        if target := next((t for prefix, t in self.site.moved.items() if path.startswith(prefix)), None):
            self.send_response(307)
            self.send_header("Location", target + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self._is_refused(path):
            self._answer(401, b"", "text/plain", **{"WWW-Authenticate": self.site.challenge[1] or 'Basic realm="x"'})
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif path.startswith("/large/"):
            self._large(path.removeprefix("/large/"))
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
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def _batch(self, request) -> None:
        objects = []
        for wanted in request["objects"]:
            href = self.site.href.get(wanted["oid"], f"{self.site.url}/large/{wanted['oid']}")
            known = wanted["oid"] in self.site.large or wanted["oid"] in self.site.href
            download = {"href": href, "header": self.site.header}
            action = {"actions": {"download": download}} if known else {"error": {"code": 404, "message": "no"}}
            objects.append({"oid": wanted["oid"], "size": wanted["size"], **action})
        answer = self.site.batch_answer or json.dumps({"transfer": "basic", "objects": objects}).encode()
        self._answer(200, answer, "application/vnd.git-lfs+json")

    def _large(self, oid: str) -> None:
        data = self.site.large.get(oid)
        if data is None:
            return self._answer(404, b"", "text/plain")
        if oid in self.site.cut:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: self.site.cut[oid]])
            self.close_connection = True
            return None
        return self._answer(200, data, "application/octet-stream")

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


@pytest.fixture
def git_server(tmp_path):
    """A GitServer for the repositories of this test: ``git_server.url + "/tiny-model/.git"``."""
    server = GitServer(tmp_path)
    yield server
    server.close()


@pytest.fixture
def sshd(tmp_path):
    """An Sshd that lets us in: ``new_store(clone=CloneSettings(ssh_command=sshd.command))``."""
    server = Sshd(tmp_path / "sshd")
    yield server
    server.close()


@pytest.fixture
def git_daemon(tmp_path):
    """A GitDaemon for the repositories of this test: ``git_daemon.url + "/tiny-model/.git"``."""
    server = GitDaemon(tmp_path, tmp_path / "daemon.log")
    yield server
    server.close()


@pytest.fixture
def giftless(tmp_path):
    """A Giftless: ``giftless.take(model_repo.git_dir)``, then clone with ``lfs_url=giftless.url``."""
    server = Giftless(tmp_path / "giftless")
    yield server
    server.close()
