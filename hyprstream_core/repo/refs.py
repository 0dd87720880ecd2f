"""Model references: ``name[:ref]``, and the rules for names and refs.

A name is normalised (lower case) once, before it is both checked and used. Rules, one ``if`` each, are in
:func:`check_name` and :func:`check_ref`; the latter are those of ``git check-ref-format``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hyprstream_core.errors import RefError

RESERVED = frozenset(
    {"objects", "lfs", "worktrees", "views", "peer", "list", "download", "cache", "info", "load", "unload"}
    | {".registry", ".staging", ".locks", ".filters"}
)
"""Words that no part of a model's name may be: they mean something in paths of the store or of the API."""

MAX_NAME = 100
MAX_REF_BYTES = 512
_PART = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)
_FORBIDDEN = frozenset(" ~^:?*[\\")


@dataclass(frozen=True)
class ModelRef:
    """A parsed reference: the model's name, lower case, and what comes after the colon (None: the default)."""

    name: str
    ref: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read ``name`` or ``name:ref``.

        Raises:
            RefError: the syntax is wrong; the message says which rule is broken.
        """
        if "://" in text:
            raise RefError(
                f"{_show(text)} is a URL, expected a model reference name[:ref]",
                remedy="clone it first: hyprstream clone URL",
                param="model",
            )
        name, colon, ref = text.partition(":")
        return cls(check_name(name), check_ref(ref) if colon else None)

    @property
    def branch(self) -> str | None:
        """What comes after the colon, where only a branch can be meant."""
        return self.ref and self.ref.removeprefix("heads/")

    def __str__(self) -> str:
        return self.name if self.ref is None else f"{self.name}:{self.ref}"


def check_name(name: str) -> str:
    """``name`` normalised, when it can name a model.

    Raises:
        RefError: it cannot; the message says why.
    """
    normal = name.lower() if name.isascii() else name
    if not 1 <= len(normal) <= MAX_NAME:
        raise _bad_name(name, f"has {len(normal)} characters, expected 1 to {MAX_NAME}")
    parts = normal.split("/")
    if len(parts) > 2:
        raise _bad_name(name, "has more than two parts, expected name or org/name")
    for part in parts:
        if not _PART.fullmatch(part):
            raise _bad_name(name, "expected ASCII letters, digits, '.', '_' and '-', starting with a letter or digit")
        if ".." in part or part.endswith("."):
            raise _bad_name(name, "must not contain '..' or end in '.'")
        if part.endswith((".git", ".lock")):
            raise _bad_name(name, "must not end in .git or .lock")
        if part in RESERVED:
            raise _bad_name(name, f"{part!r} is a reserved word")
    return normal


def check_ref(ref: str) -> str:
    """``ref`` itself, when git could have a reference (or its end) of that name.

    Raises:
        RefError: it could not; the message says why.
    """
    if not ref:
        raise _bad_ref(ref, "is empty, expected a branch, tag or commit after ':'")
    if len(ref.encode("utf-8", "surrogatepass")) > MAX_REF_BYTES:
        raise _bad_ref(ref, f"is longer than {MAX_REF_BYTES} bytes")
    if not ref.isprintable() or not _is_utf8(ref):
        raise _bad_ref(ref, "contains a character that is not printable")
    if found := sorted(_FORBIDDEN.intersection(ref)):
        raise _bad_ref(ref, f"must not contain {', '.join(map(repr, found))}")
    if ".." in ref or "@{" in ref or ref == "@":
        raise _bad_ref(ref, "must not contain '..' or '@{', or be '@'")
    if ref.startswith("-"):
        raise _bad_ref(ref, "must not start with '-'")
    if ref.endswith("."):
        raise _bad_ref(ref, "must not end in '.'")
    for part in ref.split("/"):
        if not part:
            raise _bad_ref(ref, "must not start or end with '/' or contain '//'")
        if part.startswith(".") or part.endswith(".lock"):
            raise _bad_ref(ref, "no part may start with '.' or end in '.lock'")
        if len(part.encode()) > 255:
            raise _bad_ref(ref, "no part may be longer than 255 bytes")
    return ref


def check_branch(name: str, what: str = "branch") -> str:
    """``name`` itself, when a new branch (or tag) may be called so: no name that stands for something else.

    Raises:
        RefError: it may not; the message says why.
    """
    check_ref(name)
    if name == "HEAD" or name.startswith(("refs/", "heads/", "tags/", "remotes/")):
        raise _bad_ref(name, f"cannot name a {what}: it would be taken for something else")
    if is_oid_like(name):
        raise _bad_ref(name, f"cannot name a {what}: 40 hexadecimal digits are a commit")
    return name


def is_oid_like(text: str) -> bool:
    """Whether ``text`` is written like a full object id."""
    return bool(re.fullmatch(r"[0-9a-fA-F]{40}", text))


def default_name(url: str) -> str:
    """The name that a clone of ``url`` gets: the last part of its path without ``.git``, in lower case.

    Raises:
        RefError: that part cannot name a model.
    """
    last = re.split(r"[?#]", url)[0].rstrip("/").removesuffix("/.git").rsplit("/", 1)[-1]
    try:
        return check_name(last.removesuffix(".git"))
    except RefError as error:
        raise RefError(error.message, remedy="choose a name: --name NAME", param="name") from None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _show(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _bad_name(name: str, why: str) -> RefError:
    remedy = "hyprstream list shows the names there are; a new one is like qwen3-0.6b or org/qwen3-0.6b"
    return RefError(f"model name {_show(name)}: {why}", param="model", remedy=remedy)


def _bad_ref(ref: str, why: str) -> RefError:
    remedy = "give a branch, a tag, or a commit by its id; hyprstream log MODEL shows commits"
    return RefError(f"reference {_show(ref)}: {why}", param="model", remedy=remedy)
