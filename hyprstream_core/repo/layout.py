"""Where everything is in the store.

<root>/.registry/               git repository: registry.json
<root>/.staging/<id>/           what running commands are making; swept when its owner is gone
<root>/.locks/                  lock files
<root>/<name>/<name>.git/       bare repository (of org/name: <root>/org/name/name.git/)
<root>/<name>/worktrees/<branch>/
<root>/<name>/views/<commit>/   and <commit>.json beside it
<root>/lfs/objects/aa/bb/<oid>  read-only content, in git-lfs's own layout
<root>/.filters/<name>          empty: content has come by the storage filter of that name
<root>/lfs/incomplete/<oid>     content that has begun to arrive (git-lfs's own are called <oid>.part)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of one store."""

    root: Path

    @property
    def registry(self) -> Path:
        """The registry's repository."""
        return self.root / ".registry"

    @property
    def staging(self) -> Path:
        """Folder of unfinished work."""
        return self.root / ".staging"

    @property
    def lfs(self) -> Path:
        """git-lfs's ``lfs.storage`` of every repository here."""
        return self.root / "lfs"

    @property
    def filters(self) -> Path:
        """Notes of the storage filters by which content has come here."""
        return self.root / ".filters"

    def lock(self, name: str) -> Path:
        """The lock file for ``name``."""
        return self.root / ".locks" / name.replace("/", "%")

    def model(self, name: str) -> Path:
        """A model's folder."""
        return self.root / name

    def content(self, oid: str) -> Path:
        """The file of one large object."""
        return self.lfs / "objects" / oid[:2] / oid[2:4] / oid

    @property
    def incomplete(self) -> Path:
        """Folder of the large objects that have begun to arrive."""
        return self.lfs / "incomplete"


def git_dir(model: Path) -> Path:
    """The bare repository in a model's folder."""
    return model / f"{model.name}.git"


def worktree(model: Path, branch: str) -> Path:
    """The worktree of ``branch`` in a model's folder."""
    return model / "worktrees" / branch


def view(model: Path, commit: str) -> Path:
    """The read-only view of ``commit`` in a model's folder."""
    return model / "views" / commit


def view_sidecar(model: Path, commit: str) -> Path:
    """What is known of the view of ``commit`` beyond its files."""
    return model / "views" / f"{commit}.json"


def pieces(model: Path) -> list[Path]:
    """All that a model owns in its folder (an organisation's folder may hold other models besides)."""
    return [git_dir(model), model / "worktrees", model / "views"]
