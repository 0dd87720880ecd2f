"""History is shown as stock git shows it, whoever wrote it, and the newest of a long one at once."""

import os
import random
import subprocess

import pytest

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.git.gitdir import GitDir

FORMAT = "%H%x00%P%x00%an%x00%ae%x00%aI%x00%cI%x00%s%x00%D"


def theirs(git_dir, ref="HEAD", *options):
    """Stock git's log, as records like ours."""
    command = ["git", "-c", "log.showSignature=false", "log", f"--format={FORMAT}", "--decorate=full", *options, ref]
    listed = subprocess.check_output(command, cwd=git_dir, text=True)
    found = []
    for line in listed.splitlines():
        *fields, refs = line.split("\0")
        names = {r.removeprefix("tag: ").removeprefix("HEAD -> ") for r in refs.split(", ") if r}
        found.append((*map(zulu, fields), names - {"HEAD", "grafted"}))
    return found


def ours(store, reference="m"):
    return [
        (
            entry.commit.oid, " ".join(entry.commit.parents), entry.commit.author.name, entry.commit.author.email,
            zulu(entry.commit.author.when), zulu(entry.commit.committer.when), entry.commit.subject, set(entry.refs),
        )
        for entry in store.log(reference)
    ]  # fmt: skip


def zulu(text):
    return text.replace("+00:00", "Z") if text.endswith("+00:00") else text


def commit(repo, parents, rng, clock):
    """A commit with odd dates, zones, messages and any parents; its id."""
    tree = repo.run("write-tree")
    zone = rng.choice(("+0000", "+0530", "-1100", "+0200"))
    message = rng.choice(
        ("plain", "two\nlines of subject\n\nbody", "\n\n  leading space", "ünï ☃", "trailing  \n\n", "x" * 300)
    )
    env = {
        **os.environ,
        "GIT_AUTHOR_NAME": rng.choice(("Ann", "Bob O'Neil", "Ünal")), "GIT_AUTHOR_EMAIL": "a@localhost",
        "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@localhost",
        "GIT_AUTHOR_DATE": f"@{rng.randrange(10**9)} {zone}", "GIT_COMMITTER_DATE": f"@{clock} {zone}",
    }  # fmt: skip
    arguments = [part for parent in parents for part in ("-p", parent)]
    command = ["git", "commit-tree", tree, *arguments, "-m", message]
    return subprocess.check_output(command, cwd=repo.path, env=env, text=True).strip()


@pytest.fixture
def tangled(store, make_repo):
    """A model whose history branches and merges at random; many commits have one time, and some clocks are wrong."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    repo = make_repo("m")
    repo.write("f", "x")
    repo.run("add", "--all")
    made, clock = [commit(repo, [], rng, 10**9)], 10**9
    for _ in range(60):
        clock += rng.choice((0, 0, 1, 50, 3600))
        parents = rng.sample(made[-8:], min(len(made), rng.choice((1, 1, 1, 2, 3))))
        made.append(commit(repo, parents, rng, clock - rng.choice((0, 0, 0, 0, 500))))
    repo.run("update-ref", "refs/heads/main", made[-1])
    for n, oid in enumerate(rng.sample(made, 8)):
        repo.run("update-ref", f"refs/{rng.choice(('heads/b', 'tags/t'))}{n}", oid)
    repo.run("tag", "-am", "x", "annotated", rng.choice(made))
    model = store.clone(str(repo.path))
    fetched = subprocess.check_output(["git", "rev-list", "--all"], cwd=model.git_dir, text=True).split()
    return model, fetched, rng


def test_order_text_people_times_and_decorations_are_those_of_stock_git(store, tangled):
    model, *_ = tangled
    assert ours(store) == theirs(model.git_dir)
    for branch in store.branches("m", "remote")[:4]:
        assert ours(store, f"m:{branch.name}") == theirs(model.git_dir, branch.ref)


def test_a_shallow_repository_ends_where_its_file_says(store, tangled):
    model, made, rng = tangled
    (model.git_dir / "shallow").write_text("".join(f"{oid}\n" for oid in sorted(rng.sample(made, 8))))
    assert ours(store) == theirs(model.git_dir)


def test_ahead_and_behind_are_counted_as_stock_git_counts(store, tangled):
    model, made, rng = tangled
    subprocess.run(["git", "update-ref", "refs/heads/main", rng.choice(made)], cwd=model.git_dir, check=True)
    for target in rng.sample(made, 12):
        subprocess.run(["git", "update-ref", "refs/remotes/origin/main", target], cwd=model.git_dir, check=True)
        (main,) = (b for b in store.branches("m") if b.name == "main")
        counts = subprocess.check_output(
            ["git", "rev-list", "--left-right", "--count", "main...origin/main"], cwd=model.git_dir, text=True
        )
        assert [main.upstream.ahead, main.upstream.behind] == list(map(int, counts.split()))


def test_the_newest_of_a_long_history_read_few_commits(store, make_repo, monkeypatch):
    repo = make_repo("m")
    stream = "".join(
        f"commit refs/heads/main\ncommitter C <c@x> {10**9 + n} +0000\ndata 1\nx" + "\n" for n in range(3000)
    )
    repo.run("fast-import", "--quiet", stdin=stream.encode())
    store.clone(str(repo.path))
    read, real = [], GitDir.read
    monkeypatch.setattr(GitDir, "read", lambda self, *args: read.append(args) or real(self, *args))
    entries = store.log("m")
    assert [next(entries).commit.committer.time for _ in range(5)] == [10**9 + n for n in range(2999, 2994, -1)]
    entries.close()
    assert len(read) < 15


def test_a_missing_commit_is_named(store, tangled):
    model, *_ = tangled
    absent = "ab" * 20
    raw = f"tree {'0' * 39}1\nparent {absent}\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nx\n".encode()
    command = ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"]
    oid = subprocess.check_output(command, cwd=model.git_dir, input=raw).decode().strip()
    with pytest.raises(BadObject, match=absent):
        list(store.log(f"m:{oid}"))
