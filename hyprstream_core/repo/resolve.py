"""From ``name[:ref]`` to exactly one commit."""

from __future__ import annotations

import re
from pathlib import Path

from hyprstream_core.errors import BadObject, ModelNotFound, RefError
from hyprstream_core.repo.gitdir import GitDir, is_oid, open_git
from hyprstream_core.repo.records import Kind, Model, Resolved

HEADS, REMOTES, TAGS = "refs/heads/", "refs/remotes/origin/", "refs/tags/"
_SHORT = re.compile(r"[0-9a-fA-F]{4,40}")
_MAX_CANDIDATES = 10
_KINDS: dict[str, Kind] = {HEADS: "branch", REMOTES: "remote", TAGS: "tag"}


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


def resolve(model: Model, ref: str | None) -> Resolved:
    """The commit that ``ref`` (None: the default branch) names in ``model``.

    Candidates are a branch (local, else of the remote), a tag, and a commit by 4 to 40 hex digits. Two that
    could mean different commits are an error rather than a guess: a publisher could otherwise name a branch
    like somebody's pinned commit. ``heads/x``, ``tags/x`` and ``refs/…`` leave no choice.

    Raises:
        RefError: several candidates (code ``ref.ambiguous``).
        ModelNotFound: no candidate.
    """
    wanted = ref if ref is not None else f"heads/{model.default_branch}"
    with open_git(model.git_dir) as git:
        refs = git.refs()
        found = [_peel(git, model, name, refs[name]) for name in _names(wanted) if name in refs]
        if not wanted.startswith(("refs/", "heads/", "tags/")) or not found:
            found = _without_shadowed(found) + _commits(git, model, wanted, found)
    found = _without_shadowed(found)
    if len(found) > 1:
        raise _ambiguous(model, wanted, found)
    if not found:
        raise ModelNotFound(
            f"model {model.name!r} has no branch, tag or commit {wanted!r}",
            remedy=f"hyprstream inspect {model.name} shows what there is",
            param="model",
        )
    return found[0]


def _names(wanted: str) -> list[str]:
    """Full names that ``wanted`` can be short for."""
    if wanted.startswith("refs/"):
        return [wanted]
    if wanted.startswith("heads/"):
        branch = wanted.removeprefix("heads/")
        return [HEADS + branch, REMOTES + branch]
    if wanted.startswith("tags/"):
        return [f"refs/{wanted}"]
    return [HEADS + wanted, REMOTES + wanted, TAGS + wanted, f"refs/remotes/{wanted}"]


def _peel(git: GitDir, model: Model, name: str, oid: str) -> Resolved:
    kind, commit = git.peel(oid)
    if kind != "commit":
        raise ModelNotFound(f"{name} of model {model.name!r} names a {kind}, expected a commit", param="model")
    prefix = next((p for p in _KINDS if name.startswith(p)), None)
    return Resolved(model, name, _KINDS[prefix] if prefix else "commit", commit)


def _without_shadowed(found: list[Resolved]) -> list[Resolved]:
    """A local branch stands for the remote's branch of the same name."""
    local = {r.ref.removeprefix(HEADS) for r in found if r.ref and r.ref.startswith(HEADS)}
    return [r for r in found if not (r.ref and r.ref.startswith(REMOTES) and r.ref.removeprefix(REMOTES) in local)]


def _commits(git: GitDir, model: Model, wanted: str, refs: list[Resolved]) -> list[Resolved]:
    """Commits whose id starts with ``wanted``, less those that a reference of that name points at anyway."""
    if not _SHORT.fullmatch(wanted):
        return []
    prefix = wanted.lower()
    oids = [prefix] if is_oid(prefix) and prefix in git else []
    if not is_oid(prefix):
        from dulwich.objects import ObjectID

        oids = [o.decode("ascii") for o in git.store.iter_prefix(ObjectID(prefix.encode()))]
    known = {r.commit for r in refs}
    commits = [oid for oid in dict.fromkeys(oids) if oid not in known and _is_commit(git, oid)]
    return [Resolved(model, None, "commit", oid) for oid in commits[:_MAX_CANDIDATES]]


def _is_commit(git: GitDir, oid: str) -> bool:
    try:
        return git.read(oid)[0] == "commit"
    except BadObject:
        return False


def _ambiguous(model: Model, wanted: str, found: list[Resolved]) -> RefError:
    names = [f"{r.kind} {r.ref or r.commit} ({r.commit[:12]})" for r in found]
    return RefError(
        f"{model.name}:{wanted} is ambiguous: {', '.join(names)}",
        code="ref.ambiguous",
        remedy="say heads/NAME, tags/NAME or more digits of the commit",
        param="model",
        candidates=[r.ref or r.commit for r in found],
    )
