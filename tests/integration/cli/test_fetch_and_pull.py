"""fetch, pull and clone --depth, as a user runs them."""

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def cloned(hyprstream, model_repo):
    hyprstream.json("clone", model_repo.path.as_uri(), "--name", "m")
    return hyprstream


def grow(repo, text=None):
    repo.write("config.json", text or os.urandom(4).hex())
    return repo.commit()


def test_fetch_writes_a_line_for_everything_that_changed(here, model_repo):
    old = model_repo.head()
    new = grow(model_repo)
    model_repo.run("tag", "v2")
    model_repo.run("tag", "-f", "v1")
    model_repo.run("checkout", "--quiet", "-b", "topic/one")
    model_repo.run("branch", "-f", "feature/x", "feature/x~1")
    run = here("fetch", "m")
    assert run.returncode == 0, run.stderr
    assert [line.split()[:3] for line in run.stdout.splitlines()] == [
        ["+", "forced", "origin/feature/x"],
        ["updated", "origin/main", f"{old[:12]}..{new[:12]}"],
        ["*", "new", "branch"],
        ["!", "kept", "tag"],
        ["*", "new", "tag"],
        ["!", "default", "topic/one"],
    ]
    again = here("fetch", "m")
    assert [line.split()[1] for line in again.stdout.splitlines()] == ["kept", "default"]


def test_fetch_as_json_is_a_list_of_changes(here, model_repo):
    old, new = model_repo.head(), grow(model_repo)
    assert here.json("fetch", "m") == [
        {"ref": "refs/remotes/origin/main", "kind": "updated", "old": old, "new": new, "forced": False}
    ]
    assert here.json("fetch", "m") == []
    assert "nothing new" in here("fetch", "m").stderr


def test_fetch_forgets_with_prune_and_replaces_tags_with_force(here, model_repo):
    model_repo.run("branch", "-D", "feature/x")
    grow(model_repo)
    model_repo.run("tag", "-f", "v1")
    kinds = [change["kind"] for change in here.json("fetch", "m", "origin", "--prune", "--force")]
    assert kinds == ["updated", "updated", "pruned"]


def test_what_a_remote_calls_its_branches_cannot_reach_the_terminal(here, model_repo):
    packed = model_repo.git_dir / "refs/heads/x\u009b2Jy"
    packed.write_text(model_repo.head() + "\n")
    run = here("fetch", "m")
    assert run.returncode == 0
    assert "\u009b" not in run.stdout + run.stderr


@pytest.mark.parametrize("words", [[], ["origin"], ["main"], ["origin", "main"]])
def test_pull_moves_branch_and_files(here, model_repo, words):
    old, new = model_repo.head(), grow(model_repo, "{}")
    found = here.json("pull", "m", *words)
    assert {key: found[key] for key in ("name", "branch", "remote_branch", "old", "new", "files")} == {
        "name": "m", "branch": "main", "remote_branch": "main", "old": old, "new": new, "files": 1,
    }  # fmt: skip
    assert [change["ref"] for change in found["fetched"]] == ["refs/remotes/origin/main"]
    [row] = here.json("list")
    assert row["commit"] == new


def test_pull_says_what_it_did(here, model_repo):
    old, new = model_repo.head(), grow(model_repo)
    lines = here("pull", "m:main").stdout.splitlines()
    assert lines[-1].split()[:2] == ["m:main", f"{old[:12]}..{new[:12]}"]
    assert "1 files changed" not in lines[-1]
    assert here("pull", "m").stdout.split() == ["m:main", new[:12], "up", "to", "date"]


def test_one_word_that_is_no_remote_is_a_branch(here, model_repo):
    found = here.json("pull", "m", "feature/x")
    assert (found["branch"], found["remote_branch"]) == ("main", "feature/x")
    assert found["new"] == model_repo.head("feature/x")
    assert here.error("pull", "m", "nope")["code"] == "model_not_found"
    assert here.error("pull", "m", "upstream", "main")["code"] == "remote.unknown"


def test_refusals_have_codes_and_remedies(here, model_repo):
    [row] = here.json("list")
    grow(model_repo)
    (Path(row["path"]) / "config.json").write_text("mine")
    error = here.error("pull", "m")
    assert (error["code"], error["details"]["changes"]) == ("repo.dirty", ["config.json"])
    subprocess.run(["git", "checkout", "--quiet", "--", "."], cwd=row["path"], check=True)
    here.json("pull", "m")
    model_repo.run("reset", "--quiet", "--hard", "HEAD~1")
    error = here.error("pull", "m")
    assert error["code"] == "remote.rewound"
    assert "pull --force m:main" in error["remedy"]
    assert here.json("pull", "m", "--force")["new"] == model_repo.head()


def test_depth_full_and_the_setting(here, model_repo):
    here("remove", "-f", "m")
    for _ in range(3):
        grow(model_repo)
    url = model_repo.path.as_uri()

    def length(name):
        path = here.json("list")[0]["path"]
        assert f"/{name}/" in path
        return int(
            subprocess.run(["git", "rev-list", "--count", "HEAD"], cwd=path, capture_output=True, check=True).stdout
        )

    here.json("clone", url, "--name", "a", "--depth", "2")
    assert length("a") == 2
    here.json("fetch", "a", "--depth", "3")
    assert length("a") == 3
    here.json("fetch", "a", "--full")
    assert length("a") == 4
    here("remove", "-f", "a")
    here.json("clone", url, "--name", "b", HYPRSTREAM_CLONE_DEPTH="1")
    assert length("b") == 1
    here("remove", "-f", "b")
    here.json("clone", url, "--name", "c", "--full", HYPRSTREAM_CLONE_DEPTH="1")
    assert length("c") == 4
    for arguments in (["clone", url, "--depth", "0"], ["fetch", "c", "--depth", "1", "--full"]):
        assert here.error(*arguments, status=2)["code"] == "usage"
