"""branch, tag, log, status, worktree and the plan of remove, as a user runs them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hyprstream_core.cli.output import one_line


def git(folder, *arguments):
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    return subprocess.check_output(["git", *identity, *arguments], cwd=folder, text=True).strip()


@pytest.fixture
def cloned(tiny_here):
    """The command line in this process, with a model."""
    return tiny_here


@pytest.fixture
def path(cloned):
    """The folder of tiny:trunk."""
    return Path(cloned.json("list")[0]["path"])


def test_branches_are_made_listed_renamed_and_deleted(cloned, repository):
    (trunk,) = cloned.json("branch", "tiny")
    assert (trunk["name"], trunk["commit"]) == ("trunk", git(repository, "rev-parse", "trunk"))
    assert trunk["upstream"] == {"ref": "refs/remotes/origin/trunk", "ahead": 0, "behind": 0}
    made = cloned.json("branch", "tiny", "mine", "v1")
    assert made == {"created": "mine", "commit": git(repository, "rev-parse", "v1^{commit}")}
    shown = cloned("branch", "tiny", "-a").stdout.splitlines()
    assert shown[0].split() == ["BRANCH", "COMMIT", "UPSTREAM", "SUBJECT"]
    assert re.match(r"  mine +[0-9a-f]{12}  - +first$", shown[1])
    assert re.match(r"\* trunk +[0-9a-f]{12}  origin/trunk +second$", shown[2])
    assert [line.split()[0] for line in shown[3:]] == ["origin/experiment", "origin/trunk"]
    assert [b["name"] for b in cloned.json("branch", "tiny", "-r")] == ["origin/experiment", "origin/trunk"]
    assert cloned.json("branch", "-m", "tiny", "mine", "yours") == {"renamed": {"mine": "yours"}}
    assert cloned("branch", "-d", "tiny", "yours").stderr.startswith("deleted branch yours, which was at ")
    assert cloned.error("branch", "-d", "tiny", "trunk")["code"] == "ref.checked_out"
    assert cloned.error("branch", "tiny", "trunk")["code"] == "ref.exists"
    assert cloned.error("branch", "tiny", "x", "nothing")["code"] == "model_not_found"


WRONG = (
    "branch tiny -d", "branch tiny -m x", "branch tiny a b c", "branch tiny -r -a", "branch tiny -a x",
    "branch tiny -d -m a b", "branch tiny -f x", "tag tiny -d", "tag tiny -m x", "tag tiny -d -f v1", "tag tiny a b c",
    "log tiny -n 0", "worktree remove tiny", "worktree remove tiny:trunk trunk",
)  # fmt: skip


def test_options_that_do_not_go_together_are_wrong_usage(cloned):
    codes = {line: cloned(*line.split()).returncode for line in WRONG}
    assert codes == dict.fromkeys(WRONG, 2)


def test_an_annotated_tag_names_its_maker(cloned, tmp_path):
    git_dir = tmp_path / "models/tiny/tiny.git"

    def tagger(name):
        return git(git_dir, "for-each-ref", f"refs/tags/{name}", "--format=%(taggername)%(taggeremail) %(subject)")

    cloned.json("tag", "tiny", "light")
    assert git(git_dir, "cat-file", "-t", "light") == "commit"
    settings = {"HYPRSTREAM_USER_NAME": "Set Up", "HYPRSTREAM_USER_EMAIL": "set@localhost"}
    cloned.json("tag", "tiny", "a", "-m", "by settings", **settings)
    assert tagger("a") == "Set Up<set@localhost> by settings"
    env = {"GIT_COMMITTER_NAME": "<Env>\n", "GIT_COMMITTER_EMAIL": "env@localhost"}
    cloned.json("tag", "tiny", "b", "v1", "-m", "by environment", **settings, **env)
    assert tagger("b") == "Env<env@localhost> by environment"
    cloned.json("tag", "tiny", "c", "-m", "by account")
    assert re.fullmatch(r".+<.+@.+> by account", tagger("c"))
    assert cloned.error("tag", "tiny", "d", "-m", "x", HYPRSTREAM_USER_NAME="<>")["param"] == "user.name"
    assert cloned.error("tag", "tiny", "a")["code"] == "ref.exists"
    assert cloned("tag", "tiny", "a", "v1", "-f").returncode == 0
    shown = cloned("tag", "tiny").stdout.splitlines()
    assert shown[0].split() == ["TAG", "KIND", "COMMIT", "SUBJECT"]
    assert re.match(r"b +annotated +[0-9a-f]{12}  by environment$", shown[2])
    assert set(cloned.json("tag", "tiny", "-d", "a", "b")["deleted"]) == {"a", "b"}
    assert [t["name"] for t in cloned.json("tag", "tiny")] == ["c", "light", "v1"]


def test_the_log_shows_the_latest_first_with_what_is_at_them(cloned, repository):
    shown = cloned("log", "tiny").stdout.splitlines()
    first, second = git(repository, "rev-parse", "v1^{commit}"), git(repository, "rev-parse", "trunk")
    assert shown[0].startswith(f"{second[:12]}  ")
    assert shown[0].endswith("Tester (trunk, origin/trunk)  second")
    assert shown[1].endswith("Tester (tag: v1)  first")
    assert cloned("log", "tiny", "-n", "1").stdout.splitlines() == shown[:1]
    (entry,) = cloned.json("log", "tiny:v1")
    assert (entry["commit"], entry["parents"], entry["refs"]) == (first, [], ["refs/tags/v1"])
    assert entry["author"]["email"] == "tester@example.org"


def test_status_lists_changes_by_kind(cloned, path):
    assert cloned("status", "tiny").stdout.splitlines()[1] == "  nothing to commit"
    (path / "README.md").write_text("changed\n")
    (path / "new\x1b[2J.txt").write_text("x")
    (path / "config.json").unlink()
    git(path, "rm", "-q", "--cached", "chat_template.jinja")
    lines = cloned("status", "tiny:trunk").stdout.splitlines()
    assert re.fullmatch(r"tiny:trunk at [0-9a-f]{12}, tracks origin/trunk", lines[0])
    assert lines[1:] == [
        "  staged:", "    deleted: chat_template.jinja",
        "  not staged:", "    modified: README.md", "    deleted: config.json",
        "  not tracked:", "    chat_template.jinja", "    new\\x1b[2J.txt",
    ]  # fmt: skip
    (found,) = cloned.json("status", "tiny")
    assert {c["path"]: c["code"] for c in found["changes"]}["README.md"] == " M"
    assert found["clean"] is False
    assert cloned.error("status", "tiny:nothing")["code"] == "model_not_found"


def test_worktrees_are_added_listed_and_removed(cloned, repository):
    found = cloned.json("worktree", "add", "tiny", "experiment")
    assert (found["id"], found["commit"]) == ("tiny:experiment", git(repository, "rev-parse", "experiment"))
    assert git(found["path"], "status", "-sb") == "## experiment...origin/experiment"
    run = cloned("worktree", "add", "-b", "tiny", "scratch")
    assert run.stdout.split()[0] == "tiny:scratch"
    assert cloned("worktree", "add", "tiny", "tuned", "v1").returncode == 0
    listed = cloned.json("worktree", "list", "tiny")
    assert (
        [w["branch"] for w in listed]
        == ["experiment", "scratch", "trunk", "tuned"]
        == [w["branch"] for w in cloned.json("worktree", "list")]
    )
    shown = cloned("worktree", "list").stdout.splitlines()
    assert shown[0].split() == ["WORKTREE", "COMMIT", "DRIVER", "AGE", "FOLDER"]
    assert len(shown) == 5
    (Path(found["path"]) / "notes.txt").write_text("mine")
    error = cloned.error("worktree", "remove", "tiny", "experiment")
    assert (error["code"], error["details"]["changes"]) == ("repo.dirty", ["notes.txt"])
    assert cloned.json("worktree", "remove", "tiny:experiment", "-f") == {"removed": "tiny:experiment"}
    assert cloned("worktree", "remove", "tiny", "scratch").returncode == 0
    assert [w["branch"] for w in cloned.json("worktree", "list", "tiny")] == ["trunk", "tuned"]
    error = cloned.error("worktree", "add", "tiny", "experimnt")
    assert "did you mean: " in error["message"]


def test_remove_shows_its_plan_and_a_dry_run_removes_nothing(cloned, path):
    git(path, "commit", "-q", "--allow-empty", "-m", "mine")
    (path / "notes.txt").write_text("mine")
    shown = cloned("remove", "tiny", "--dry-run").stdout
    assert "model tiny with all its branches and tags" in shown
    assert "never pushed, as far as was fetched: trunk (1 commit)" in shown
    assert "not committed in trunk: notes.txt" in shown
    assert re.search(r"^  frees \d", shown, re.M)
    found = cloned.json("remove", "tiny", "--dry-run")
    assert (found["removed"], found["plan"]["unpushed"]) == (None, {"trunk": 1})
    assert len(cloned.json("list")) == 1
    code, shown = cloned.on_terminal("remove", "tiny", answer="n\n")
    assert code == 1
    assert shown.index("never pushed") < shown.index("Delete tiny") < shown.index("nothing was removed")
    found = cloned.json("remove", "tiny", "--force")
    assert (found["removed"], found["plan"]["changes"]) == ("tiny", {"trunk": ["notes.txt"]})


HOSTILE = b"\x1b]0;owned\x07\x1b[2J \xff\xfe \xe2\x80\xae evil " + b"A" * 200_000


@pytest.fixture
def hostile(cloned, path):
    """A commit, a tag and a branch that strangers could have written, in the model."""
    git_dir = path.parents[1] / "tiny.git"
    tree = git(path, "rev-parse", "HEAD^{tree}")
    person = b"\x1b[31m\xff <\x1b[2J@x> 1 +0000"
    raw = b"tree %s\nauthor %s\ncommitter %s\nencoding \x1b[2J\n\n%s" % (tree.encode(), person, person, HOSTILE)
    command = ["git", "hash-object", "-w", "--literally", "--stdin", "-t"]
    commit = subprocess.check_output([*command, "commit"], cwd=git_dir, input=raw).decode().strip()
    tag = b"object %s\ntype commit\ntag x\ntagger %s\n\n%s" % (commit.encode(), person, HOSTILE)
    tag_oid = subprocess.check_output([*command, "tag"], cwd=git_dir, input=tag).decode().strip()
    (git_dir / "refs/heads/trunk").write_text(f"{commit}\n")
    (git_dir / "refs/tags/x").write_text(f"{tag_oid}\n")
    odd = os.fsencode(git_dir / "refs/heads") + b"/odd-\xff-\xe2\x80\xae"
    Path(os.fsdecode(odd)).write_text(f"{commit}\n")
    return cloned


@pytest.mark.parametrize("verb", ["log tiny", "branch tiny -a", "tag tiny", "remove tiny --dry-run", "status tiny"])
def test_what_strangers_write_reaches_no_terminal_as_it_is(hostile, verb):
    run = hostile(*verb.split())
    assert run.returncode == 0, run.stderr
    shown = run.stdout + run.stderr
    assert not [c for c in shown if c != "\n" and not c.isprintable()]
    assert len(shown) < 5000
    run = hostile(*verb.split(), "--json")
    assert run.returncode == 0, run.stderr
    json.loads(run.stdout)
    assert len(run.stdout) < 20_000


def test_names_that_are_no_utf_8_can_be_written(hostile):
    """In a process of its own, whose standard output takes UTF-8 alone."""
    run = subprocess.run(
        [sys.executable, "-m", "hyprstream_core.cli", "branch", "tiny", "--json"],
        env=hostile.environment(), capture_output=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "odd-\udcff-\u202e" in {b["name"] for b in json.loads(run.stdout)}


def test_a_line_holds_nothing_that_turns_or_breaks_it():
    assert one_line("a\x1b[2Jb\nc\td\u202ee\u2028f\udcff", 100) == "a\\x1b[2Jb c d\\u202ee\\u2028f\\udcff"
    assert one_line("x" * 10**7, 10) == "x" * 9 + "…"


def test_these_verbs_import_no_torch(cloned):
    verbs = [["branch", "tiny"], ["tag", "tiny"], ["log", "tiny"], ["status", "tiny"], ["worktree", "list"]]
    code = (
        f"import os, sys; from hyprstream_core.cli.main import run; codes = [run(v, os.environ) for v in {verbs!r}];"
        "sys.exit(any(codes) or ('torch' in sys.modules) or ('numpy' in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], env=cloned.environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_help_lists_verbs_under_headings(cloned):
    shown = cloned("--help").stdout
    headings = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", "Models:", "Branches and history:", "Ask and serve:", "Set-up:"]
