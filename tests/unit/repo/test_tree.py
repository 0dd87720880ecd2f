import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_core.errors import UnsafeTree
from hyprstream_core.repo.git.tree import FOLDER, entries_of, is_dot_git, parse


def tree(*entries):
    return b"".join(mode + b" " + name + b"\0" + bytes.fromhex("11" * 20) for mode, name in entries)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    refusal = None
    try:
        entries = parse(data, "", 1000)
    except UnsafeTree as error:
        refusal = error
    if refusal is not None:
        assert refusal.message.isprintable()
    else:
        assert [oid for _, oid in entries_of(data)] == [e.oid for e in entries]


@given(
    st.lists(
        st.tuples(st.sampled_from([b"100644", b"100755", b"40000"]), st.from_regex(rb"[a-z.]{1,8}", fullmatch=True)),
        max_size=8,
    )
)
def test_whatever_git_mktree_writes_of_plain_names_is_read_back(tmp_path_factory, items):
    wanted = {name: mode for mode, name in items if name.strip(b".")}
    folded = sorted(wanted, key=lambda n: n + b"/" if wanted[n] == b"40000" else n)
    found = parse(tree(*((wanted[n], n) for n in folded)), "", 1000)
    assert [e.name.encode() for e in found] == folded
    assert [e.mode == FOLDER for e in found] == [wanted[n] == b"40000" for n in folded]


def test_a_real_tree_of_stock_git_is_read(model_repo):
    oid = model_repo.run("rev-parse", "main^{tree}")
    data = subprocess.run(["git", "cat-file", "tree", oid], cwd=model_repo.path, capture_output=True, check=True).stdout
    listed = model_repo.run("ls-tree", "main").splitlines()
    assert [
        f"{e.mode:06o} {'tree' if e.mode == FOLDER else 'blob'} {e.oid}\t{e.name}" for e in parse(data, "", 99)
    ] == listed


def test_folders_sort_as_if_they_ended_in_a_slash():
    parse(tree((b"100644", b"a.b"), (b"40000", b"a"), (b"100644", b"a0")), "", 9)
    with pytest.raises(UnsafeTree, match="out of order"):
        parse(tree((b"40000", b"a"), (b"100644", b"a.b")), "", 9)


@pytest.mark.parametrize(
    "name", [".git", ".GIT", "git~1", ".git ", ".git...", ".g\u200cit", ".git:stream", "\u206a.gIt"]
)
def test_disguises_of_dot_git_are_seen_through(name):
    assert is_dot_git(name)


@pytest.mark.parametrize(
    "name", [".gitignore", ".gitattributes", "git", ".git-x", "git~10", "git~2", "a.git", ".github"]
)
def test_other_names_are_not(name):
    assert not is_dot_git(name)


def test_a_message_names_the_whole_path():
    with pytest.raises(UnsafeTree, match=r"'deep/folder/\.\.'"):
        parse(tree((b"40000", b"..")), "deep/folder", 9)


def test_more_entries_than_allowed_are_refused():
    with pytest.raises(UnsafeTree) as caught:
        parse(tree(*((b"100644", b"%d" % n) for n in range(3))), "", 2)
    assert caught.value.error_code == "repo.too_large"
