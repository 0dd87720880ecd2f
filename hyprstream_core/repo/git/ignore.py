"""Which files git leaves alone: ``.gitignore`` and ``info/exclude`` (``gitignore(5)``, git's ``wildmatch.c``).

SECURITY: patterns come from a repository. They are matched by stepping through all ways to match at once, in time
proportional to pattern times name; a regular expression made of ``*a*a*a*b`` would take for ever.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PATTERNS_BYTES = 2**20
"""What is read of one file of patterns."""
_LINE_BYTES = 4096
_CLASSES: dict[bytes, Callable[[int], bool]] = {
    b"alpha": lambda c: chr(c).isalpha() and c < 128,
    b"digit": lambda c: 48 <= c <= 57,
    b"alnum": lambda c: c < 128 and chr(c).isalnum(),
    b"upper": lambda c: 65 <= c <= 90,
    b"lower": lambda c: 97 <= c <= 122,
    b"space": lambda c: c in b" \t\n\r\f\v",
    b"blank": lambda c: c in b" \t",
    b"punct": lambda c: 33 <= c <= 126 and not chr(c).isalnum(),
    b"xdigit": lambda c: c in b"0123456789abcdefABCDEF",
    b"print": lambda c: 32 <= c <= 126,
    b"graph": lambda c: 33 <= c <= 126,
    b"cntrl": lambda c: c < 32 or c == 127,
}
_SLASH = ord("/")

Step = tuple[str, Callable[[int], bool]]
"""("one", test): a byte that passes; ("any", test): any number of them; ("skip", …), then ("folders", …): nothing, or
anything up to a slash."""


@dataclass(frozen=True)
class Pattern:
    """One line of a file of patterns."""

    steps: tuple[Step, ...]
    negated: bool
    only_folders: bool
    whole_path: bool
    """Whether it is about the path below its file, rather than about the last part alone."""

    def matches(self, path: bytes, *, is_folder: bool) -> bool:
        """Whether it is about ``path``, which is relative to the folder of its file."""
        if self.only_folders and not is_folder:
            return False
        return _match(self.steps, path if self.whole_path else path.rpartition(b"/")[2])


@dataclass(frozen=True)
class Rules:
    """The patterns in force in a folder: (length of the path of the file's folder, its patterns), outermost first."""

    levels: tuple[tuple[int, tuple[Pattern, ...]], ...] = ()

    def below(self, folder: str, root: Path) -> Rules:
        """The rules inside ``folder`` (a path relative to the worktree ``root``, "" for that itself)."""
        patterns = tuple(read_patterns(root / folder / ".gitignore"))
        depth = len(os.fsencode(folder)) + 1 if folder else 0
        return Rules((*self.levels, (depth, patterns))) if patterns else self

    def ignores(self, path: str, *, is_folder: bool) -> bool:
        """Whether git leaves ``path`` alone; the innermost file, and in it the last line, that is about it decides."""
        raw = os.fsencode(path)
        for depth, patterns in reversed(self.levels):
            for pattern in reversed(patterns):
                if pattern.matches(raw[depth:], is_folder=is_folder):
                    return not pattern.negated
        return False


def rules_of(git_dir: Path) -> Rules:
    """The patterns of a repository that are in no worktree."""
    return Rules(((0, tuple(read_patterns(git_dir / "info/exclude"))),))


def read_patterns(file: Path) -> Iterator[Pattern]:
    """The patterns of a file; none when it is not there, or a link."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    with os.fdopen(fd, "rb") as opened:
        try:
            data = opened.read(PATTERNS_BYTES)
        except IsADirectoryError:
            return
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if (pattern := parse(line)) is not None:
            yield pattern


def parse(line: bytes) -> Pattern | None:
    """A pattern, or None for a comment, an empty line, and what can match nothing."""
    if line.startswith(b"#") or len(line) > _LINE_BYTES:
        return None
    text = _without_trailing_spaces(line.removesuffix(b"\r"))
    negated = text.startswith(b"!")
    text = text[negated:]
    only_folders = text.endswith(b"/")
    text = text.removesuffix(b"/")
    if not text:
        return None
    whole_path = b"/" in text
    steps = _compile(text.removeprefix(b"/"), whole_path=whole_path)
    return None if steps is None else Pattern(steps, negated, only_folders, whole_path)


def _without_trailing_spaces(line: bytes) -> bytes:
    end = len(line.rstrip(b" "))
    escapes = end - len(line[:end].rstrip(b"\\"))
    return line[: end + 1] if escapes % 2 and end < len(line) else line[:end]


def _compile(text: bytes, *, whole_path: bool) -> tuple[Step, ...] | None:
    """The steps of a pattern; None when a bracket or a backslash has no end."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text[at : at + 1] == b"*":
            at = _star(text, at, steps, whole_path=whole_path)
        elif text[at : at + 1] == b"?":
            steps.append(("one", _not_slash))
            at += 1
        elif text[at : at + 1] == b"[":
            if (bracket := _bracket(text, at)) is None:
                return None
            at, test = bracket
            steps.append(("one", test))
        else:
            at += text[at : at + 1] == b"\\"
            if at == len(text):
                return None
            steps.append(("one", _is(text[at])))
            at += 1
    return tuple(steps)


def _star(text: bytes, at: int, steps: list[Step], *, whole_path: bool) -> int:
    """Read stars; ``**`` crosses folders when it stands between slashes or ends.

    NOTE: git compares what comes before the first wildcard of a path by itself and cuts it off (``match_pathname`` in
    its ``dir.c``), so that ``a/b**`` crosses too, and ``b**/`` is ``b`` and all below.
    """
    end = at
    while text[end : end + 1] == b"*":
        end += 1
    is_first = whole_path and not re.search(rb"[*?\[\\]", text[:at])
    before, after = at == 0 or text[at - 1] == _SLASH or is_first, text[end : end + 1]
    if end - at >= 2 and before and after == b"/":
        steps += [("skip", _anything), ("folders", _anything)]
        return end + 1
    crosses = end - at >= 2 and before and not after
    steps.append(("any", _anything if crosses else _not_slash))
    return end


def _bracket(text: bytes, at: int) -> tuple[int, Callable[[int], bool]] | None:
    end = at + 1
    negated = text[end : end + 1] in (b"!", b"^")
    end += negated
    tests: list[Callable[[int], bool]] = []
    first = True
    while first or text[end : end + 1] != b"]":
        first = False
        if named := re.match(rb"\[:([a-z]*):\]", text[end:]):
            if named[1] not in _CLASSES:
                return None
            tests.append(_CLASSES[named[1]])
            end += named.end()
            continue
        low, end = _character(text, end)
        if low is None:
            return None
        high: int | None = low
        if text[end : end + 1] == b"-" and text[end + 1 : end + 2] not in (b"]", b""):
            high, end = _character(text, end + 1)
        if high is None:
            return None
        tests.append(_between(low, high))
    return end + 1, lambda c: c != _SLASH and any(test(c) for test in tests) != negated


def _character(text: bytes, at: int) -> tuple[int | None, int]:
    at += text[at : at + 1] == b"\\"
    return (text[at], at + 1) if at < len(text) else (None, at)


def _anything(_: int) -> bool:
    return True


def _not_slash(c: int) -> bool:
    return c != _SLASH


def _is(wanted: int) -> Callable[[int], bool]:
    return lambda c: c == wanted


def _between(low: int, high: int) -> Callable[[int], bool]:
    return lambda c: low <= c <= high


def _match(steps: tuple[Step, ...], name: bytes) -> bool:
    """Step through all ways to match at once: the states are the steps that may come next."""
    states = _with_empty({0}, steps)
    for c in name:
        after = set()
        for state in states:
            kind, test = steps[state] if state < len(steps) else ("end", _not_slash)
            if kind == "one" and test(c):
                after.add(state + 1)
            elif kind in ("any", "folders") and test(c):
                after.add(state)
            if kind == "folders" and c == _SLASH:
                after.add(state + 1)
        states = _with_empty(after, steps)
    return len(steps) in states


def _with_empty(states: set[int], steps: tuple[Step, ...]) -> set[int]:
    """``states`` and those that are reached from them by matching nothing."""
    pending = list(states)
    while pending:
        state = pending.pop()
        kind = steps[state][0] if state < len(steps) else "end"
        reached = {"any": (state + 1,), "skip": (state + 1, state + 2)}.get(kind, ())
        for other in reached:
            if other not in states:
                states.add(other)
                pending.append(other)
    return states
