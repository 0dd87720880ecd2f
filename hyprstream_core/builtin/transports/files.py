"""git from local repositories: ``file://``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from dulwich.config import ConfigDict, ConfigFile

from hyprstream_core.builtin.transports.local_git import LocalClient
from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import Connection, Transport


class Files(Transport):
    """A repository on this machine, bare or not. Its large files are in its own ``lfs/objects``."""

    def connect(self, url: str) -> Connection:
        """See :meth:`Transport.connect`."""
        parts = urlsplit(url)
        path = Path(unquote(parts.path))
        if parts.hostname not in (None, "", "localhost") or not path.is_absolute():
            raise RemoteError(f"{url!r} does not name a folder of this machine", code="url.invalid", param="url")
        git_dir = next((p for p in (path / ".git", path) if (p / "objects").is_dir()), None)
        if git_dir is None:
            raise RemoteError(f"there is no git repository in {path}", code="remote.not_found", param="url")
        content = _lfs_storage(git_dir) / "objects"
        return Connection(LocalClient(config=ConfigDict()), str(path), str(content) if content.is_dir() else None)


def _lfs_storage(git_dir: Path) -> Path:
    """git-lfs's folder of a local repository: its ``lfs.storage``, else ``lfs`` in it."""
    try:
        config = ConfigFile.from_path(str(git_dir / "config"))
        return git_dir / config.get((b"lfs",), b"storage").decode()
    except (OSError, ValueError, KeyError):
        return git_dir / "lfs"
