"""Real git repositories to clone from, a real server to clone over, and stores to clone into."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from hyprstream_core.testing.git_server import GitServer
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
