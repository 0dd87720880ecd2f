"""Hostile trees and files (security-cases.md 1–7 and 9), written object by object with stock git, and cloned as a user
would.
"""

import subprocess
import time

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import UnsafeTree

FILE, RUN, LINK, FOLDER, SUB = "100644", "100755", "120000", "40000", "160000"


def test_case_001_a_tree_that_climbs_out_is_refused(refused, hostile, tmp_path):
    inner = hostile.tree((FILE, b"x", hostile.blob()))
    for tree in (
        hostile.tree((FILE, b"../../x", hostile.blob())),
        hostile.tree((FOLDER, b"..", inner)),
        hostile.tree((FOLDER, b"a", hostile.tree((FOLDER, b"..", inner)))),
    ):
        hostile.point(tree)
        refused(hostile.path, "repo.unsafe_path", UnsafeTree)


@pytest.mark.parametrize(
    "name",
    [
        b"/tmp/x", b"..", b".", b".git", b".GIT", b".Git ", b".git.", b".git . ", b"git~1", b"GIT~1", b"git~1 .",
        ".gi\u200ct".encode(), ".g\u200dit".encode(), "\ufeff.git".encode(), b".git::$INDEX_ALLOCATION", b".git:x",
        b"C:x", b"c:", b"..\\x", b"a\\b", b"\\\\host\\share",
    ],
)  # fmt: skip
def test_case_002_absolute_paths_disguises_of_git_drives_and_backslashes_are_refused(refused, hostile, name):
    inner = hostile.tree((FILE, b"config", hostile.blob()))
    for tree in (
        hostile.tree((FOLDER, name, inner)),
        hostile.tree((FOLDER, b"deep", hostile.tree((FILE, name, hostile.blob())))),
    ):
        hostile.point(tree)
        refused(hostile.path, "repo.unsafe_path", UnsafeTree)


def test_case_002_hooks_of_a_disguised_git_folder_are_refused(refused, hostile):
    hook = hostile.tree((RUN, b"post-checkout", hostile.blob(b"#!/bin/sh\n")))
    hostile.point(hostile.tree((FOLDER, b".GIT", hostile.tree((FOLDER, b"hooks", hook)))))
    refused(hostile.path, "repo.unsafe_path", UnsafeTree)


def test_case_003_a_link_with_a_folder_of_its_name_is_refused(refused, hostile, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    link = hostile.blob(str(outside).encode())
    inner = hostile.tree((FILE, b"f", hostile.blob()))
    hostile.point(hostile.tree((LINK, b"a", link), (FOLDER, b"a", inner)))
    refused(hostile.path, "repo.unsafe_path", UnsafeTree)
    assert list(outside.iterdir()) == []


def test_case_003_a_link_that_another_branch_or_tag_turns_into_a_folder_is_refused(refused, hostile, tmp_path):
    link = hostile.tree((LINK, b"a", hostile.blob(str(tmp_path).encode())))
    hostile.point(hostile.tree((FOLDER, b"a", hostile.tree((FILE, b"f", hostile.blob())))))
    hostile.point(link, "other")
    refused(hostile.path, "repo.unsafe_path", UnsafeTree)
    hostile.run("tag", "evil", "other")
    hostile.run("branch", "-D", "other")
    refused(hostile.path, "repo.unsafe_path", UnsafeTree)


def test_case_003_a_link_in_history_is_never_written(store, hostile, tmp_path):
    bad = hostile.point(hostile.tree((LINK, b"a", hostile.blob(str(tmp_path).encode()))))
    good = hostile.run("commit-tree", hostile.tree((FILE, b"a", hostile.blob())), "-p", bad, "-m", "mended")
    hostile.run("update-ref", "refs/heads/main", good)
    model = store.clone(str(hostile.path))
    with pytest.raises(UnsafeTree):
        store.snapshot(store.resolve(f"hostile:{bad}"))
    assert not (model.path / "views" / bad).exists()


@pytest.mark.parametrize("name", [b"config.json", b"tokenizer.json", b"model.safetensors"])
@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../..", b"other"])
def test_case_004_model_files_that_are_links_are_refused(refused, hostile, name, target):
    hostile.point(hostile.tree((LINK, name, hostile.blob(target))))
    refused(hostile.path, "repo.unsafe_path", UnsafeTree)


def test_case_005_duplicates_are_refused_also_by_case_alone(refused, hostile):
    one, two = hostile.blob(b"1"), hostile.blob(b"2")
    inner = hostile.tree((FILE, b"x", one))
    for entries in (
        [(FILE, b"a", one), (FILE, b"a", two)],
        [(FILE, b"Config.json", one), (FILE, b"config.json", two)],
        [(FILE, b"a", one), (FILE, b"a.b", one), (FOLDER, b"a", inner)],
        [(FILE, b"STRASSE", one), (FILE, "straße".encode(), two)],
        [(FILE, "e\u0301".encode(), one), (FILE, "\u00e9".encode(), two)],
    ):
        hostile.point(hostile.tree(*entries))
        refused(hostile.path, "repo.bad_tree", UnsafeTree)


def test_case_005_an_unsorted_tree_is_refused(refused, hostile):
    blob = hostile.blob()
    hostile.point(hostile.tree((FILE, b"b", blob), (FILE, b"a", blob)))
    refused(hostile.path, "repo.bad_tree", UnsafeTree)
    hostile.point(hostile.tree((FOLDER, b"a", hostile.tree((FILE, b"x", blob))), (FILE, b"a.b", blob)))
    refused(hostile.path, "repo.bad_tree", UnsafeTree)


def test_case_005_a_null_id_is_refused(refused, hostile):
    hostile.point(hostile.tree((FILE, b"a", hostile.blob()), (SUB, b"b", "0" * 40)))
    refused(hostile.path, "repo.bad_tree", UnsafeTree)


@pytest.mark.parametrize("mode", ["0104755", "0100644", "040000", "777", "160001", "110644", "0"])
def test_case_005_modes_that_git_does_not_write_are_refused(refused, hostile, mode):
    hostile.point(hostile.tree((mode, b"a", hostile.blob())))
    refused(hostile.path, "repo.bad_tree", UnsafeTree)


@pytest.mark.parametrize("mode", ["104755", "107777", "100666", "100664", "100777"])
def test_case_005_a_file_with_odd_permission_bits_is_stored_as_a_plain_one(store, hostile, mode):
    hostile.point(hostile.tree((mode, b"a", hostile.blob(b"text\n"))))
    model = store.clone(str(hostile.path))
    for folder in (model.worktrees()[0].path, store.snapshot(store.resolve("hostile"))):
        assert (folder / "a").read_bytes() == b"text\n"
        assert (folder / "a").stat().st_mode & 0o7133 == 0
    fsck = ["git", "fsck", "--strict", "--no-dangling"]
    ours, theirs = (
        subprocess.run(fsck, cwd=path, capture_output=True, text=True, check=False)
        for path in (model.git_dir, hostile.path)
    )
    assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr)  # the object is as its owner made it


@pytest.mark.parametrize(
    "name", [b"a\nb", b"\x1b[2J", b"a\x7f", b"\xc2\x9b", b"\xff\xfe", "\u2028".encode(), b"", b"n" * 256]
)
def test_case_005_control_characters_and_names_that_are_none_are_refused(refused, hostile, name):
    hostile.point(hostile.tree((FILE, name, hostile.blob())))
    error = refused(hostile.path, "repo.bad_tree", UnsafeTree)
    assert error.message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        b'[submodule "x"]\n\tpath = sub\n\turl = -u./payload\n',
        b'[submodule "../../x"]\n\tpath = sub\n\turl = ./x\n',
        b'[submodule "x"]\n\tpath = .git/hooks\n\turl = ./x\n',
        b'[submodule "x"]\n\tpath = "sub\r"\n\turl = ./x\r\n',
    ],
)
def test_case_006_gitmodules_are_plain_text_and_submodules_never_fetched(store, hostile, text):
    hostile.write("payload", "touch /tmp/never")
    hostile.commit()
    hostile.point(hostile.tree((FILE, b".gitmodules", hostile.blob(text)), (SUB, b"sub", hostile.head())))
    model = store.clone(str(hostile.path))
    folder = model.worktrees()[0].path
    assert (folder / ".gitmodules").read_bytes() == text
    assert list((folder / "sub").iterdir()) == []
    assert not (model.git_dir / "modules").exists()
    assert not (model.git_dir / "hooks").exists()


def test_case_007_attributes_filters_and_lfsconfig_of_a_repository_run_and_reach_nothing(
    store, hostile, git_server, tmp_path, processes
):
    oid = hostile.large("model.safetensors", b"weights" * 100)
    marker = tmp_path / "ran"
    hostile.write(".gitattributes", "* filter=x\n")
    hostile.write(".lfsconfig", "[lfs]\n\turl = http://127.0.0.1:1/evil\n\tfetchexclude = *\n")
    hostile.write("config", f'[filter "x"]\n\tsmudge = touch {marker}\n[core]\n\tfsmonitor = touch {marker}\n')
    hostile.commit()
    git_server.large[oid] = b"weights" * 100
    processes.clear()
    store.clone(f"{git_server.url}/hostile/.git", name="hostile")
    assert [p for p in processes if "http-backend" not in p] == []
    assert not marker.exists()
    assert {path.split("?")[0] for _, path, _ in git_server.seen if "lfs" in path} == {
        "/hostile/.git/info/lfs/objects/batch"
    }


def test_case_009_tree_bombs_are_refused_early(refused, hostile):
    tree = hostile.tree(*((FILE, b"f%d" % n, hostile.blob()) for n in range(10)))
    for _ in range(8):
        tree = hostile.tree(*((FOLDER, b"d%d" % n, tree) for n in range(10)))
    hostile.point(tree)
    start = time.monotonic()
    refused(hostile.path, "repo.too_large", UnsafeTree)
    assert time.monotonic() - start < 5


def test_case_009_trees_that_are_too_deep_or_have_endless_paths_are_refused(refused, hostile, new_store):
    tree = hostile.tree((FILE, b"f", hostile.blob()))
    for _ in range(130):
        tree = hostile.tree((FOLDER, b"d", tree))
    hostile.point(tree)
    refused(hostile.path, "repo.too_large", UnsafeTree)
    tree = hostile.tree((FILE, b"f", hostile.blob()))
    for _ in range(20):
        tree = hostile.tree((FOLDER, b"d" * 250, tree))
    hostile.point(tree)
    refused(hostile.path, "repo.too_large", UnsafeTree)


def test_case_009_more_files_or_bytes_than_allowed_are_refused(refused, hostile, new_store):
    hostile.point(hostile.tree(*((FILE, b"%03d" % n, hostile.blob(b"x" * 1000)) for n in range(100))))
    refused(hostile.path, "repo.too_large", UnsafeTree, using=new_store(limits=Limits(repo_files=99)))
    refused(hostile.path, "repo.too_large", UnsafeTree, using=new_store(limits=Limits(repo_pack_bytes=90_000)))
    refused(hostile.path, "repo.too_large", UnsafeTree, using=new_store(limits=Limits(repo_blob_bytes=999)))
