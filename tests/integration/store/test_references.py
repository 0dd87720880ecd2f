"""Every reference resolves as stock git resolves it, or is refused because it means two commits."""

import random
import re
import subprocess

import pytest

from hyprstream_core.errors import ModelNotFound, RefError

PARTS = ("main", "dev", "x", "y", "feature", "fix", "v1", "v1.0", "origin", "heads", "tags", "remotes", "HEAD", "ä")


class StockGit:
    """What stock git takes names for; one process answers for all."""

    def __init__(self, git_dir):
        self.git_dir = git_dir
        self.refs = self._ask("for-each-ref", "--format=%(refname)").split()
        self.head = self._ask("symbolic-ref", "HEAD").strip()
        self._batch = subprocess.Popen(
            ["git", "cat-file", "--batch-check"],
            cwd=git_dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def _ask(self, *arguments):
        return subprocess.check_output(["git", *arguments], cwd=self.git_dir, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._batch.stdin.close()
        self._batch.stdout.close()
        self._batch.wait()

    def commit(self, name):
        """What ``git rev-parse --verify name^{commit}`` says, or None."""
        self._batch.stdin.write(f"{name}^{{commit}}\n")
        self._batch.stdin.flush()
        oid, kind = self._batch.stdout.readline().split()[:2]
        return oid if kind == "commit" else None

    def meanings(self, name):
        """The commits that ``name`` can mean, each by a name that leaves stock git no choice."""
        full = [f"refs/{kind}{name}" for kind in ("heads/", "tags/", "remotes/", "")]
        full += [name, f"refs/remotes/{name}/HEAD"]
        if f"refs/heads/{name}" not in self.refs:
            full.append(f"refs/remotes/origin/{name}")
        if name.startswith("heads/"):
            full.append(f"refs/remotes/origin/{name.removeprefix('heads/')}")
        full = [ref for ref in full if ref in self.refs] + [self.head] * (name == "HEAD")
        if re.fullmatch(r"[0-9a-fA-F]{4,40}", name):
            full += self._ask("rev-parse", f"--disambiguate={name}").split()
        return {ref: commit for ref in full if (commit := self.commit(ref) or self._other(ref))}

    def _other(self, ref):
        """The id of a reference that names no commit."""
        return self._ask("rev-parse", ref).strip() if ref.startswith("refs/") else None


def update_refs(path, refs):
    """Make references with stock git; those that exclude each other are left out."""
    for name, oid in refs.items():
        subprocess.run(["git", "update-ref", name, oid], cwd=path, capture_output=True, check=False)


def a_name(rng):
    return "/".join(rng.choice(PARTS) for _ in range(rng.choice((1, 1, 1, 2, 2, 3))))


def fill(repo, git_dir, rng):
    """A random repository: commits, tags of tags, tags of blobs, names that look alike, loose and packed."""
    commits = [repo.commit(f"commit {n}") for n in range(6)]
    subprocess.run(["git", "fetch", "-q", str(repo.path), "main"], cwd=git_dir, check=True)
    blob = subprocess.check_output(["git", "hash-object", "-w", "--stdin"], cwd=git_dir, input=b"x").decode().strip()
    oids = list(commits)
    for number in range(4):
        target = rng.choice(oids)
        kind = "commit" if target in commits else "tag"
        data = f"object {target}\ntype {kind}\ntag t{number}\ntagger T <t@localhost> 1 +0000\n\nx\n".encode()
        oids.append(subprocess.check_output(["git", "mktag"], cwd=git_dir, input=data).decode().strip())
    refs = {}
    for _ in range(70):
        kind = rng.choice(("refs/heads/", "refs/remotes/origin/", "refs/tags/"))
        name = a_name(rng)
        short = rng.choice((name, name, name, rng.choice(commits)[: rng.choice((4, 7, 40))]))
        refs[kind + short] = rng.choice(commits if kind != "refs/tags/" else [*oids, blob])
    update_refs(git_dir, refs)
    subprocess.run(["git", "pack-refs", *(["--all"] if rng.random() < 0.7 else [])], cwd=git_dir, check=True)
    update_refs(git_dir, {name: rng.choice(commits) for name in rng.sample(list(refs), 8)})
    return commits, oids


@pytest.mark.parametrize("round_", range(3))
def test_every_reference_means_what_stock_git_takes_it_for(store, make_repo, round_):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    repo = make_repo("random")
    repo.write("f", "x")
    repo.commit()
    model = store.clone(str(repo.path))
    commits, oids = fill(repo, model.git_dir, rng)
    with StockGit(model.git_dir) as git:
        names = {name for ref in git.refs for name in spellings(ref)}
        names |= {a_name(rng) for _ in range(30)} | {"HEAD", "nothing", "refs/heads/nothing", "0" * 40, "00000"}
        names |= {oid[: rng.choice((4, 5, 8, 12, 40))] for oid in oids for _ in range(3)} | {commits[0].upper()}
        verdicts = [verdict(store, git, name) for name in sorted(names)]
    assert verdicts.count("refused") > 0
    assert verdicts.count("resolved") > 50


def verdict(store, git, name):
    """What we take ``name`` for, checked against stock git."""
    theirs, meant = git.commit(name), git.meanings(name)
    forced = (
        name.startswith(("refs/", "heads/", "tags/", "remotes/")) and f"refs/{name.removeprefix('refs/')}" in git.refs
    )
    ours, refusal = None, None
    try:
        ours = store.resolve(f"random:{name}").commit
    except (ModelNotFound, RefError) as error:
        refusal = error
    if isinstance(refusal, ModelNotFound):
        assert theirs is None, (name, meant)
        return "unknown"
    if refusal is not None:
        assert refusal.error_code == "ref.ambiguous", (name, refusal)
        assert len(set(meant.values())) > 1, (name, meant)
        assert len(refusal.details["candidates"]) > 1
        return "refused"
    if theirs is not None:
        assert ours == theirs, (name, meant)
    if not forced:
        assert set(meant.values()) == {ours}, (name, meant)
    return "resolved"


def spellings(ref):
    """Every way to write a reference that is shorter than itself, and itself."""
    parts = ref.split("/")
    return {"/".join(parts[n:]) for n in range(len(parts))}


@pytest.fixture
def looks_alike(store, make_repo):
    """A model with a default branch that is not main, nested branches, one basename twice, and 300 references."""
    repo = make_repo("model")
    repo.run("checkout", "-q", "-b", "trunk")
    repo.write("f", "x")
    first = repo.commit()
    second = repo.commit()
    for name in ("feature/x", "fix/x", "a/b/c/d"):
        repo.run("branch", name, first)
    repo.run("tag", "-am", "annotated", "v1", first)
    repo.run("tag", "-am", "a tag of a tag", "v1-again", "v1")
    many = "".join(f"create refs/heads/many/{n} {(first, second)[n % 2]}\n" for n in range(290))
    repo.run("update-ref", "--stdin", stdin=many.encode())
    model = store.clone(str(repo.path))
    return model, first, second


def test_nested_alike_and_many_references_resolve(store, looks_alike):
    model, first, second = looks_alike
    expected = {
        "model": second, "model:trunk": second, "model:HEAD": second, "model:heads/trunk": second,
        "model:origin/trunk": second, "model:remotes/origin/trunk": second, "model:refs/heads/trunk": second,
        "model:feature/x": first, "model:fix/x": first, "model:heads/fix/x": first, "model:origin/a/b/c/d": first,
        "model:v1": first, "model:v1-again": first, "model:tags/v1-again": first, "model:refs/tags/v1": first,
        f"model:{first}": first, f"model:{first[:9]}": first, f"model:{first[:9].upper()}": first,
        "model:many/288": first, "model:many/289": second,
    }  # fmt: skip
    assert {name: store.resolve(name).commit for name in expected} == expected
    assert model.default_branch == "trunk"
    assert len(model.branches()) == 294


def test_a_branch_named_like_a_commit_does_not_stand_for_it(store, looks_alike):
    model, first, second = looks_alike
    absent = "ab" * 20
    update_refs(model.git_dir, {f"refs/heads/{first}": second, f"refs/tags/{absent}": first})
    with pytest.raises(RefError) as caught:
        store.resolve(f"model:{first}")
    assert caught.value.error_code == "ref.ambiguous"
    assert caught.value.details["candidates"] == [f"refs/heads/{first}", first]
    with pytest.raises(ModelNotFound):
        store.resolve(f"model:{absent}")


def test_one_commit_under_two_names_is_no_ambiguity(store, looks_alike):
    model, _, second = looks_alike
    update_refs(model.git_dir, {"refs/tags/trunk": second, "refs/heads/origin/trunk": second})
    assert store.resolve("model:trunk").ref == "refs/heads/trunk"
    assert store.resolve("model:origin/trunk").commit == second


def test_two_commits_under_one_name_are_refused_with_the_ways_to_say_which(store, looks_alike):
    model, first, second = looks_alike
    update_refs(model.git_dir, {"refs/tags/trunk": first})
    with pytest.raises(RefError) as caught:
        store.resolve("model:trunk")
    assert caught.value.details["candidates"] == ["refs/heads/trunk", "refs/tags/trunk"]
    assert "heads/NAME, tags/NAME" in caught.value.remedy
    assert store.resolve("model:heads/trunk").commit == second
    assert store.resolve("model:tags/trunk").commit == first
    assert store.resolve("model").commit == second


@pytest.mark.parametrize(("typed", "close"), [("trnk", "trunk"), ("feature/y", "feature/x"), ("V1-agian", "v1-again")])
def test_an_unknown_reference_names_those_that_are_spelt_like_it(store, looks_alike, typed, close):
    with pytest.raises(ModelNotFound) as caught:
        store.resolve(f"model:{typed}")
    assert f"did you mean: {close}" in caught.value.message.replace("origin/", "")
    assert close in caught.value.details["close"][0]


def test_a_tag_of_what_is_no_commit_is_said_to_be_that(store, looks_alike):
    model, _, _ = looks_alike
    blob = subprocess.check_output(["git", "hash-object", "-w", "--stdin"], cwd=model.git_dir, input=b"x").decode()
    update_refs(model.git_dir, {"refs/tags/notes": blob.strip()})
    with pytest.raises(ModelNotFound, match="names a blob, expected a commit"):
        store.resolve("model:notes")


def test_references_that_git_packs_and_moves_meanwhile_are_seen(store, looks_alike):
    model, first, second = looks_alike
    subprocess.run(["git", "pack-refs", "--all", "--prune"], cwd=model.git_dir, check=True)
    assert store.resolve("model:trunk").commit == second
    update_refs(model.git_dir, {"refs/heads/trunk": first})
    assert store.resolve("model:trunk").commit == first
    subprocess.run(["git", "update-ref", "-d", "refs/tags/v1"], cwd=model.git_dir, check=True)
    with pytest.raises(ModelNotFound):
        store.resolve("model:v1")
