"""The demo model as a git repository: always the same commits, because authors and dates are fixed.

    v1 = main   Describe the model in a card          brief   Answer in one sentence
           |                                             |
         Add the demo chat model  ----------------------+

The weights are a git-lfs pointer in git; their bytes lie in git-lfs's own layout inside the repository, where
stock git-lfs looks for them, too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

PACKAGE = Path(__file__).parent
OBJECTS = Path("lfs", "objects")
WEIGHTS = "model.safetensors"
CARD = "README.md"
AUTHOR = b"hyprstream demo <demo@hyprstream.invalid>"
FIRST_DATE = 1767225600
"""2026-01-01 00:00 UTC; each further commit is a day later."""


def fingerprint() -> str:
    """Identifies everything that goes into the repository, this module included."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in _files(PACKAGE / "model") + _files(PACKAGE / "brief"):
        digest.update(f"{path.relative_to(PACKAGE)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build(directory: Path) -> None:
    """Make the bare repository in ``directory``, which exists and is empty."""
    weights = PACKAGE / "model" / WEIGHTS
    oid = hashlib.sha256(weights.read_bytes()).hexdigest()
    files = {path.name: path.read_bytes() for path in _files(PACKAGE / "model")}
    files[WEIGHTS] = pointer(oid, weights.stat().st_size)
    files[".gitattributes"] = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
    plain = {name: data for name, data in files.items() if name != CARD}
    changed = {path.name: path.read_bytes() for path in _files(PACKAGE / "brief")}

    with Repo.init_bare(directory, default_branch=b"main") as repo:
        first = _commit(repo, plain, b"Add the demo chat model\n", day=0)
        main = _commit(repo, files, b"Describe the model in a card\n", day=1, parent=first)
        brief = _commit(repo, plain | changed, b"Answer in one sentence\n", day=2, parent=first)
        tag = _tag(repo, b"v1", main, b"The first demo model\n")
        for name, target in ((b"refs/heads/main", main), (b"refs/heads/brief", brief), (b"refs/tags/v1", tag)):
            repo.refs[Ref(name)] = target

    stored = directory / OBJECTS / oid[:2] / oid[2:4] / oid
    stored.parent.mkdir(parents=True)
    shutil.copyfile(weights, stored)


def pointer(oid: str, size: int) -> bytes:
    """A canonical git-lfs pointer (git-lfs specification, version 1)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_file())


def _commit(
    repo: Repo, files: Mapping[str, bytes], message: bytes, *, day: int, parent: ObjectID | None = None
) -> ObjectID:
    tree = Tree()
    for name, data in files.items():
        blob = Blob.from_string(data)
        repo.object_store.add_object(blob)
        tree.add(name.encode(), 0o100644, blob.id)
    repo.object_store.add_object(tree)
    commit = Commit()
    commit.tree, commit.parents = tree.id, [parent] if parent else []
    commit.author = commit.committer = AUTHOR
    commit.author_time = commit.commit_time = FIRST_DATE + day * 86400
    commit.author_timezone = commit.commit_timezone = 0
    commit.message = message
    repo.object_store.add_object(commit)
    return commit.id


def _tag(repo: Repo, name: bytes, target: ObjectID, message: bytes) -> ObjectID:
    tag = Tag()
    tag.name, tag.object, tag.message = name, (Commit, target), message
    tag.tagger, tag.tag_time, tag.tag_timezone = AUTHOR, FIRST_DATE + 2 * 86400, 0
    repo.object_store.add_object(tag)
    return tag.id
