"""git over ``http(s)://`` and from local repositories (``file://``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from dulwich.client import Urllib3HttpGitClient, default_urllib3_manager
from dulwich.config import ConfigDict, ConfigFile

from hyprstream_core.builtin.local_git import LocalClient
from hyprstream_core.config import Limits
from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import Connection, Transport

_REF_BYTES = 1024
"""What one advertised reference may take, with its name and attributes."""
_RETRIES = urllib3.Retry(connect=2, read=0, status=0, other=0, redirect=5)


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


class Http(Transport):
    """git's smart protocol over HTTP. Credentials in the URL go to its own host only."""

    def connect(self, url: str) -> Connection:
        """See :meth:`Transport.connect`; nothing is sent yet."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise RemoteError("the URL names no host", code="url.invalid", param="url")
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        client = HttpClient(
            bare,
            limits=self.access.limits,
            timeout=self.access.timeout,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )
        return Connection(client, "")


def _lfs_storage(git_dir: Path) -> Path:
    """git-lfs's folder of a local repository: its ``lfs.storage``, else ``lfs`` in it."""
    try:
        config = ConfigFile.from_path(str(git_dir / "config"))
        return git_dir / config.get((b"lfs",), b"storage").decode()
    except (OSError, ValueError, KeyError):
        return git_dir / "lfs"


class _Pool(urllib3.PoolManager):
    """A pool that retries as we want it to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "retries": _RETRIES})


class HttpClient(Urllib3HttpGitClient):
    """dulwich's client, with our configuration instead of the user's, bounded where it reads all at once."""

    def __init__(self, url: str, *, limits: Limits, timeout: float, username: str | None, password: str | None) -> None:
        config = ConfigFile()
        manager = default_urllib3_manager(config, pool_manager_cls=_Pool, base_url=url, timeout=timeout)
        super().__init__(
            url, pool_manager=manager, config=config, timeout=timeout, username=username, password=password
        )
        self._discovery_bytes = limits.repo_refs * _REF_BYTES
        self._pack_bytes = limits.repo_pack_bytes + self._discovery_bytes

    def close(self) -> None:
        """Close the connections."""
        self.pool_manager.clear()

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: ARG002 - every status but 200 is an error here
    ) -> tuple[Any, Callable[[int], bytes]]:
        response, read = super()._http_request(url, headers, data, raise_for_status=False)
        kind = response.headers.get("Content-Type") or ""
        if error := _refusal(response.status, is_git=data is not None or kind.startswith("application/x-git-")):
            response.close()  # dulwich would leave it open
            raise error
        listing = data is None or (isinstance(data, bytes) and b"command=ls-refs" in data[:64])
        return response, _bounded(read, self._discovery_bytes if listing else self._pack_bytes)


def _refusal(status: int, *, is_git: bool) -> RemoteError | None:
    if status in (401, 403):
        return RemoteError("the remote asks for credentials", code="remote.unauthorized", param="url")
    if status == 404 or (status == 200 and not is_git):
        return RemoteError("there is no git repository at that URL", code="remote.not_found", param="url")
    return RemoteError(f"the remote answers {status}", remedy="try again later") if status != 200 else None


def _bounded(read: Callable[[int], bytes], maximum: int) -> Callable[[int], bytes]:
    """``read``, which refuses to go beyond ``maximum`` bytes in total."""
    done = 0

    def bounded(size: int) -> bytes:
        nonlocal done
        chunk = read(size)
        done += len(chunk)
        if done > maximum:
            raise RemoteError(f"the remote sends more than {maximum:,} bytes", code="remote.limit")
        return chunk

    return bounded
