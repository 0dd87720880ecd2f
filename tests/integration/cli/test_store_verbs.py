"""clone, list, inspect, worktree info and remove, as a user runs them, on a repository made with stock git."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def head(repository, ref="trunk"):
    return subprocess.run(
        ["git", "rev-parse", f"{ref}^{{commit}}"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_clone_names_the_model_after_its_url_and_checks_out_the_remote_default(hyprstream, repository):
    found = hyprstream.json("clone", repository.as_uri())
    assert (found["name"], found["branch"], found["commit"]) == ("tiny-qwen3", "trunk", head(repository))
    assert re.fullmatch(r"[0-9a-f-]{36}", found["uuid"])
    assert (Path(found["path"]) / "README.md").read_text() == "A tiny model.\n"


def test_clone_with_a_branch_and_a_name(hyprstream, repository):
    found = hyprstream.json("clone", repository.as_uri(), "--name", "Mine", "-b", "experiment")
    assert (found["name"], found["branch"], found["commit"]) == ("mine", "experiment", head(repository, "experiment"))


def test_clone_writes_its_progress_to_stderr_and_the_result_to_stdout(hyprstream, repository):
    run = hyprstream("clone", repository.as_uri())
    assert run.stdout.split()[:2] == ["tiny-qwen3:trunk", head(repository)[:12]]
    assert run.stderr == "", "a clone that takes no second has no progress to tell"
    assert "\x1b" not in run.stderr + run.stdout


def test_clone_shows_bars_on_a_terminal(hyprstream, repository):
    code, shown = hyprstream.on_terminal("clone", repository.as_uri())
    assert code == 0
    assert "100%" in shown or "━" in shown
    assert "tiny-qwen3:trunk" in shown


def test_no_color_on_a_terminal_means_none(cloned):
    _, shown = cloned.on_terminal("inspect", "nothing-here", NO_COLOR="1")
    assert "error: " in shown
    assert "\x1b[31m" not in shown
    _, shown = cloned.on_terminal("inspect", "nothing-here")
    assert "\x1b[31m" in shown


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["clone", "file:///no/such/place"], "remote."),
        (["clone", "nothing://x"], "url.scheme"),
        (["clone", "not a url"], "remote.not_found"),
        (["clone", "{url}", "-b", "no-such-branch"], ""),
        (["clone", "{url}", "--name", "../evil"], "ref.invalid"),
    ],
)
def test_a_clone_that_is_refused_leaves_nothing(hyprstream, repository, arguments, code):
    error = hyprstream.error(*(a.format(url=repository.as_uri()) for a in arguments))
    assert error["code"].startswith(code)
    assert hyprstream.json("list") == []


def test_a_second_clone_of_one_name_is_a_conflict(cloned, repository):
    assert cloned.error("clone", repository.as_uri(), "--name", "TINY")["type"] == "Conflict"


def test_list_has_one_row_per_worktree(cloned, repository):
    (row,) = cloned.json("list")
    assert (row["id"], row["commit"]) == ("tiny:trunk", head(repository))
    assert row["size_bytes"] > 100_000
    assert row["uuid"] == cloned.json("inspect", "tiny")["uuid"]
    table = cloned("list").stdout.splitlines()
    assert table[0].split() == ["MODEL", "COMMIT", "SIZE", "SAVED", "AGE", "DRIVER"]
    assert table[1].split()[:2] == ["tiny:trunk", head(repository)[:12]]
    wide = cloned("list", "--wide").stdout
    assert row["uuid"] in wide
    assert row["path"] in wide


def test_an_empty_list_says_how_to_get_a_model(hyprstream):
    run = hyprstream("list")
    assert (run.returncode, run.stdout) == (0, "")
    assert "hyprstream clone URL" in run.stderr
    assert hyprstream.json("list") == []


@pytest.mark.parametrize(
    ("reference", "kind", "ref"),
    [
        ("tiny", "branch", "trunk"),
        ("tiny:trunk", "branch", "trunk"),
        ("TINY:v1", "tag", "v1"),
        ("tiny:{short}", "commit", "v1"),
        ("tiny:{full}", "commit", "v1"),
        ("tiny:experiment", "remote", "experiment"),
    ],
)
def test_inspect_resolves_branch_tag_and_commit_to_exactly_one_commit(cloned, repository, reference, kind, ref):
    full = head(repository, "v1")
    found = cloned.json("inspect", reference.format(short=full[:10], full=full))
    assert (found["kind"], found["commit"]) == (kind, head(repository, ref))


def test_inspect_reads_architecture_size_and_files(cloned, repository):
    found = cloned.json("inspect", "tiny:v1")
    assert found["architectures"] == ["Qwen3ForCausalLM"]
    assert (found["family"], found["dtype"], found["context"]) == ("qwen3", "float32", 512)
    assert found["vocab_size"] == 320
    assert found["problem"] is None
    assert found["tensors"]["dtypes"] == {"F32": found["tensors"]["count"]}
    assert found["tensors"]["bytes"] == 4 * found["parameters"]
    assert found["tags"] == {"v1": head(repository, "v1")}
    assert set(found["branches"].values()) >= {head(repository), head(repository, "experiment")}
    files = {f["path"]: f["size_bytes"] for f in found["files"]}
    assert "README.md" not in files
    assert files["model.safetensors"] == (repository / "model.safetensors").stat().st_size
    shown = cloned("inspect", "tiny:v1").stdout
    assert re.search(r"^architecture +Qwen3ForCausalLM$", shown, re.M)
    assert re.search(r"^parameters +[\d,]+$", shown, re.M)


OBSERVER = """
import json
from hyprstream_core import hookimpl
api_version = "1.0"

@hookimpl
def hyprstream_observe(event):
    print(json.dumps({"name": event.name, **event.fields}))
"""


def test_hook_observe_is_told_of_a_clone_and_spoils_no_json(hyprstream, repository, tmp_path):
    site = tmp_path / "site"
    info = site / "third_watcher-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "third_watcher.py").write_text(OBSERVER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-watcher\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hyprstream.plugins]\nwatcher = third_watcher\n")
    watched = {
        "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}",
        "HYPRSTREAM_PLUGINS": f"{os.environ['HYPRSTREAM_PLUGINS']},watcher",
    }
    run = hyprstream("clone", repository.as_uri(), "--name", "tiny", "--json", **watched)
    made = json.loads(run.stdout)
    assert json.loads(run.stderr) == {
        "name": "model.cloned",
        "model": "tiny",
        **{key: made[key] for key in ("uuid", "url", "branch", "commit")},
    }
    assert hyprstream("clone", repository.as_uri(), "--name", "tiny", **watched).stderr.startswith("error:")


def test_inspect_of_what_is_no_servable_model_says_why_and_still_describes_it(hyprstream, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", "-c", "user.name=T", "-c", "user.email=t@e", *command], cwd=folder, check=True)
    assert "pickle" in hyprstream.json("clone", folder.as_uri())["problem"]
    run = hyprstream("clone", folder.as_uri(), "--name", "again")
    assert run.returncode == 0
    assert run.stdout.startswith("again:")
    assert run.stderr.startswith("warning: not a model hyprstream can serve: ")
    assert "pickle" in run.stderr
    found = hyprstream.json("inspect", "plain")
    assert "pickle" in found["problem"]
    assert [f["path"] for f in found["files"]] == ["pytorch_model.bin"]


@pytest.mark.parametrize("reference", ["nothing", "tiny:nothing", "tiny:0123456"])
def test_an_unknown_reference_is_not_found(cloned, reference):
    assert cloned.error("inspect", reference)["code"] == "model_not_found"


@pytest.mark.parametrize("reference", ["../x", "tiny:a..b", "tiny:", "https://x/y"])
def test_a_malformed_reference_is_refused(cloned, reference):
    assert cloned.error("inspect", reference)["code"] == "ref.invalid"


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["inspect", "tiny"], ["worktree", "info", "tiny", "trunk"], ["remove", "-f", "tiny"]],
    ids=" ".join,
)
def test_the_verbs_of_the_store_import_no_torch(cloned, arguments):
    code = (
        f"import os, sys; from hyprstream_core.cli.main import run; code = run({arguments!r}, os.environ);"
        "sys.exit(code or ('torch' in sys.modules) or ('numpy' in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], env=cloned.environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_case_104_a_password_in_a_url_is_in_no_output_and_not_kept(hyprstream, tmp_path):
    for url in ("http://user:s3cret@127.0.0.1:9/x.git", "https://s3cret@127.0.0.1:9/x.git"):
        for arguments in ([], ["--json"]):
            run = hyprstream("clone", url, *arguments, HYPRSTREAM_LOG="debug", HYPRSTREAM_CLONE_TIMEOUT="2")
            assert run.returncode == 1
            assert "s3cret" not in run.stdout + run.stderr
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and b"s3cret" in p.read_bytes()]
    assert kept == []


def test_worktree_info_is_measured(cloned, repository):
    found = cloned.json("worktree", "info", "tiny", "trunk")
    assert set(found) == {
        *("path", "branch", "oid", "driver", "created_at", "apparent_bytes", "own_bytes", "saved_bytes")
    }
    assert (found["branch"], found["oid"]) == ("trunk", head(repository))
    sizes = [p.stat().st_size for p in Path(found["path"]).rglob("*") if p.is_file() and p.name != ".git"]
    assert found["apparent_bytes"] == found["own_bytes"] + found["saved_bytes"] == sum(sizes)
    assert f"commit   {head(repository)}" in cloned("worktree", "info", "tiny", "trunk").stdout
    assert cloned.json("worktree", "info", "tiny:trunk") == cloned.json("worktree", "info", "tiny") == found
    error = cloned.error("worktree", "info", "tiny", "v1")
    assert error["code"] == "model_not_found"
    assert "v1 is a tag; only branches have worktrees" in error["message"]
    assert cloned("worktree", "info", "tiny:trunk", "trunk").returncode == 2


def test_remove_without_a_terminal_needs_force(cloned):
    error = cloned.error("remove", "tiny")
    assert error["code"] == "confirmation_required"
    assert error["remedy"] == "hyprstream remove --force tiny"
    assert len(cloned.json("list")) == 1
    assert cloned.json("remove", "tiny", "-f")["removed"] == "tiny"
    assert cloned.json("list") == []
    assert cloned.error("remove", "tiny", "-f")["code"] == "model_not_found"


def test_remove_asks_on_a_terminal(cloned):
    code, shown = cloned.on_terminal("remove", "tiny", answer="n\n")
    assert code == 1
    assert "nothing was removed" in shown
    assert "Delete tiny with everything in it?" in shown
    assert len(cloned.json("list")) == 1
    assert cloned.on_terminal("remove", "tiny", answer="y\n")[0] == 0
    assert cloned.json("list") == []


def test_the_last_branch_is_not_removed_without_the_model(cloned):
    error = cloned.error("remove", "tiny:trunk", "--force")
    assert error["code"] == "repo.last_worktree"
    assert error["remedy"] == "hyprstream remove tiny removes the model"
    assert [row["id"] for row in cloned.json("list")] == ["tiny:trunk"]


def test_a_model_whose_worktrees_are_gone_is_still_listed(cloned):
    (row,) = cloned.json("list")
    shutil.rmtree(row["path"])
    (bare,) = cloned.json("list")
    assert set(bare) == set(row)
    assert (bare["id"], bare["branch"], bare["uuid"]) == ("tiny", None, row["uuid"])
    assert re.search(r"^tiny +no worktree ", cloned("list").stdout, re.M)


def test_inspect_shows_worktrees_and_what_is_not_checked_out(cloned):
    (row,) = cloned.json("list")
    assert cloned.json("inspect", "tiny")["worktrees"] == {"trunk": row["path"]}
    for reference, shown in (
        ("tiny", "trunk (branch)"),
        ("tiny:experiment", "experiment (branch, not checked out)"),
        ("tiny:v1", "v1 (tag)"),
    ):
        text = cloned("inspect", reference).stdout
        assert re.search(rf"^reference +{re.escape(shown)}$", text, re.M)
        assert re.search(rf"^worktrees +trunk \({re.escape(row['path'])}\)$", text, re.M)


def test_a_model_that_could_be_served_is_cloned_without_a_warning(hyprstream, repository):
    assert hyprstream.json("clone", repository.as_uri())["problem"] is None


def test_a_folder_of_models_that_is_a_file_is_an_error(hyprstream, tmp_path):
    (tmp_path / "file").touch()
    error = hyprstream.error("--models-dir", tmp_path / "file", "list")
    assert (error["code"], error["param"]) == ("disk.denied", "models_dir")


def wait_for(process, path):
    while process.poll() is None and not path():
        time.sleep(0.001)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_interrupted_clone_is_undone_or_when_it_comes_too_late_done(hyprstream, repository, tmp_path, phase):
    """Until the model becomes visible: 130, silence and nothing left. From then on: the result, and 0."""
    models = tmp_path / "models"
    moment = {
        "before": lambda: any((models / ".staging").glob("*/repo.git")),
        "after": lambda: (models / ".registry/.git/refs/heads/main").exists(),
    }[phase]
    process = subprocess.Popen(
        [sys.executable, "-m", "hyprstream_core.cli", "clone", repository.as_uri()],
        env=hyprstream.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(process, moment)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    listed = [row["id"] for row in hyprstream.json("list")]
    assert err.strip() == ""
    assert (process.returncode, out.split()[:1], listed) == (
        (130, [], []) if phase == "before" else (0, ["tiny-qwen3:trunk"], ["tiny-qwen3:trunk"])
    )


def test_changes_in_a_worktree_are_not_removed_without_force(cloned):
    (row,) = cloned.json("list")
    (Path(row["path"]) / "notes.txt").write_text("mine")
    code, shown = cloned.on_terminal("remove", "tiny", answer="y\n")
    assert code == 1, shown
    assert len(cloned.json("list")) == 1
    assert cloned("remove", "tiny", "-f").returncode == 0
