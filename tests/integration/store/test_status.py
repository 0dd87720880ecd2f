"""What is said to differ in a worktree is what stock git says."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from hyprstream_core.errors import ModelNotFound

IDENTITY = ["-c", "user.name=T", "-c", "user.email=t@localhost"]


def porcelain(path):
    """Stock git's own list: path → its two letters."""
    command = ["git", "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"]
    listed = subprocess.check_output(command, cwd=path).decode().split("\0")
    return {line[3:]: line[:2] for line in listed if line}


def ours(store, branch="main"):
    (found,) = store.status("m", branch)
    return {change.path: change.code for change in found.changes}


@pytest.fixture
def worktree(store, make_repo):
    """A model with plain, executable, nested, ignored and large files."""
    repo = make_repo("m")
    for name in ("a.txt", "b.txt", "folder/c.txt", "folder/deep/d.txt", "kept.log"):
        repo.write(name, f"content of {name}\n")
    repo.write("run.sh", "#!/bin/sh\n")
    (repo.path / "run.sh").chmod(0o755)
    repo.write(".gitignore", "*.log\n/build/\nfolder/*.tmp\n!folder/keep.tmp\n")
    repo.write("folder/deep/.gitignore", "!special.log\n")
    repo.run("add", "--force", "kept.log")
    for n in range(3):
        repo.large(f"{n}.safetensors", f"weights {n}".encode() * 500)
    repo.commit()
    model = store.clone(str(repo.path))
    path = model.worktrees()[0].path
    past = time.time() - 100  # so that nothing was changed "in the same second" as far as stock git can tell
    for file in (*path.rglob("*"), model.git_dir / "worktrees"):
        if file.is_file() and file.suffix != ".safetensors" and file.name != ".git":
            os.utime(file, (past, past))
    subprocess.run(["git", "update-index", "-q", "--refresh"], cwd=path, check=True)
    return path


NAMES = ("a.txt", "b.txt", "folder/c.txt", "folder/deep/d.txt", "run.sh", "new.txt", "x/y.txt", "kept.log", "n.log",
         "build/out", "folder/t.tmp", "folder/keep.tmp", "folder/deep/special.log", "ä ö.txt")  # fmt: skip


def change(path: Path, rng):
    """One random thing that people do to a worktree."""
    file = path / rng.choice(NAMES)
    match rng.randrange(12):
        case 0 | 1 | 2 | 3:
            if not file.is_dir() and not file.is_symlink() and not any(p.is_file() for p in file.parents):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{rng.random()}\n" * rng.randrange(4))
        case 4 | 5 if file.is_file() or file.is_symlink():
            file.unlink()
        case 6 if file.is_file():
            file.chmod(file.stat().st_mode ^ 0o111)
        case 7 if file.is_file():
            file.unlink()
            file.symlink_to("b.txt")
        case 8:
            large = path / f"{rng.randrange(3)}.safetensors"
            large.unlink(missing_ok=True)
            if rng.random() < 0.6:
                large.write_bytes(b"other weights" * rng.randrange(1, 500))
        case 9:
            subprocess.run(["git", "add", "--all", "--", str(file)], cwd=path, capture_output=True)
        case 10:
            flags = rng.choice((["--cached"], ["-f"]))
            subprocess.run(["git", "rm", "-q", *flags, "--", str(file)], cwd=path, capture_output=True)
        case 11 if not file.exists():
            (path / rng.choice(("empty", "nested/repo"))).mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("round_", range(6))
def test_random_changes_are_seen_as_stock_git_sees_them(store, worktree, round_):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(8):
        for _ in range(4):
            change(worktree, rng)
        assert ours(store) == porcelain(worktree)


def test_a_clean_worktree_has_nothing_to_say(store, worktree):
    (found,) = store.status("m")
    assert (found.changes, found.head, found.commit) == ([], "refs/heads/main", found.worktree.oid)
    assert porcelain(worktree) == {}


def test_a_large_file_is_changed_when_its_content_is(store, worktree):
    file = worktree / "0.safetensors"
    content = file.read_bytes()
    os.utime(file, (1, 1))
    assert ours(store) == {}
    file.unlink()
    file.write_bytes(content[::-1])
    assert ours(store) == {"0.safetensors": " M"} == porcelain(worktree)
    pointer = subprocess.check_output(["git", "show", "HEAD:0.safetensors"], cwd=worktree)
    file.write_bytes(pointer)
    assert ours(store) == {"0.safetensors": " M"} == porcelain(worktree), "weights are missing"
    subprocess.run(["git", "checkout", "-q", "HEAD", "--", "0.safetensors"], cwd=worktree, check=True)
    os.utime(file, (1, 1))
    assert ours(store) == {} == porcelain(worktree), "a file that stock git wrote"


def test_content_is_read_only_when_size_or_time_differ(store, worktree, monkeypatch):
    from hyprstream_core.repo.files import status

    read = []
    real = status._hash
    monkeypatch.setattr(status, "_hash", lambda file, digest: read.append(file.name) or real(file, digest))
    assert ours(store) == {}
    os.utime(worktree / "1.safetensors", (1, 1))
    before, read[:] = list(read), []
    assert ours(store) == {}
    assert set(read) - set(before) == {"1.safetensors"}


def test_a_merge_that_is_not_finished_a_file_to_be_added_and_one_to_be_skipped(store, worktree):
    def git(*arguments, check=True):
        subprocess.run(["git", *IDENTITY, *arguments], cwd=worktree, capture_output=True, check=check)

    git("checkout", "-q", "-b", "side")
    (worktree / "a.txt").write_text("side\n")
    git("commit", "-qam", "side")
    git("checkout", "-q", "main")
    (worktree / "a.txt").write_text("main\n")
    git("commit", "-qam", "main")
    git("merge", "-q", "side", check=False)
    (worktree / "later.txt").write_text("later\n")
    git("add", "--intent-to-add", "later.txt")
    git("update-index", "--skip-worktree", "b.txt")
    (worktree / "b.txt").unlink()
    assert ours(store) == porcelain(worktree) == {"a.txt": "UU", "later.txt": " A"}


def test_a_worktree_that_stock_git_switched_is_compared_with_what_it_is_at(store, worktree):
    subprocess.run(["git", "checkout", "-q", "-b", "elsewhere"], cwd=worktree, check=True)
    (worktree / "a.txt").write_text("elsewhere\n")
    subprocess.run(["git", *IDENTITY, "commit", "-qam", "x"], cwd=worktree, check=True)
    (found,) = store.status("m", "main")
    assert (found.head, found.changes) == ("refs/heads/elsewhere", [])
    subprocess.run(["git", "checkout", "-q", "--detach"], cwd=worktree, check=True)
    (found,) = store.status("m", "main")
    assert found.head == found.commit != found.worktree.oid


def test_a_repository_inside_and_links_to_folders_are_named_and_not_entered(store, worktree, tmp_path):
    subprocess.run(["git", "init", "-q", "inner"], cwd=worktree, check=True)
    (worktree / "inner/file").write_text("x")
    (worktree / "link").symlink_to(tmp_path)
    assert ours(store) == porcelain(worktree) == {"inner/": "??", "link": "??"}


def test_files_that_are_left_alone_are_not_shown_and_still_not_lost(store, worktree):
    from hyprstream_core.errors import Conflict

    (worktree / "mine.log").write_text("the only copy")
    assert ours(store) == {} == porcelain(worktree)
    with pytest.raises(Conflict) as caught:
        store.remove("m")
    assert caught.value.details["changes"] == ["mine.log"]


def test_each_worktree_says_how_far_it_is_from_its_upstream(store, worktree, model_repo):
    store.clone(str(model_repo.path), name="other")
    store.add_worktree("other", "feature/x")
    tree = store.worktree_info("other", "feature/x").path
    subprocess.run(["git", *IDENTITY, "commit", "-q", "--allow-empty", "-m", "ahead"], cwd=tree, check=True)
    found = {s.worktree.branch: s for s in store.status("other")}
    assert set(found) == {"main", "feature/x"}
    upstream = found["feature/x"].upstream
    assert (upstream.ref, upstream.ahead, upstream.behind) == ("refs/remotes/origin/feature/x", 1, 0)
    shown = subprocess.check_output(["git", "status", "-sb"], cwd=tree, text=True)
    assert shown.startswith("## feature/x...origin/feature/x [ahead 1]")
    main = found["main"].worktree.path
    assert subprocess.check_output(["git", "status", "-sb"], cwd=main, text=True) == "## main...origin/main\n"
    with pytest.raises(ModelNotFound):
        store.status("other", "nothing")
