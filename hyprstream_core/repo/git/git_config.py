"""git's configuration file, as far as it says what a branch tracks (``git-config(1)``, "Syntax").

    [branch "x"]
            remote = origin
            merge = refs/heads/x

Everything else in the file stays as it is, comments and all. Nothing is included, and no other file is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.disk.durable import replace
from hyprstream_core.repo.git.gitdir import quote
from hyprstream_core.repo.git.reference_store import References

CONFIG_BYTES = 2**20
_HEADER = re.compile(r'\s*\[\s*([A-Za-z0-9.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\](.*)', re.DOTALL)
_KEY = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:=(.*))?", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b"}


@dataclass(frozen=True)
class Tracking:
    """What a branch tracks: ``merge`` is a full reference at ``remote`` ("." is this repository)."""

    remote: str
    merge: str

    @property
    def ref(self) -> str:
        """The reference here that stands for it."""
        if self.remote == ".":
            return self.merge
        return f"refs/remotes/{self.remote}/{self.merge.removeprefix('refs/heads/')}"


@dataclass
class _Section:
    """The lines of one section, its header first; ``branch`` is None unless it is about one."""

    branch: str | None
    lines: list[str] = field(default_factory=list)


def read_tracking(git_dir: Path) -> dict[str, Tracking]:
    """What each branch tracks.

    Raises:
        BadObject: the file is absurdly large.
    """
    found: dict[str, dict[str, str]] = {}
    for section in _sections(_read(git_dir)):
        if section.branch is not None:
            found.setdefault(section.branch, {}).update(_entries(section))
    return {
        branch: Tracking(keys["remote"], keys["merge"])
        for branch, keys in found.items()
        if keys.get("remote") and keys.get("merge", "").startswith("refs/")
    }


def write_tracking(refs: References, branch: str, tracking: Tracking | None) -> None:
    """Let ``branch`` track something else; with None, forget what it tracked. Other keys of it stay."""

    def edit(sections: list[_Section]) -> list[_Section]:
        for section in sections:
            if section.branch == branch:
                section.lines = _without_tracking(section.lines)
        if tracking is not None:
            sections.append(tracking_section(branch, tracking))
        return [s for s in sections if s.branch != branch or len(s.lines) > 1]

    _change(refs, edit)


def start_tracking(git_dir: Path, branch: str) -> None:
    """Let ``branch`` of a repository that nobody sees yet track the remote's branch of its name."""
    with (git_dir / "config").open("ab") as file:
        section = tracking_section(branch, Tracking("origin", f"refs/heads/{branch}"))
        file.write("".join(section.lines).encode("utf-8", "surrogateescape"))


def forget_branch(refs: References, branch: str) -> None:
    """Drop everything that the file says of ``branch``."""
    _change(refs, lambda sections: [s for s in sections if s.branch != branch])


def rename_branch(refs: References, old: str, new: str) -> None:
    """Let everything that the file says of ``old`` be of ``new``."""

    def edit(sections: list[_Section]) -> list[_Section]:
        for section in sections:
            if section.branch == old:
                rest = _HEADER.fullmatch(section.lines[0])
                section.lines[0] = _header(new) + (rest[3] if rest else "\n")
        return sections

    if any(section.branch == old for section in _sections(_read(refs.git_dir))):
        forget_branch(refs, new)
        _change(refs, edit)


def tracking_section(branch: str, tracking: Tracking) -> _Section:
    """The section that lets ``branch`` track something."""
    values = (f"\tremote = {_value(tracking.remote)}\n", f"\tmerge = {_value(tracking.merge)}\n")
    return _Section(branch, [_header(branch) + "\n", *values])


def _header(branch: str) -> str:
    return f"[branch {quote(branch)}]"


def _value(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9/._@+-]+", text) else quote(text)


def _read(git_dir: Path) -> str:
    with (git_dir / "config").open("rb") as file:
        data = file.read(CONFIG_BYTES + 1)
    if len(data) > CONFIG_BYTES:
        raise BadObject(f"the configuration of {git_dir.name} has more than {CONFIG_BYTES:,} bytes")
    return data.decode("utf-8", "surrogateescape")


def _change(refs: References, edit: Callable[[list[_Section]], list[_Section]]) -> None:
    path = refs.git_dir / "config"
    with refs.locked(path):
        before = _read(refs.git_dir)
        after = "".join(line for section in edit(list(_sections(before))) for line in section.lines)
        if after != before:
            replace(path, after.encode("utf-8", "surrogateescape"), refs.scratch)


def _sections(text: str) -> Iterator[_Section]:
    """The file cut before every header; what comes before the first is a section without one."""
    current = _Section(None)
    for line in _logical_lines(text):
        if header := _HEADER.fullmatch(line):
            yield current
            current = _Section(_branch_of(header[1], header[2]))
        current.lines.append(line)
    if current.lines and not current.lines[-1].endswith("\n"):
        current.lines[-1] += "\n"
    yield current


def _logical_lines(text: str) -> Iterator[str]:
    """Lines with those that a backslash at the end continues."""
    pending = ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        pending += line
        content = pending.rstrip("\r\n")
        backslashes = len(content) - len(content.rstrip("\\"))
        if backslashes % 2 == 0 or content.lstrip().startswith(("#", ";", "[")):
            yield pending
            pending = ""
    if pending:
        yield pending


def _branch_of(section: str, subsection: str | None) -> str | None:
    """The branch that a header names; ``[branch.x]`` is git's old way to write it."""
    if section.lower() == "branch" and subsection is not None:
        return re.sub(r"\\(.)", r"\1", subsection)
    if section.lower().startswith("branch.") and subsection is None:
        return section[len("branch.") :].lower()
    return None


def _entries(section: _Section) -> dict[str, str]:
    """Keys, in lower case, with their values; the last one counts."""
    header = _HEADER.fullmatch(section.lines[0])
    lines = [header[3] if header else "", *section.lines[1:]]
    return {key[1].lower(): _unquoted(key[2] or "") for line in lines if (key := _KEY.match(line))}


def _without_tracking(lines: list[str]) -> list[str]:
    header = _HEADER.fullmatch(lines[0])
    head = lines[0][: header.start(3)] if header else lines[0]
    first = header[3] if header else ""
    kept = [line for line in (first, *lines[1:]) if not ((key := _KEY.match(line)) and _is_tracking(key[1]))]
    body = "".join(kept).lstrip("\n")
    return [head + "\n", *([body] if body.strip() else [])]


def _is_tracking(key: str) -> bool:
    return key.lower() in ("remote", "merge")


def _unquoted(raw: str) -> str:
    """A value as git reads it: without quotes, escapes, comment and the white space around it."""
    text, pending, quoted = "", "", False
    characters = iter(raw.rstrip("\r\n").lstrip())
    for c in characters:
        if c in "#;" and not quoted:
            break
        if c in " \t" and not quoted:
            pending += c if text else ""
            continue
        if c == '"':
            quoted = not quoted
            continue
        if c == "\\":
            c = next(characters, "\n")
            if c == "\n":
                continue
            c = _ESCAPES.get(c, c)
        text, pending = text + pending + c, ""
    return text
