"""What a remote can do to a model that is already there (security-cases.md 3, 8, 15 and 18)."""

import subprocess

import pytest

from hyprstream_core.errors import HyprstreamError, RemoteError, UnsafeTree
from tests.servers.packs import PackClient, pack_of, packed, whole_pack

FILE, LINK, FOLDER = "100644", "120000", "40000"


def _contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".git"}


def test_case_003_a_link_that_a_pull_turns_into_a_folder_is_refused(store, hostile, tmp_path):
    """Commit one has a link ``a``, or commit two has: no order of the two gets a pull to write through it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    inner = hostile.tree((FILE, b"f", hostile.blob(b"evil")))
    plain = hostile.tree((FILE, b"b", hostile.blob()))
    link = hostile.tree((LINK, b"a", hostile.blob(str(outside).encode())), (FILE, b"b", hostile.blob()))
    folder = hostile.tree((FOLDER, b"a", inner))
    first = hostile.point(plain)
    model = store.clone(str(hostile.path))
    before = _contents(model.path / "worktrees/main")
    second = hostile.run("commit-tree", link, "-p", first, "-m", "link")
    hostile.run("update-ref", "refs/heads/main", second)
    with pytest.raises(UnsafeTree) as caught:
        store.pull("hostile")
    assert caught.value.error_code == "repo.unsafe_path"
    third = hostile.run("commit-tree", folder, "-p", second, "-m", "folder")
    hostile.run("update-ref", "refs/heads/main", second)
    with pytest.raises(UnsafeTree):
        store.pull("hostile")
    assert _contents(model.path / "worktrees/main") == before
    assert store.models()[0].oid == first
    hostile.run("update-ref", "refs/heads/main", third)
    store.pull("hostile")  # the link is history only, and the folder is one
    assert _contents(model.path / "worktrees/main") == {"a/f": b"evil"}
    assert not (model.path / "worktrees/main/a").is_symlink()
    assert list(outside.iterdir()) == []


def test_case_008_damaged_updates_are_typed_errors_and_nothing_of_them_is_kept(store, hostile, monkeypatch, referee):
    from hyprstream_core.interfaces.transport import Connection, Transport

    hostile.write("folder/a", "old")
    first = hostile.commit()
    model = store.clone(str(hostile.path))
    hostile.write("folder/a", "new")
    hostile.write("folder/b", "new")
    second = hostile.commit()
    packs = {p.name for p in (model.git_dir / "objects/pack").iterdir()}
    thin = subprocess.run(
        ["git", "pack-objects", "--quiet", "--stdout", "--revs", "--thin"],
        cwd=hostile.path, input=f"{second}\n^{first}\n".encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    blob = hostile.run("rev-parse", f"{second}:folder/b")
    lost = packed(7, 3, b"\x05\x05\x00", base=b"\x11" * 20)
    bomb = packed(
        7, 7, b"\x04\x80\x80\x80\x80\x10\x00", base=bytes.fromhex(hostile.run("rev-parse", f"{first}:folder/a"))
    )
    evil = type("Evil", (Transport,), {})
    for pack, code in (
        (thin[:-30], "repo.bad_object"),
        (thin[:-1] + bytes([thin[-1] ^ 1]), "repo.bad_object"),
        (whole_pack(hostile, blob), "repo.missing_object"),
        (pack_of(lost), "repo.bad_object"),
        (pack_of(bomb), "repo.too_large"),
        (pack_of(), "repo.missing_object"),
    ):
        monkeypatch.setattr(
            evil, "connect", lambda self, url, pack=pack: Connection(PackClient(pack, second, ["refs/heads/main"]), "")
        )
        evil.__abstractmethods__ = frozenset()
        monkeypatch.setattr(store._space.parts, "transport", lambda scheme: evil())
        with pytest.raises(HyprstreamError) as caught:
            store.fetch("hostile")
        assert caught.value.error_code == code, caught.value
        assert {p.name for p in (model.git_dir / "objects/pack").iterdir()} == packs
        assert store.resolve("hostile:origin/main").commit == first
        referee(store)
    monkeypatch.undo()
    store.pull("hostile")
    referee(store)


def test_case_015_a_branch_that_moves_during_a_pull_gives_files_of_one_commit(store, hostile):
    hostile.write("config.json", "0")
    hostile.large("model.safetensors", b"0" * 100)
    hostile.commit()
    model = store.clone(str(hostile.path))
    moves = []

    def publish(text):
        hostile.write("config.json", text)
        hostile.write("tokenizer.json", text)
        hostile.large("model.safetensors", text.encode() * 100)
        return hostile.commit()

    def progress(phase, done, total):
        if phase in ("git", "check", "content", "checkout"):
            moves.append(publish(f"moved {len(moves)}"))

    wanted = publish("X")
    pulled = store.pull("hostile", progress=progress)
    assert moves
    assert pulled.new == wanted
    assert _contents(model.path / "worktrees/main") == {
        "config.json": b"X", "tokenizer.json": b"X", "model.safetensors": b"X" * 100,
    }  # fmt: skip
    folder = store.snapshot(store.resolve("hostile"))
    assert _contents(folder) == _contents(model.path / "worktrees/main")


@pytest.mark.parametrize("rewind", ["back", "aside"])
@pytest.mark.parametrize("fetched_before", [False, True])
def test_case_018_a_remote_that_takes_commits_back_is_not_followed_unless_asked(
    store, hostile, rewind, fetched_before, referee
):
    for text in ("one", "two"):
        hostile.write("config.json", text)
        hostile.commit()
    model = store.clone(str(hostile.path))
    served = store.resolve("hostile").commit
    view = store.snapshot(store.resolve("hostile"))
    hostile.run("reset", "--quiet", "--hard", "HEAD~1")
    if rewind == "aside":
        hostile.write("config.json", "other")
        hostile.commit()
    if fetched_before:
        [change] = store.fetch("hostile")
        assert (change.forced, change.old) == (True, served)
    for _ in range(3):  # asking again does not wear it down
        with pytest.raises(RemoteError) as caught:
            store.pull("hostile")
        assert caught.value.error_code == "remote.rewound"
        assert store.resolve("hostile").commit == served
        assert _contents(model.path / "worktrees/main") == _contents(view) == {"config.json": b"two"}
    pulled = store.pull("hostile", force=True)
    assert (pulled.old, pulled.new) == (served, hostile.head())
    assert _contents(model.path / "worktrees/main") == {"config.json": (hostile.path / "config.json").read_bytes()}
    assert _contents(view) == {"config.json": b"two"}
    assert "rewound" not in (model.git_dir / "packed-refs").read_text()
    referee(store)
    hostile.write("config.json", "three")
    hostile.commit()
    assert store.pull("hostile").new == hostile.head()


def test_case_018_commits_that_the_remote_has_again_are_forgiven_and_own_ones_never_lost(store, hostile, referee):
    for text in ("one", "two"):
        hostile.write("config.json", text)
        hostile.commit()
    served = hostile.head()
    model = store.clone(str(hostile.path))
    hostile.run("reset", "--quiet", "--hard", "HEAD~1")
    store.fetch("hostile")
    hostile.run("reset", "--quiet", "--hard", served)
    hostile.write("config.json", "three")
    hostile.commit()
    assert store.pull("hostile").new == hostile.head()
    folder = model.path / "worktrees/main"
    (folder / "config.json").write_text("mine")
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-am", "mine"], cwd=folder, check=True)
    mine = store.models()[0].oid
    hostile.run("reset", "--quiet", "--hard", "HEAD~2")
    for force in (False, True):
        with pytest.raises(HyprstreamError) as caught:
            store.pull("hostile", force=force)
        assert caught.value.error_code == ("repo.diverged" if force else "remote.rewound")
    assert store.models()[0].oid == mine
    referee(store)


def test_case_018_an_older_tag_that_moves_stays_where_it_was(store, hostile):
    hostile.write("config.json", "one")
    hostile.commit()
    hostile.run("tag", "v1")
    store.clone(str(hostile.path))
    served = store.resolve("hostile:v1").commit
    hostile.write("config.json", "two")
    hostile.commit()
    hostile.run("tag", "-f", "v1")
    pulled = store.pull("hostile")
    assert [(c.ref, c.kind) for c in pulled.changes if c.kind == "kept"] == [("refs/tags/v1", "kept")]
    assert store.resolve("hostile:v1").commit == served
