import os

import pytest

from hyprstream_core.builtin.worktree_drivers import Copy, Hardlink, Reflink, shared_bytes


@pytest.fixture
def blob(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(b"weights" * 1000)
    path.chmod(0o444)
    return path


def test_every_driver_that_says_it_works_does_and_probing_leaves_nothing(tmp_path, blob):
    for number, driver in enumerate((Reflink(), Hardlink(), Copy())):
        if driver.probe(tmp_path) > 0:
            target = tmp_path / f"target-{number}"
            driver.materialise(blob, target)
            assert target.read_bytes() == blob.read_bytes()
            target.unlink()
    assert [p.name for p in tmp_path.iterdir()] == ["blob"]


def test_no_driver_overwrites_what_is_there(tmp_path, blob):
    (tmp_path / "there").write_text("mine")
    for driver in (Hardlink(), Copy(), Reflink()):
        with pytest.raises(OSError):
            driver.materialise(blob, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


def test_a_reflink_that_is_refused_leaves_nothing(tmp_path, blob):
    if Reflink().probe(tmp_path) == 0:
        with pytest.raises(OSError):
            Reflink().materialise(blob, tmp_path / "target")
        assert not (tmp_path / "target").exists()


def test_a_hardlink_is_behind_copy_for_those_who_may_write_anyway(tmp_path):
    assert (Hardlink().probe(tmp_path) > Copy().probe(tmp_path)) == (os.geteuid() != 0)


def test_shared_bytes_are_those_of_other_names(tmp_path, blob):
    assert Hardlink().saved_bytes(blob) == 0
    Hardlink().materialise(blob, tmp_path / "second")
    assert Hardlink().saved_bytes(tmp_path / "second") == 7000
    assert Copy().saved_bytes(tmp_path / "second") == 0
    assert shared_bytes(blob) == 0


def test_probing_a_folder_that_is_not_there_says_no(tmp_path):
    assert Reflink().probe(tmp_path / "no") == Hardlink().probe(tmp_path / "no") == 0
