"""What branches track is written as stock git reads it, whatever they are called, and nothing else is touched."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_core.errors import RefError
from hyprstream_core.repo.git.git_config import Tracking, forget_branch, read_tracking, rename_branch, write_tracking
from hyprstream_core.repo.git.gitdir import create
from hyprstream_core.repo.git.reference_store import References
from hyprstream_core.repo.refs import check_branch

ORDINARY = Tracking("origin", "refs/heads/main")
ODD = ["main", 'a"b', "a]b", "a#b", "a;b", "é", "x.y", "UPPER", "a'b", "$x", "a=b", "feature/x", 'q"]#']


def allowed(name):
    try:
        check_branch(name)
    except RefError:
        return False
    return True


@pytest.fixture
def refs(tmp_path):
    create(tmp_path / "x.git", url='https://h/a"b', lfs=tmp_path)
    (tmp_path / "scratch").mkdir()
    return References(tmp_path / "x.git", tmp_path / "scratch", 1)


def stock(refs, key):
    done = subprocess.run(
        ["git", "config", "--file", refs.git_dir / "config", "--get-all", key], capture_output=True, text=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ODD)
def test_stock_git_reads_what_we_write_and_we_what_it_writes(refs, name):
    write_tracking(refs, name, Tracking("origin", f"refs/heads/{name}"))
    assert stock(refs, f"branch.{name}.merge") == [f"refs/heads/{name}"]
    assert read_tracking(refs.git_dir) == {name: Tracking("origin", f"refs/heads/{name}")}
    config = ["git", "config", "--file", str(refs.git_dir / "config")]
    subprocess.run([*config, f"branch.{name}.merge", "refs/heads/other;#\"'"], check=True)
    assert read_tracking(refs.git_dir)[name].merge == "refs/heads/other;#\"'"


@given(st.lists(st.text(max_size=12).filter(allowed), min_size=1, max_size=4, unique=True))
def test_any_branches_are_written_read_renamed_and_forgotten(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("config")
    create(folder / "x.git", url="u", lfs=folder)
    refs = References(folder / "x.git", folder, 1)
    before = (refs.git_dir / "config").read_bytes()
    for name in names:
        write_tracking(refs, name, Tracking("origin", f"refs/heads/{name}"))
    assert read_tracking(refs.git_dir) == {n: Tracking("origin", f"refs/heads/{n}") for n in names}
    rename_branch(refs, names[0], "renamed")
    assert read_tracking(refs.git_dir)["renamed"].merge == f"refs/heads/{names[0]}"
    for name in ["renamed", *names[1:]]:
        forget_branch(refs, name)
    assert (refs.git_dir / "config").read_bytes() == before


def test_other_sections_other_keys_and_comments_stay(refs):
    path = refs.git_dir / "config"
    before = path.read_text()
    more = (
        '# a comment \\\n[branch "main"] remote = upstream ; why\n\trebase = true\n\tmerge = \\\n refs/heads/old\n'
        '[Branch "MAIN"]\n\tremote = x\n[branch.Old]\n\tremote=o\n\tmerge="refs/heads/o"\n'
        '[x]\n\ty = "[branch \\"z\\"]"\n'
    )
    path.write_text(before + more)
    old = Tracking("o", "refs/heads/o")
    assert read_tracking(refs.git_dir) == {"main": Tracking("upstream", "refs/heads/old"), "old": old}
    write_tracking(refs, "main", ORDINARY)
    assert read_tracking(refs.git_dir) == {"main": ORDINARY, "old": old}
    assert stock(refs, "branch.main.rebase") == ["true"]
    assert stock(refs, "branch.main.remote") == ["origin"]
    assert stock(refs, "branch.MAIN.remote") == ["x"]
    assert stock(refs, "x.y") == ['[branch "z"]']
    assert "# a comment" in path.read_text()
    write_tracking(refs, "main", None)
    assert stock(refs, "branch.main.rebase") == ["true"]
    assert "main" not in read_tracking(refs.git_dir)
    forget_branch(refs, "main")
    assert stock(refs, "branch.main.rebase") == []
    assert path.read_text().startswith(before)


def test_a_branch_that_tracks_a_local_one_is_understood(refs):
    write_tracking(refs, "x", Tracking(".", "refs/heads/main"))
    assert read_tracking(refs.git_dir)["x"].ref == "refs/heads/main"
    write_tracking(refs, "x", ORDINARY)
    assert read_tracking(refs.git_dir)["x"].ref == "refs/remotes/origin/main"
