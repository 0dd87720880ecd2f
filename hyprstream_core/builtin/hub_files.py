"""A Hugging Face style hub: a git server that also serves every file by revision and path.

``{hub}/{repository}/resolve/{commit}/{path}``: https://huggingface.co/docs/hub/models-downloading. It answers with
the file, or redirects to where it is; what its headers say of size and digest is not relied on.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from hyprstream_core.builtin.web import Place, origin_of
from hyprstream_core.errors import RemoteError
from hyprstream_core.interfaces.storage import Pointer, RemoteSource


def hub_repository(url: str, hub: str) -> str | None:
    """The URL, without ``.git``, of a git repository on ``hub``; None when it is somewhere else."""
    try:
        if origin_of(url) != origin_of(hub):
            return None
    except RemoteError:
        return None
    prefix = urlsplit(hub).path.rstrip("/") + "/"
    path = urlsplit(url).path.rstrip("/").removesuffix(".git")
    parts = path.removeprefix(prefix).split("/")
    if not path.startswith(prefix) or any(part in ("", ".", "..") for part in parts):
        return None
    return f"{hub.rstrip('/')}/{'/'.join(parts)}"


def file_place(repository: str, source: RemoteSource, pointer: Pointer) -> Place | None:
    """Where a hub has the file that is a pointer in the commit; None when that is not known."""
    path = source.paths.get(pointer.oid)
    if path is None or not source.commit:
        return None
    return Place(f"{repository}/resolve/{source.commit}/{quote(path)}", is_file=True)
