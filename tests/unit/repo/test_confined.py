"""Changes below one folder that no link can lead outside."""

import os

import pytest

from hyprstream_core.repo.disk.confined import Confined


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    (folder / "file").write_text("theirs")
    return folder


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "top/a/b").mkdir(parents=True)
    with Confined(tmp_path / "top", "a/b") as tree:
        yield tree


@pytest.fixture
def root(tmp_path, tree):
    return tmp_path / "top/a/b"


@pytest.fixture
def source(tmp_path):
    def make(text="ours"):
        path = tmp_path / f"staged-{os.urandom(4).hex()}"
        path.write_text(text)
        return path

    return make


def test_files_come_and_go_with_their_folders(tree, root, source):
    assert tree.place(source(), "x/y/z")
    assert tree.place(source("again"), "x/y/z")
    assert (root / "x/y/z").read_text() == "again"
    tree.delete("x/y/z")
    tree.delete("x/y/z")
    tree.delete("no/such/file")
    tree.remove_folder("x/y")
    assert list(root.iterdir()) == []
    tree.sync()


def test_a_file_takes_the_place_of_empty_folders_only(tree, root, source):
    (root / "x/y/z").mkdir(parents=True)
    assert tree.place(source(), "x")
    (root / "f/g").mkdir(parents=True)
    (root / "f/g/mine").touch()
    staged = source()
    assert not tree.place(staged, "f")
    assert staged.exists()
    assert not tree.place(staged, "x/inside")
    tree.remove_folder("f/g")
    assert (root / "f/g/mine").exists()
    assert tree.files_below("f") == ["f/g/mine"]
    assert tree.files_below("x") == tree.files_below("none") == []


def test_folders_are_made_unless_something_else_is_there(tree, root):
    assert tree.make_folder("s/t")
    assert tree.make_folder("s/t")
    (root / "file").touch()
    assert not tree.make_folder("file")
    assert not tree.make_folder("file/inner")


@pytest.mark.parametrize("target", ["..", "../../..", "/", "outside"])
def test_no_link_is_followed(tree, root, source, outside, target):
    place = str(outside) if target == "outside" else target
    (root / "link").symlink_to(place)
    (root / "x").mkdir()
    (root / "x/link").symlink_to(place)
    before = sorted(map(str, outside.parent.rglob("*")))
    for link in ("link", "x/link"):
        for name in ("file", "inner/new", "outside/file"):
            staged = source()
            assert not tree.place(staged, f"{link}/{name}")
            staged.unlink()
            tree.delete(f"{link}/{name}")
            assert not tree.make_folder(f"{link}/{name}")
            assert tree.lstat(f"{link}/{name}") is None
        tree.remove_folder(f"{link}/inner")
        assert not tree.make_folder(link)
        assert tree.files_below(link) == []
    tree.sync()
    assert sorted(map(str, outside.parent.rglob("*"))) == before
    assert (outside / "file").read_text() == "theirs"


def test_a_link_itself_is_replaced_or_deleted_not_what_it_names(tree, root, source, outside):
    for name in ("one", "two"):
        (root / name).symlink_to(outside / "file")
    assert tree.place(source(), "one")
    tree.delete("two")
    assert (root / "one").read_text() == "ours"
    assert not (root / "one").is_symlink()
    assert (outside / "file").read_text() == "theirs"


def test_the_folder_itself_must_not_be_a_link(tmp_path, outside):
    (tmp_path / "top2").mkdir()
    (tmp_path / "top2/a").symlink_to(outside)
    for inner in ("a", "a/inner"):
        with pytest.raises(OSError, match="a"):
            Confined(tmp_path / "top2", inner)


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/etc/x", "a//b", "", ".", "a/./b"])
def test_paths_that_are_none_are_a_defect(tree, path):
    with pytest.raises(ValueError, match="relative"):
        tree.delete(path)
