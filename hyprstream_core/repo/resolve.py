"""From ``name[:ref]`` to exactly one commit.

What a reference can be short for is what stock git takes it for (``gitrevisions(7)``), and a branch of the remote
without ``origin/``. Where git picks the first of several and at most warns, two that mean different commits are an
error here: a publisher could otherwise name a branch like somebody's tag, or like a commit that somebody pinned.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hyprstream_core.errors import BadObject, ModelNotFound, RefError
from hyprstream_core.repo.git.git_config import read_tracking
from hyprstream_core.repo.git.gitdir import GitDir, is_oid, open_git
from hyprstream_core.repo.git.reference_store import HEADS, REMOTES, TAGS, short_name
from hyprstream_core.repo.records import Kind, Model, Resolved

_SHORT = re.compile(r"[0-9a-fA-F]{4,40}")
_MAX_CANDIDATES = 10
_MAX_COMPARED = 2000
"""References that are compared with an unknown one, to say what is close to it."""
_HEAD_BYTES = 1024
_KINDS: dict[str, Kind] = {HEADS: "branch", "refs/remotes/": "remote", TAGS: "tag"}
_FORCED = ("refs/", "heads/", "tags/", "remotes/")


@dataclass(frozen=True)
class _Candidate:
    """Something that a reference can mean: its full name (None for a commit by its id), and what that peels to."""

    ref: str | None
    type: str
    oid: str

    @property
    def kind(self) -> Kind:
        """What kind of reference it is."""
        return next((kind for prefix, kind in _KINDS.items() if (self.ref or "").startswith(prefix)), "commit")

    def __str__(self) -> str:
        what = self.type if self.ref is None else self.kind
        return f"{what} {self.ref or self.oid} ({self.oid[:12]})"


def branches(git_dir: Path) -> dict[str, str]:
    """Every branch with its commit; a local one hides the remote's of the same name."""
    with open_git(git_dir) as git:
        refs = git.refs()
    found = {name.removeprefix(REMOTES): oid for name, oid in refs.items() if name.startswith(REMOTES)}
    found |= {name.removeprefix(HEADS): oid for name, oid in refs.items() if name.startswith(HEADS)}
    return dict(sorted(found.items()))


def tags(git_dir: Path) -> dict[str, str]:
    """Every tag of a commit with that commit."""
    found = {}
    with open_git(git_dir) as git:
        for name, oid in sorted(git.refs().items()):
            if name.startswith(TAGS):
                kind, peeled = git.peel(oid)
                if kind == "commit":
                    found[name.removeprefix(TAGS)] = peeled
    return found


def head_branch(git_dir: Path) -> str | None:
    """The branch that the repository's HEAD names; None when it names a commit."""
    with (git_dir / "HEAD").open("rb") as file:
        text = file.read(_HEAD_BYTES).decode("utf-8", "surrogateescape").strip()
    target = text.removeprefix("ref:").strip()
    return target.removeprefix(HEADS) if text.startswith("ref:") and target.startswith(HEADS) else None


def default_ref(model: Model, refs: Mapping[str, str]) -> str:
    """The full reference that the model's bare name stands for: the remote's default branch, here when there is a
    local one (also under another name, when it is the only one that tracks it), else at the remote.
    """
    name = model.default_branch
    if HEADS + name in refs or REMOTES + name not in refs:
        return HEADS + name
    tracking = read_tracking(model.git_dir).items()
    renamed = [b for b, t in tracking if t.ref == REMOTES + name and HEADS + b in refs]
    return HEADS + renamed[0] if len(renamed) == 1 else REMOTES + name


def resolve(model: Model, ref: str | None) -> Resolved:
    """The commit that ``ref`` (None: the default branch) names in ``model``.

    ``heads/x``, ``tags/x``, ``remotes/origin/x`` and ``refs/…`` leave no choice, and 40 hex digits are a commit.

    Raises:
        RefError: several candidates mean different commits (code ``ref.ambiguous``, ``details["candidates"]``).
        ModelNotFound: no candidate; names those that are spelt like it.
    """
    with open_git(model.git_dir) as git:
        refs = git.refs()
        wanted = ref if ref is not None else default_ref(model, refs)
        found = _candidates(git, refs, wanted)
    if len({c.oid for c in found}) > 1:
        raise _ambiguous(model, wanted, found)
    if not found:
        raise unknown(model, wanted, refs)
    if found[0].type != "commit":
        raise ModelNotFound(
            f"{found[0].ref or found[0].oid} of model {model.name!r} names a {found[0].type}, expected a commit",
            param="model",
        )
    return Resolved(model, found[0].ref, found[0].kind, found[0].oid)


def _candidates(git: GitDir, refs: Mapping[str, str], wanted: str) -> list[_Candidate]:
    if is_oid(wanted.lower()):
        commits = _commits(git, wanted.lower())
        return [*_named(git, refs, _names(git, wanted)), *commits] if commits else []
    if wanted.startswith(_FORCED) and (forced := f"refs/{wanted.removeprefix('refs/')}") in refs:
        return _named(git, refs, [forced])
    found = _named(git, refs, _names(git, wanted))
    return found + _commits(git, wanted.lower())


def _named(git: GitDir, refs: Mapping[str, str], names: Iterable[str]) -> list[_Candidate]:
    return [_Candidate(name, *git.peel(refs[name])) for name in _without_shadowed(names, refs)]


def _names(git: GitDir, wanted: str) -> list[str]:
    """Full names that ``wanted`` can be short for, those of git's rules and the remote's branches."""
    names = [HEADS + wanted, REMOTES + wanted, TAGS + wanted]
    names += [f"refs/{wanted}", f"refs/remotes/{wanted}", f"refs/remotes/{wanted}/HEAD", wanted]
    if wanted.startswith("heads/"):
        names.append(REMOTES + wanted.removeprefix("heads/"))
    if wanted == "HEAD" and (branch := head_branch(git.path)) is not None:
        names.insert(0, HEADS + branch)
    return list(dict.fromkeys(names))


def _without_shadowed(names: Iterable[str], refs: Mapping[str, str]) -> list[str]:
    """Those names that exist. A local branch stands for the remote's branch of the same name, when both are meant."""
    there = [name for name in names if name in refs]
    local = {name.removeprefix(HEADS) for name in there if name.startswith(HEADS)}
    return [n for n in there if not (n.startswith(REMOTES) and n.removeprefix(REMOTES) in local)]


def _commits(git: GitDir, prefix: str) -> list[_Candidate]:
    """Commits, and annotated tags of commits, whose ids start with ``prefix``."""
    if not _SHORT.fullmatch(prefix):
        return []
    if is_oid(prefix):
        oids = [prefix] if prefix in git else []
    else:
        from dulwich.objects import ObjectID

        oids = [o.decode("ascii") for o in git.store.iter_prefix(ObjectID(prefix.encode()))]
    found = []
    for oid in sorted(set(oids)):
        kind, peeled = _peeled(git, oid)
        if kind == "commit":
            found.append(_Candidate(None, kind, peeled))
    return found


def _peeled(git: GitDir, oid: str) -> tuple[str, str]:
    try:
        return git.peel(oid)
    except BadObject:
        return "", oid


def _ambiguous(model: Model, wanted: str, found: list[_Candidate]) -> RefError:
    more = f" and {len(found) - _MAX_CANDIDATES} more" if len(found) > _MAX_CANDIDATES else ""
    return RefError(
        f"{model.name}:{wanted} is ambiguous: {', '.join(map(str, found[:_MAX_CANDIDATES]))}{more}",
        code="ref.ambiguous",
        remedy="say heads/NAME, tags/NAME, remotes/origin/NAME or more digits of the commit",
        param="model",
        candidates=[c.ref or c.oid for c in found[:_MAX_CANDIDATES]],
    )


def unknown(model: Model, wanted: str, refs: Iterable[str], what: str = "branch, tag or commit") -> ModelNotFound:
    """The error for a reference that is not there, with those that are spelt like it."""
    close = close_names(wanted, [short_name(name) for name in refs])
    hint = f"; did you mean: {', '.join(close)}?" if close else ""
    return ModelNotFound(
        f"model {model.name!r} has no {what} {wanted!r}{hint}",
        remedy=f"hyprstream inspect {model.name} shows what there is",
        param="model",
        close=close,
    )


def close_names(wanted: str, names: list[str]) -> list[str]:
    """Up to three of ``names`` that are spelt like ``wanted``, without regard to case and the remote's name."""
    spelt: dict[str, str] = {}
    for name in names[:_MAX_COMPARED]:
        spelt.setdefault(name.removeprefix("origin/").lower(), name)
    return [spelt[n] for n in difflib.get_close_matches(wanted.removeprefix("heads/").lower(), list(spelt), n=3)]
