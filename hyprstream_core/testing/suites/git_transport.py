"""Conformance suite for git transports. Subclass it, give the record and a repository to fetch::

class TestMine(GitTransportSuite):
    record = GitTransport("mine", schemes=("mine",), load="my_plugin:MyTransport")
    missing = "mine://nowhere/nothing"

    def url(self, folder):
        return "mine://host/model"
"""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from hyprstream_core.builtin import hyprstream_storage_filters, hyprstream_worktree_drivers
from hyprstream_core.config import Limits
from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import Connection, GitTransport, Transport
from hyprstream_core.plugins import load
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.store import Store


class GitTransportSuite:
    """What every git transport must do."""

    record: ClassVar[GitTransport]
    missing: ClassVar[str]
    """A URL of one of its schemes behind which there is no repository."""

    def url(self, folder: Path) -> str:
        """A URL of one of its schemes with at least one branch; ``folder`` is empty and private."""
        raise NotImplementedError

    @pytest.fixture
    def made(self) -> Transport:
        opened: Transport = load(self.record.load)(Limits())
        return opened

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        """A store that knows this transport and no other."""
        parts = Parts(
            transports=[self.record],
            filters=list(hyprstream_storage_filters()),
            drivers=list(hyprstream_worktree_drivers()),
            load=load,
            limits=Limits(),
            timeout=10.0,
        )
        return Store(tmp_path / "models", parts, limits=Limits(), timeout=10.0)

    def test_its_urls_are_of_its_schemes(self, tmp_path: Path) -> None:
        for url in (self.url(tmp_path), self.missing):
            assert url.partition("://")[0] in self.record.schemes

    def test_a_connection_advertises_branches(self, made: Transport, tmp_path: Path) -> None:
        connection = made.connect(self.url(tmp_path), 10.0)
        assert isinstance(connection, Connection)
        with closing(connection.client) as client:
            refs = client.get_refs(connection.path.encode()).refs
        assert [name for name in refs if name.startswith(b"refs/heads/")]

    def test_what_it_fetches_is_a_whole_model(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "remote").mkdir()
        model = store.clone(self.url(tmp_path / "remote"), name="fetched")
        assert [worktree.branch for worktree in model.worktrees()] == [model.default_branch]
        done = subprocess.run(
            ["git", "fsck", "--strict", "--no-dangling"], cwd=model.git_dir, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        for commit in {*model.branches().values(), *model.tags().values()}:
            assert any(store.snapshot(store.resolve(f"fetched:{commit}")).iterdir())

    def test_what_is_missing_is_a_typed_error_and_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(RemoteError):
            store.clone(self.missing, name="nothing")
        assert store.registered() == []
