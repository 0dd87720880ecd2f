"""Cloning a repository that stock git made, by path and by file:// URL."""

import json
import subprocess

import pytest

from hyprstream_core.config import CloneSettings
from hyprstream_core.errors import BadObject, Conflict, ModelNotFound, RefError, RemoteError, StoreError


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".git"}


FIRST = {
    ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
    "config.json": b'{"hidden_size": 8}',
    "nested/folder/notes.txt": b"deep\n",
    "run.sh": b"#!/bin/sh\n",
    "model.safetensors": b"first weights" * 1000,
    "copy.safetensors": b"first weights" * 1000,
}
SECOND = {**FIRST, "model.safetensors": b"second weights" * 1000}


def test_a_clone_by_path_is_registered_checked_out_and_clean_for_stock_git(store, model_repo, referee):
    model = store.clone(str(model_repo.path))
    assert (model.name, model.default_branch) == ("tiny-model", "main")
    assert model.url == f"file://{model_repo.path}"
    [worktree] = store.models()
    assert (worktree.id, worktree.oid) == ("tiny-model:main", model_repo.head())
    assert files_of(worktree.path) == FIRST
    assert (worktree.path / "run.sh").stat().st_mode & 0o111
    referee(store)


def test_a_clone_by_file_url_of_a_bare_repository_reads_its_own_large_files(store, make_repo, model_repo, tmp_path):
    model_repo.run("clone", "--quiet", "--bare", str(model_repo.path), str(tmp_path / "bare.git"))
    (model_repo.git_dir / "lfs").rename(tmp_path / "bare.git/lfs")
    model = store.clone(f"file://{tmp_path}/bare.git")
    assert model.name == "bare"
    assert files_of(model.worktrees()[0].path) == FIRST


def test_branches_tags_and_commits_resolve_and_are_served_as_they_are(store, model_repo):
    store.clone(str(model_repo.path), name="M")
    first, second = model_repo.head("main"), model_repo.head("feature/x")
    expected = {
        "m": ("branch", first),
        "m:main": ("branch", first),
        "M:heads/main": ("branch", first),
        "m:feature/x": ("remote", second),
        "m:origin/feature/x": ("remote", second),
        "m:v1": ("tag", first),
        "m:v1-light": ("tag", first),
        "m:tags/v1": ("tag", first),
        "m:refs/tags/v1": ("tag", first),
        f"m:{second}": ("commit", second),
        f"m:{second[:7]}": ("commit", second),
        f"m:{second[:9].upper()}": ("commit", second),
    }
    for reference, (kind, commit) in expected.items():
        resolved = store.resolve(reference)
        assert (resolved.kind, resolved.commit) == (kind, commit), reference
        assert files_of(store.snapshot(resolved)) == (FIRST if commit == first else SECOND)


def test_two_views_of_one_commit_are_one_folder_that_nobody_may_write(store, model_repo):
    store.clone(str(model_repo.path))
    one = store.snapshot(store.resolve("tiny-model:v1"))
    two = store.snapshot(store.resolve("tiny-model:main"))
    assert one == two
    assert not [p for p in one.rglob("*") if p.is_file() and p.stat().st_mode & 0o222]


def test_unknown_references_are_not_found(store, model_repo):
    store.clone(str(model_repo.path))
    for reference in (
        "other",
        "tiny-model:nope",
        "tiny-model:heads/v1",
        "tiny-model:tags/main",
        "tiny-model:" + "0" * 40,
    ):
        with pytest.raises(ModelNotFound):
            store.resolve(reference)


def test_what_may_mean_two_things_is_refused_and_its_candidates_named(store, model_repo):
    model_repo.run("branch", "both", "feature/x")
    model_repo.run("tag", "both", "main")
    store.clone(str(model_repo.path))
    with pytest.raises(RefError) as caught:
        store.resolve("tiny-model:both")
    assert caught.value.error_code == "ref.ambiguous"
    assert caught.value.details["candidates"] == ["refs/remotes/origin/both", "refs/tags/both"]
    assert store.resolve("tiny-model:heads/both").commit == model_repo.head("feature/x")
    assert store.resolve("tiny-model:tags/both").commit == model_repo.head("main")


def test_a_branch_named_like_somebody_elses_pinned_commit_is_ambiguous(store, model_repo):
    pinned = model_repo.head("main")[:8]
    model_repo.run("update-ref", f"refs/heads/{pinned}", model_repo.head("feature/x"))
    store.clone(str(model_repo.path))
    with pytest.raises(RefError) as caught:
        store.resolve(f"tiny-model:{pinned}")
    assert caught.value.error_code == "ref.ambiguous"


def test_a_chosen_branch_is_checked_out_and_the_default_stays_the_remotes(store, model_repo, referee):
    model = store.clone(str(model_repo.path), branch="feature/x")
    [worktree] = store.models()
    assert (worktree.branch, worktree.path) == ("feature/x", model.path / "worktrees/feature/x")
    assert model.default_branch == "main"
    assert store.resolve("tiny-model").commit == model_repo.head("main")
    referee(store)


def test_the_default_branch_is_the_remotes_whatever_its_name(store, make_repo):
    repo = make_repo()
    repo.write("a", "x")
    repo.commit()
    repo.run("branch", "-m", "main", "trunk")
    assert store.clone(str(repo.path)).default_branch == "trunk"


def test_a_detached_head_falls_back_to_a_branch_at_its_commit(store, model_repo):
    model_repo.run("checkout", "--quiet", "--detach", "feature/x")
    assert store.clone(str(model_repo.path)).default_branch == "feature/x"


def test_references_beyond_branches_and_tags_are_not_fetched(store, model_repo):
    model_repo.run("update-ref", "refs/pull/1/head", model_repo.commit("somebody's proposal"))
    model_repo.run("reset", "--quiet", "--hard", "HEAD~1")
    model_repo.run("update-ref", "refs/heads/HEAD", "main")
    model_repo.run("update-ref", "refs/tags/not-a-commit", "main:config.json")
    proposal = model_repo.head("refs/pull/1/head")
    model = store.clone(str(model_repo.path))
    assert list(model.branches()) == ["feature/x", "main"]
    assert list(model.tags()) == ["v1", "v1-light"]
    with pytest.raises(ModelNotFound):
        store.resolve(f"tiny-model:{proposal}")
    with pytest.raises(ModelNotFound, match="names a blob"):
        store.resolve("tiny-model:not-a-commit")


def test_a_store_that_is_made_is_private_and_one_that_is_there_keeps_its_rights(new_store, model_repo, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    for root, mode in (("deep/down/own", 0o700), ("shared", 0o755)):
        new_store(root).clone(str(model_repo.path))
        assert (tmp_path / root).stat().st_mode & 0o777 == mode


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(new_store, model_repo, tmp_path):
    (tmp_path / "models").write_text("a file where the store should be")
    with pytest.raises(StoreError) as caught:
        new_store().clone(str(model_repo.path))
    assert caught.value.error_code == "disk.denied"


def test_an_unknown_branch_is_refused_and_leaves_nothing(store, model_repo, tmp_path):
    with pytest.raises(RefError, match="no branch"):
        store.clone(str(model_repo.path), branch="nope")
    assert store.registered() == []
    assert not (tmp_path / "models/tiny-model").exists()


def test_a_name_that_is_taken_is_a_conflict_that_says_what_to_do(store, model_repo):
    store.clone(str(model_repo.path), name="one")
    with pytest.raises(Conflict) as caught:
        store.clone(str(model_repo.path), name="ONE")
    assert "--name" in caught.value.remedy


def test_organisations_and_models_of_one_name_live_side_by_side(store, model_repo, referee):
    store.clone(str(model_repo.path), name="org")
    store.clone(str(model_repo.path), name="org/a")
    store.clone(str(model_repo.path), name="org/b")
    store.remove("org")
    store.remove("org/a")
    assert [m.name for m in store.registered()] == ["org/b"]
    assert files_of(store.snapshot(store.resolve("org/b"))) == FIRST
    referee(store)


def test_the_registry_is_a_git_history_with_one_commit_per_change(store, model_repo, tmp_path):
    model = store.clone(str(model_repo.path), name="one")
    store.clone(str(model_repo.path), name="two")
    store.remove("one")
    log = model_repo.run("-C", str(tmp_path / "models/.registry"), "log", "--format=%s", "--reverse")
    assert log.splitlines() == ["clone one", "clone two", "remove one"]
    listed = json.loads((tmp_path / "models/.registry/registry.json").read_text())
    assert list(listed["models"]) == ["two"]
    assert model.uuid not in json.dumps(listed)


def test_a_uuid_is_stable_and_new_for_every_clone(store, new_store, model_repo):
    model = store.clone(str(model_repo.path), name="one")
    other = store.clone(str(model_repo.path), name="two")
    assert new_store().model("one").uuid == model.uuid != other.uuid


def test_removing_frees_the_large_files_that_nobody_else_uses(store, model_repo, tmp_path):
    store.clone(str(model_repo.path), name="one")
    store.clone(str(model_repo.path), name="two")
    store.snapshot(store.resolve("one:feature/x"))
    large = tmp_path / "models/lfs/objects"
    assert len(list(large.glob("??/??/*"))) == 2
    store.remove("one")
    assert len(list(large.glob("??/??/*"))) == 2  # a commit of the other model still needs it
    store.remove("two")
    assert list(large.glob("*")) == []
    assert store.models() == []


def test_a_large_file_that_the_remote_lacks_fails_the_clone_and_a_retry_works(store, model_repo, tmp_path, referee):
    oid = model_repo.large("model.safetensors", b"first weights" * 1000)
    content = model_repo.content(oid)
    content.rename(tmp_path / "hidden")
    with pytest.raises(RemoteError) as caught:
        store.clone(str(model_repo.path))
    assert caught.value.error_code == "lfs.missing"
    assert store.registered() == []
    assert not (tmp_path / "models/tiny-model").exists()
    (tmp_path / "hidden").rename(content)
    store.clone(str(model_repo.path))
    referee(store)


def test_a_repository_with_a_missing_blob_is_refused(store, model_repo):
    oid = model_repo.run("rev-parse", "main:config.json")
    (model_repo.git_dir / "objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises((RemoteError, BadObject)):
        store.clone(str(model_repo.path))
    assert store.registered() == []


def test_an_empty_repository_is_refused_by_name(store, make_repo):
    with pytest.raises(RemoteError) as caught:
        store.clone(str(make_repo("empty").path))
    assert caught.value.error_code == "remote.empty"


def test_a_folder_without_a_repository_is_refused(store, tmp_path):
    with pytest.raises(RemoteError) as caught:
        store.clone(str(tmp_path))
    assert caught.value.error_code == "remote.not_found"


def test_submodules_are_never_fetched_and_their_place_stays_empty(store, make_repo, model_repo, referee):
    repo = make_repo("with-sub")
    repo.write("a", "x")
    repo.write(".gitmodules", f'[submodule "s"]\n\tpath = sub\n\turl = {model_repo.path}\n')
    repo.run("add", "--all")
    repo.run("update-index", "--add", "--cacheinfo", f"160000,{model_repo.head()},sub")
    repo.run("commit", "--quiet", "-m", "sub")
    model = store.clone(str(repo.path))
    assert list((model.worktrees()[0].path / "sub").iterdir()) == []
    referee(store)


def test_progress_is_told_in_phases_and_content_ends_at_its_total(store, model_repo):
    told = []
    store.clone(str(model_repo.path), progress=lambda phase, done, total: told.append((phase, done, total)))
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == [
        "git",
        "index",
        "check",
        "fetch",
        "content",
        "checkout",
    ]
    size = len(b"first weights" * 1000)
    assert ("content", size, size) in told


@pytest.mark.parametrize("driver", ["copy", "hardlink"])
def test_every_driver_fills_worktrees_that_stock_git_finds_clean(new_store, model_repo, referee, driver):
    store = new_store(clone=CloneSettings(worktree_driver=driver))
    model = store.clone(str(model_repo.path))
    store.add_worktree("tiny-model", "feature/x")
    store.snapshot(store.resolve("tiny-model:main"))
    assert [w.driver for w in model.worktrees()] == [driver, driver]
    assert files_of(model.worktrees()[0].path) == SECOND
    referee(store)


def test_history_is_complete_and_the_remotes_branches_are_remote_tracking(store, model_repo):
    model = store.clone(str(model_repo.path))
    assert model.branches() == {"feature/x": model_repo.head("feature/x"), "main": model_repo.head("main")}
    assert model.tags() == {"v1": model_repo.head("v1"), "v1-light": model_repo.head("v1-light")}
    refs = model_repo.run("-C", str(model.git_dir), "for-each-ref", "--format=%(refname)").splitlines()
    assert refs == [
        "refs/heads/main",
        "refs/remotes/origin/feature/x",
        "refs/remotes/origin/main",
        "refs/tags/v1",
        "refs/tags/v1-light",
    ]


def test_a_tag_in_the_place_of_a_branch_is_called_a_tag(store, model_repo):
    with pytest.raises(RefError) as caught:
        store.clone(str(model_repo.path), name="m", branch="v1")
    assert "'v1' is a tag" in caught.value.message
    assert "m:v1" in caught.value.remedy
    assert store.registered() == []


def test_a_models_folder_that_is_a_file_is_an_error_also_for_readers(new_store, tmp_path):
    (tmp_path / "models").write_text("a file where the store should be")
    for read in (lambda: new_store().registered(), lambda: new_store().model("m"), lambda: new_store().resolve("m")):
        with pytest.raises(StoreError) as caught:
            read()
        assert caught.value.error_code == "disk.denied"


def test_what_the_caller_raises_at_the_last_moment_undoes_the_clone(store, model_repo, referee):
    def publishing():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.clone(str(model_repo.path), name="m", publishing=publishing)
    assert store.registered() == []
    assert not (store._space.layout.root / "m").exists()
    store.clone(str(model_repo.path), name="m")
    referee(store)


def test_a_remote_whose_head_names_nothing_must_be_told_which_branch(store, model_repo):
    model_repo.run("symbolic-ref", "HEAD", "refs/heads/gone")
    with pytest.raises(RefError, match="HEAD names none") as caught:
        store.clone(str(model_repo.path), name="m")
    assert "feature/x, main" in caught.value.remedy
    model = store.clone(str(model_repo.path), name="m", branch="main")
    assert model.default_branch == "main"


def test_a_repository_with_other_ids_is_refused_by_name(store, tmp_path):
    repo = tmp_path / "sha256"
    who = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(repo)], check=True)
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "a"], cwd=repo, check=True)
    with pytest.raises(RemoteError, match="uses sha256 ids") as caught:
        store.clone(str(repo), name="m")
    assert caught.value.error_code == "remote.object_format"
