"""``demo://`` URLs: a repository that is made on this machine from the files of this package.

A transport turns a URL into a :class:`Connection`: a dulwich client, the path to give it, and where large
files are. Here the repository is made when it is first asked for, and kept for the next time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from dulwich.client import LocalGitClient
from dulwich.config import ConfigDict

from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.transport import Access, Connection, Transport
from hyprstream_demo.cache import private_directory, published
from hyprstream_demo.repository import OBJECTS, build, fingerprint

MODELS = ("chat",)


class DemoTransport(Transport):
    """Serves the models of this package."""

    def __init__(self, access: Access | None = None, cache: Path | None = None) -> None:
        """``cache`` is where repositories are kept; by default a private folder among the temporary files."""
        super().__init__(access)
        self._cache = cache

    def connect(self, url: str) -> Connection:
        """The repository of ``url``.

        Raises:
            RemoteError: there is no such demo model, or its repository cannot be written.
        """
        parts = urlsplit(url)
        name = (parts.netloc + parts.path).rstrip("/").removesuffix(".git")
        if name not in MODELS:
            known = ", ".join(f"demo://{model}" for model in MODELS)
            raise RemoteError(
                f"there is no demo model {name!r}; there is: {known}", code="remote.not_found", param="url"
            )
        try:
            cache = private_directory(self._cache or Path(tempfile.gettempdir()))
            repository = published(cache / f"{name}-{fingerprint()[:16]}.git", build)
        except OSError as error:
            raise RemoteError(
                f"cannot write the repository of {url}: {error}", remedy="set TMPDIR to a folder that can be written"
            ) from error
        return Connection(LocalGitClient(config=ConfigDict()), str(repository), content=str(repository / OBJECTS))
