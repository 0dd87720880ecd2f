"""Patterns of files to leave alone mean what they mean to stock git."""

import random
import subprocess
import time

import pytest

from hyprstream_core.repo.git.ignore import Rules, parse

PIECES = ("a", "b", "ab", "*", "**", "?", "/", "/", "[ab]", "[!a]", "[a-c]", "\\*", ".", "c", "!", " ", "[[:alpha:]]")
NAMES = ("a", "b", "ab", "c", "abc", "*", "x", "1", "a.b", "a b")


def rules(*lines):
    return Rules(((0, tuple(p for line in lines if (p := parse(line.encode())))),))


@pytest.mark.parametrize(
    ("line", "path", "is_folder", "ignored"),
    [
        ("*.bin", "x.bin", False, True),
        ("*.bin", "deep/x.bin", False, True),
        ("/x", "x", False, True),
        ("/x", "d/x", False, False),
        ("d/", "d", False, False),
        ("d/", "d", True, True),
        ("a/b", "a/b", False, True),
        ("a/b", "x/a/b", False, False),
        ("**/b", "x/y/b", False, True),
        ("a/**/b", "a/b", False, True),
        ("a/**/b", "a/x/y/b", False, True),
        ("a/**", "a/x/y", False, True),
        ("a/**", "a", True, False),
        ("a/b**", "a/bx/y", False, True),
        ("b**//", "b", True, True),
        ("b**//", "bx", True, False),
        ("?b**/c", "xbx/c", False, True),
        ("?b**/c", "xbx/y/c", False, False),
        ("a*b", "a/b", False, False),
        ("[]a]", "]", False, True),
        ("[", "[", False, False),
        ("\\#x", "#x", False, True),
        ("#x", "#x", False, False),
        ("x ", "x", False, True),
        ("x\\ ", "x ", False, True),
        ("", "x", False, False),
        ("!", "x", False, False),
    ],
)
def test_a_pattern_ignores_what_the_manual_says(line, path, is_folder, ignored):
    assert rules(line).ignores(path, is_folder=is_folder) is ignored


def test_the_last_pattern_decides():
    assert rules("*.bin", "!keep.bin").ignores("keep.bin", is_folder=False) is False
    assert rules("!keep.bin", "*.bin").ignores("keep.bin", is_folder=False) is True


def test_random_patterns_ignore_what_stock_git_ignores(make_repo):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    repo = make_repo("patterns")
    paths = sorted({"/".join(rng.choices(NAMES, k=rng.choice((1, 2, 3)))) for _ in range(80)})
    for _ in range(40):
        lines = ["".join(rng.choices(PIECES, k=rng.randrange(1, 6))) for _ in range(rng.randrange(1, 4))]
        (repo.git_dir / "info/exclude").write_text("\n".join(lines) + "\n")
        listed = "\0".join(paths).encode() + b"\0"
        done = subprocess.run(
            ["git", "check-ignore", "--no-index", "-z", "--stdin"], cwd=repo.path, input=listed, capture_output=True
        )
        theirs = set(done.stdout.decode().split("\0")) - {""}
        assert {path for path in paths if ours(rules(*lines), path)} == theirs, lines


def ours(found, path):
    """As a walk from the top decides: nothing below a folder that is left alone is looked at."""
    parts = path.split("/")
    parents = ("/".join(parts[:n]) for n in range(1, len(parts)))
    return any(found.ignores(p, is_folder=True) for p in parents) or found.ignores(path, is_folder=False)


def test_a_pattern_made_to_take_for_ever_does_not():
    began = time.monotonic()
    assert rules("*a" * 60 + "b").ignores("a" * 250 + "c", is_folder=False) is False
    assert rules("**/a/" * 60 + "b").ignores("a/" * 120 + "c", is_folder=False) is False
    assert time.monotonic() - began < 5
