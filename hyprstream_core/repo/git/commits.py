"""What commits and annotated tags say. Everything in them was written by strangers: bounded, and never trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from hyprstream_core.errors import BadObject, ModelNotFound
from hyprstream_core.repo.git.gitdir import open_git, parents_of

SUBJECT_CHARS = 500
"""Longest subject; what is cut off is marked by "…"."""
NAME_CHARS = 200
"""Longest name or address of a person."""
_HEADER_BYTES = 2**16
_MESSAGE_BYTES = 2**16
_MAX_TIME = 2**40
_PERSON = re.compile(rb"(?P<name>[^\n]*?) ?<(?P<email>[^>\n]*)>(?: +(?P<time>\d{1,20}) +(?P<zone>[+-]\d{4}))?[^\n]*")
_COMMITTER_TIME = re.compile(rb"^committer [^\n]*> +(\d{1,20})", re.MULTILINE)
_ENCODINGS = re.compile(
    r"(?:us-)?ascii|utf-?8|latin-?1|iso-?8859-?\d{1,2}|(?:cp|windows-)125\d|koi8-[ru]|euc-(?:jp|kr)|shift[-_]jis|"
    r"iso-2022-(?:jp|kr)|gb2312|gbk|gb18030|big5",
    re.IGNORECASE,
)
"""Encodings of messages that are read. SECURITY: Python has others by names that do more than decode text."""


@dataclass(frozen=True)
class Person:
    """Who, and when: Unix seconds and the offset of the clock from UTC in seconds."""

    name: str
    email: str
    time: int
    offset: int = 0

    @property
    def when(self) -> str:
        """The time as ISO 8601, on this person's clock."""
        try:
            return datetime.fromtimestamp(self.time, timezone(timedelta(seconds=self.offset))).isoformat()
        except (ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(0, timezone.utc).isoformat()  # noqa: UP017 - one spelling with the above


@dataclass(frozen=True)
class CommitText:
    """A commit, read for people."""

    oid: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    subject: str


def read_commit(oid: str, data: bytes) -> CommitText:
    """What the commit ``oid`` says.

    Raises:
        BadObject: it has no tree or malformed parents.
    """
    header, message = _split(data)
    fields = _fields(header)
    first = dict(reversed(fields))
    encoding = first.get(b"encoding", b"").decode("ascii", "replace")
    return CommitText(
        oid,
        parents_of(data, oid),
        _person(first.get(b"author", b""), encoding),
        _person(first.get(b"committer", b""), encoding),
        subject(message, encoding),
    )


def read_tag(data: bytes) -> tuple[Person, str]:
    """Tagger and first line of the message of an annotated tag."""
    header, message = _split(data)
    return _person(dict(_fields(header)).get(b"tagger", b""), ""), subject(message, "")


def committer_time(data: bytes) -> int:
    """When a commit was made, in Unix seconds; 0 when it does not say so properly."""
    match = _COMMITTER_TIME.search(data.partition(b"\n\n")[0])
    return min(int(match[1]), _MAX_TIME) if match else 0


def commit_time(git_dir: Path, commit: str) -> int:
    """:func:`committer_time` of a commit by its id.

    Raises:
        ModelNotFound: the repository has no such commit.
        BadObject: it is damaged.
    """
    with open_git(git_dir) as git:
        try:
            return committer_time(git.read(commit, "commit")[1])
        except BadObject as error:
            if error.error_code != "repo.missing_object":
                raise
            raise ModelNotFound(f"no commit {commit} in {git_dir.name}", param="model") from None


def subject(message: bytes, encoding: str) -> str:
    """The first paragraph of a message on one line, at most :data:`SUBJECT_CHARS` long (git's ``%s``)."""
    paragraph: list[bytes] = []
    for line in message[:_MESSAGE_BYTES].lstrip(b"\n").split(b"\n"):
        if not line.strip():
            if paragraph:
                break
            continue
        paragraph.append(line.rstrip())
    return shortened(decode(b" ".join(paragraph), encoding), SUBJECT_CHARS)


def decode(raw: bytes, encoding: str) -> str:
    """Text that its writer says is in ``encoding`` ("": UTF-8); what cannot be read becomes U+FFFD."""
    known = encoding if _ENCODINGS.fullmatch(encoding) else "utf-8"
    try:
        return raw.decode(known, "replace")
    except LookupError:  # iso-8859-99
        return raw.decode("utf-8", "replace")


def shortened(text: str, maximum: int) -> str:
    """``text``, its end cut off when it is too long."""
    return text if len(text) <= maximum else f"{text[: maximum - 1]}…"


def _split(data: bytes) -> tuple[bytes, bytes]:
    header, _, message = data.partition(b"\n\n")
    return header[:_HEADER_BYTES], message


def _fields(header: bytes) -> list[tuple[bytes, bytes]]:
    """Names and first lines of the header's fields, in order."""
    lines = (line.partition(b" ") for line in header.split(b"\n") if not line.startswith(b" "))
    return [(name, value) for name, _, value in lines]


def _person(raw: bytes, encoding: str) -> Person:
    match = _PERSON.fullmatch(raw)
    if match is None:
        return Person(shortened(decode(raw, encoding), NAME_CHARS), "", 0)
    name, email = (shortened(decode(match[part], encoding).strip(), NAME_CHARS) for part in ("name", "email"))
    zone = int(match["zone"] or 0)
    offset = (abs(zone) // 100 * 3600 + abs(zone) % 100 * 60) * (1 if zone >= 0 else -1)
    return Person(name, email, min(int(match["time"] or 0), _MAX_TIME), offset if abs(offset) < 86400 else 0)
