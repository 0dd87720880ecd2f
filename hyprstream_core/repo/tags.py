"""Tags of a model: listed, made (light or annotated), deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hyprstream_core.errors import BadObject, Conflict, InvalidRequest
from hyprstream_core.repo.files.large_objects import write_loose
from hyprstream_core.repo.git.commits import read_commit, read_tag
from hyprstream_core.repo.git.gitdir import GitDir, open_git
from hyprstream_core.repo.git.reference_store import TAGS, References, exists, require_no_clash
from hyprstream_core.repo.identity import Identity
from hyprstream_core.repo.records import Model, Resolved
from hyprstream_core.repo.resolve import unknown

MESSAGE_BYTES = 2**20
"""Longest message of an annotated tag."""


@dataclass(frozen=True)
class Tag:
    """A tag, with what a list of them shows."""

    name: str
    kind: Literal["light", "annotated"]
    commit: str | None
    """None when it is not a commit that it names."""
    target: str
    """Id of what it names in the end, annotated tags followed."""
    subject: str
    """The first line of its message; of a light tag, of its commit's."""


def list_tags(model: Model) -> list[Tag]:
    """The model's tags by name."""
    with open_git(model.git_dir) as git:
        return [_read(git, name, oid) for name, oid in sorted(git.refs().items()) if name.startswith(TAGS)]


def _read(git: GitDir, name: str, oid: str) -> Tag:
    type_, data = git.read(oid)
    kind, target = git.peel(oid)
    if type_ == "tag":
        text = read_tag(data)[1]
    else:
        text = read_commit(oid, data).subject if type_ == "commit" else f"({type_})"
    return Tag(
        name.removeprefix(TAGS),
        "annotated" if type_ == "tag" else "light",
        target if kind == "commit" else None,
        target,
        text,
    )


def create_tag(
    refs: References, name: str, target: Resolved, message: str | None, tagger: Identity, *, force: bool
) -> str:
    """Make a tag of a commit, annotated when there is a ``message``; the id that the reference gets.

    Raises:
        Conflict: it exists, unless ``force``; or it cannot exist beside another.
        InvalidRequest: the message is empty or too long.
    """
    ref, oid = TAGS + name, target.commit
    before = refs.read().get(ref)
    if before is not None and not force:
        error = exists(ref, before)
        raise Conflict(
            error.message, code="ref.exists", remedy="choose another name, or --force to move it", **error.details
        )
    require_no_clash([ref], refs.read())
    if message is not None:
        oid = _write_annotated(refs, name, target.commit, _clean(message), tagger)
    if before is None:
        refs.create(ref, oid)
    else:
        refs.update(ref, oid, before)
    return oid


def delete_tags(model: Model, refs: References, names: Sequence[str]) -> dict[str, str]:
    """Delete tags, all or none; name → the id that each held.

    Raises:
        ModelNotFound: one is not there.
    """
    found = refs.read()
    for name in names:
        if TAGS + name not in found:
            raise unknown(model, name, [ref for ref in found if ref.startswith(TAGS)], "tag")
    for name in dict.fromkeys(names):
        refs.delete(TAGS + name, found[TAGS + name])
    return {name: found[TAGS + name] for name in names}


def _clean(message: str) -> str:
    """A message as git stores it: no space at the ends of lines, no empty lines around it or two in a row."""
    if len(message.encode("utf-8", "surrogateescape")) > MESSAGE_BYTES:
        raise InvalidRequest(f"the message has more than {MESSAGE_BYTES:,} bytes", param="message")
    text = "\n".join(line.rstrip() for line in message.replace("\0", "").split("\n"))
    text = re.sub(r"\n{3,}", "\n\n", text).strip("\n")
    if not text:
        raise InvalidRequest("the message is empty, expected some text", param="message")
    return text + "\n"


def _write_annotated(refs: References, name: str, commit: str, message: str, tagger: Identity) -> str:
    from dulwich.objects import ShaFile, Tag

    head = f"object {commit}\ntype commit\ntag {name}\ntagger ".encode("utf-8", "surrogateescape")
    data = head + tagger.stamp() + b"\n\n" + message.encode("utf-8", "surrogateescape")
    item = ShaFile.from_raw_string(Tag.type_num, data)
    oid = write_loose(refs.git_dir / "objects", item, refs.scratch)
    with open_git(refs.git_dir) as git:
        if git.peel(oid) != ("commit", commit):
            raise BadObject(f"the tag that was written does not name {commit}", oid=oid)
    return oid
