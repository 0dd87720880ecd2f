"""Stock git-lfs made the repository, and judges what we make of it."""

import subprocess

import pytest

from hyprstream_core.errors import BadObject


@pytest.fixture
def lfs_repo(make_repo):
    """A repository whose large files git-lfs itself has put away."""
    repo = make_repo("made-by-git-lfs")
    repo.run("lfs", "install", "--local", "--skip-smudge")
    repo.run("lfs", "track", "*.safetensors")
    repo.write("model.safetensors", bytes(range(256)) * 2000)
    repo.write("empty.safetensors", b"")
    repo.write("config.json", "{}")
    repo.commit()
    return repo


def lfs(folder, *args):
    done = subprocess.run(["git", "lfs", *args], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_git_lfs_finds_its_files_in_our_clone_whole(store, lfs_repo, referee):
    [worktree] = store.clone(str(lfs_repo.path)).worktrees()
    assert (worktree.path / "model.safetensors").read_bytes() == bytes(range(256)) * 2000
    assert (worktree.path / "empty.safetensors").read_bytes() == b""
    assert lfs(worktree.path, "ls-files", "--name-only").split() == ["model.safetensors"]
    assert "OK" in lfs(worktree.path, "fsck")
    referee(store)


def test_what_git_lfs_commits_in_a_worktree_lands_in_the_store_and_is_served(store, lfs_repo, tmp_path, referee):
    [worktree] = store.clone(str(lfs_repo.path)).worktrees()
    lfs(worktree.path, "install", "--local", "--skip-smudge")
    (worktree.path / "model.safetensors").unlink()
    (worktree.path / "model.safetensors").write_bytes(b"new weights" * 1000)
    identity = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
    subprocess.run(["git", *identity, "commit", "-qam", "trained"], cwd=worktree.path, check=True)
    folder = store.snapshot(store.resolve("made-by-git-lfs"))
    assert (folder / "model.safetensors").read_bytes() == b"new weights" * 1000
    assert "OK" in lfs(worktree.path, "fsck")
    referee(store)


def test_git_lfs_clones_from_a_bare_repository_of_ours(store, lfs_repo, tmp_path):
    model = store.clone(str(lfs_repo.path))
    subprocess.run(["git", "clone", "-q", f"file://{model.git_dir}", str(tmp_path / "theirs")], check=True)
    again = store.clone(str(tmp_path / "theirs"), name="again")
    assert (again.worktrees()[0].path / "model.safetensors").stat().st_size == 512_000


def test_an_object_that_somebody_left_writable_is_verified_and_made_read_only(store, model_repo, tmp_path):
    oid = model_repo.large("model.safetensors", b"third weights")
    model_repo.commit()
    path = store._space.layout.content(oid)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"third Weights")
    path.chmod(0o644)
    with pytest.raises(BadObject, match="was changed"):
        store.clone(str(model_repo.path), name="m")
    path.write_bytes(b"third weights")
    store.clone(str(model_repo.path), name="m")
    assert path.stat().st_mode & 0o777 == 0o444
    view = store.snapshot(store.resolve("m")) / "model.safetensors"
    assert view.stat().st_mode & 0o222 == 0
