"""Black-box cases of the boundary "git and LFS remotes → model store" (security-cases.md 1–9, 11, 13, 14).

Hostile repositories are written object by object with stock git, and cloned as a user would.
"""

import hashlib
import os
import resource
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, HyprstreamError, RemoteError, UnsafeTree

FILE, RUN, LINK, FOLDER, SUB = "100644", "100755", "120000", "40000", "160000"


@pytest.fixture
def hostile(make_repo):
    return make_repo("hostile")


@pytest.fixture(scope="session")
def _audited():
    """Every process that this one starts, as text. An audit hook stays for the life of the process."""
    started: list[str] = []
    events = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")
    sys.addaudithook(lambda event, args: started.append(f"{event} {args}") if event in events else None)
    return started


@pytest.fixture
def processes(_audited):
    """The processes started since ``processes.clear()``."""
    return _audited


@pytest.fixture
def refused(store, tmp_path):
    """refused(url, code): the clone fails so, and nothing of it is left anywhere."""

    def check(url, code, kind=HyprstreamError, using=None):
        before = {p for p in tmp_path.rglob("*") if "models" not in p.parts}
        with pytest.raises(kind) as caught:
            (using or store).clone(str(url))
        assert caught.value.error_code == code, caught.value
        root = tmp_path / "models"
        assert {p for p in tmp_path.rglob("*") if "models" not in p.parts} == before
        assert {p.name for p in root.iterdir()} <= {".locks", ".staging", ".registry", ".filters", "lfs"}
        assert not any((root / ".staging").iterdir())
        assert not [p for p in (root / "lfs").rglob("*") if p.is_file()]
        assert (using or store).registered() == []
        return caught.value

    return check


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


def _pack(*objects: bytes, count: int | None = None) -> bytes:
    body = b"PACK" + (2).to_bytes(4, "big") + (len(objects) if count is None else count).to_bytes(4, "big")
    body += b"".join(objects)
    return body + hashlib.sha1(body).digest()


def _object(kind: int, size: int, data: bytes, base: bytes = b"") -> bytes:
    first, rest, head = size & 15, size >> 4, []
    while rest:
        head.append((kind << 4 | first) | 0x80 if not head else first | 0x80)
        first, rest = rest & 0x7F, rest >> 7
    head.append(kind << 4 | first if not head else first)
    return bytes(head) + base + zlib.compress(data)


def _varint(number: int) -> bytes:
    """A size as the head of a delta has it."""
    parts = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes(part | 0x80 for part in parts[:-1]) + bytes(parts[-1:])


class _PackClient:
    """A remote that sends whatever pack it likes."""

    def __init__(self, pack: bytes, oid: str, names: list[str]) -> None:
        self.pack, self.oid, self.names = pack, oid, names

    def fetch_pack(self, path, determine_wants, graph_walker, pack_data, progress=None):
        from dulwich.client import FetchPackResult

        refs = {name.encode(): self.oid.encode() for name in [*self.names, "HEAD"]}
        determine_wants(refs)
        pack_data(self.pack)
        return FetchPackResult(refs, {b"HEAD": b"refs/heads/main"}, b"test")

    def close(self):
        pass


@pytest.fixture
def sends(new_store, refused, monkeypatch):
    """sends(pack, code): a store refuses a remote that answers with these bytes."""

    def check(pack, code, limits=None, tip="1" * 40, names=("refs/heads/main",)):
        store = new_store(limits=limits or Limits())
        monkeypatch.setattr(store._space.parts, "transport", lambda scheme: _transport(pack, tip, names))
        return refused("evil://x/evil", code, using=store)

    return check


def _transport(pack, tip="1" * 40, names=("refs/heads/main",)):
    """Answers with these bytes."""
    from hyprstream_core.interfaces.transport import Connection, Transport

    class Evil(Transport):
        def connect(self, url):
            return Connection(_PackClient(pack, tip, list(names)), "")

    return Evil()


def _whole(repo, *missing: str) -> bytes:
    """A pack of all objects of ``repo`` but the ``missing`` ones."""
    every = repo.run("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    wanted = "".join(f"{oid}\n" for oid in every if oid not in missing)
    return subprocess.run(
        ["git", "pack-objects", "--quiet", "--stdout"],
        cwd=repo.path,
        input=wanted.encode(),
        capture_output=True,
        check=True,
    ).stdout


def test_case_008_a_missing_blob_tree_or_commit_is_a_typed_error_and_nothing_is_kept(sends, hostile):
    hostile.write("folder/a", "old")
    first = hostile.commit()
    hostile.write("folder/a", "new")
    second = hostile.commit()
    for missing in (f"{second}:folder/a", f"{first}:folder/a", f"{first}:folder", f"{first}^{{tree}}", first, second):
        oid = hostile.run("rev-parse", missing)
        error = sends(_whole(hostile, oid), "repo.missing_object", tip=second)
        assert error.details["oid"] == oid


def test_case_008_an_object_that_is_not_what_it_is_used_as_is_refused(sends, hostile):
    blob = hostile.blob()
    tree = hostile.tree((FILE, b"a", blob))
    sends(_whole(hostile), "repo.bad_tree", tip=tree)
    for wrong in (hostile.tree((FOLDER, b"a", blob)), blob):
        commit = hostile.raw("commit", f"tree {wrong}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nx".encode())
        sends(_whole(hostile), "repo.bad_object", tip=commit)
    for text in (f"tree {tree[:-1]}x\n\n", "nothing", f"tree {tree}\nparent xyz\n\n"):
        commit = hostile.raw("commit", text.encode())
        sends(_whole(hostile), "repo.bad_object", tip=commit)


def test_case_008_trees_that_are_no_trees_are_typed_errors(sends, make_repo):
    for number, data in enumerate(
        (b"8 a\0" + b"1" * 20, b"-1 a\0" + b"1" * 20, b"100644 a\0short", b"junk", b"100644 a")
    ):
        repo = make_repo(f"hostile-{number}")
        tip = repo.point(repo.raw("tree", data))
        sends(_whole(repo), "repo.bad_object", tip=tip)


def test_case_008_damaged_packs_are_typed_errors(sends):
    blob = _object(3, 5, b"hello")
    good = _pack(blob)
    for damaged in (
        b"",
        b"PACK",
        good[:-25],
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:-20] + b"xx" + good[-20:],
        _pack(blob, count=2),
        _pack(_object(3, 6, b"hello")),
        _pack(_object(3, 4, b"hello")),
        _pack(_object(5, 5, b"hello")),
        _pack(_object(6, 3, b"\x05\x05\x00", base=b"\x00")),
        _pack(_object(6, 3, b"\x05\x05\x00", base=b"\x7f")),
        _pack(_object(7, 3, b"\x05\x05\x00", base=b"\x11" * 20)),
        _pack(blob, _object(6, 2, b"\x05\xff", base=bytes([len(blob)]))),
    ):
        sends(damaged, "remote.empty" if not damaged else "repo.bad_object")


@pytest.mark.parametrize(
    "names",
    [["refs/heads/a", "refs/heads/a/b"], ["refs/tags/x/y", "refs/tags/x"]],
)
def test_references_that_cannot_be_files_beside_each_other_are_refused(sends, hostile, names):
    hostile.write("a", "x")
    head = hostile.commit()
    sends(_whole(hostile), "remote.failed", tip=head, names=["refs/heads/main", *names])


def _pack_bombs():
    """Packs, each with the limits that it exceeds."""
    giga = b"\x80\x80\x80\x80\x04"
    delta = _object(7, 12, b"\x05" + giga + b"\x00" * 6, base=b"1" * 20)
    yield _pack(_object(3, 5, b"hello"), delta), Limits()
    name = hashlib.sha1(b"blob 1048576\0" + b"\0" * 2**20).digest()
    copy = _varint(2**20) + _varint(2**24) + b"\x90\xff" * 100
    many = [_object(7, len(copy), copy, base=name) for _ in range(40)]
    yield _pack(_object(3, 2**20, b"\0" * 2**20), *many), Limits(repo_inflated_bytes=2**28)
    yield _pack(_object(3, 600 * 2**20, b"\0" * 1000)), Limits()
    yield _pack(_object(3, 5, b"hello"), count=2**31), Limits()
    yield _pack(_object(3, 100_000, bytes(os.urandom(100_000)))), Limits(repo_pack_bytes=50_000)


def test_case_009_pack_bombs_are_refused_early(sends):
    start = time.monotonic()
    for bomb, limits in _pack_bombs():
        sends(bomb, "repo.too_large", limits)
    assert time.monotonic() - start < 5


def _peak() -> int:
    """Most memory, in bytes, that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _clone_pack_bombs(folder: str) -> None:
    """Prints how much the bombs added to the most memory that this process ever had."""
    from hyprstream_core.config import Settings
    from hyprstream_core.plugins import Plugins, installed
    from hyprstream_core.services.store import open_store

    builtin = Plugins([c for c in installed() if c.name == "builtin"])
    harmless = [(_pack(), Limits())]  # what is imported for it does not count
    for bomb, limits in [*harmless, *_pack_bombs()]:
        store = open_store(Settings(models_dir=Path(folder), limits=limits), builtin)
        store._space.parts.transport = lambda scheme, bomb=bomb: _transport(bomb)
        with pytest.raises(HyprstreamError):
            store.clone("evil://x/evil")
        if (bomb, limits) in harmless:
            before = _peak()
    print(_peak() - before)


def test_case_009_pack_bombs_take_little_memory(tmp_path):
    """In a process of its own: what other tests took before would hide everything."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['_clone_pack_bombs'](sys.argv[2])"
    command = [sys.executable, "-c", code, __file__, str(tmp_path / "models")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 512 * 2**20


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


def test_case_010_a_remote_with_too_many_references_is_refused(refused, hostile, new_store, git_server):
    hostile.write("a", "x")
    head = hostile.commit()
    hostile.run(
        "update-ref", "--stdin", stdin=b"".join(b"create refs/tags/t%d %s\n" % (n, head.encode()) for n in range(50))
    )
    few = new_store(limits=Limits(repo_refs=20))
    refused(hostile.path, "remote.limit", RemoteError, using=few)
    refused(f"{git_server.url}/hostile/.git", "remote.limit", RemoteError, using=few)


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% ran", "fd::3", "fd::3,4/x", "-oProxyCommand=touch ran", "--upload-pack=touch ran",
        "ssh://-oProxyCommand=x/x", "ftp://host/x", "C:/x", "c:x", "git@h:-x", "ssh://h/~/-x", "ssh://-oX=y@host/x",
        "-oX=y@host:x", "git@-oX=y:x", "git://-h/x", "git+ssh://host/x", "::x", "a::b:c",
        "rsync://host/x", "javascript://x", "-://x",
    ],
)  # fmt: skip
def test_case_011_schemes_that_nobody_serves_and_option_like_hosts_start_nothing(
    refused, url, tmp_path, monkeypatch, processes
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/.staging").mkdir(parents=True)
    processes.clear()
    refused(url, "url.scheme", RemoteError)
    assert processes == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "http://\n",
        "http://[::1",
        "file://elsewhere/x",
        "http://h:99999/x",
        "x" * 5000,
        "ssh://host",
        "ssh://host/",
        "ssh://u:pass@host/x",
        "ssh://ho$(id)st/x",
        "ssh://u`id`@host/x",
        "a;id@host:x",
        "ssh://host/a%0ab",
        "ssh://host:99999/x",
        "ssh://h\u00f6st/x",
        "git://host",
        "git://user@host/x",
        "git://host/%00",
    ],
)
def test_case_011_malformed_urls_are_refused(refused, url, tmp_path):
    (tmp_path / "models/.staging").mkdir(parents=True)
    refused(url, "url.invalid", RemoteError)


def _pointer(oid: str, size: object) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


SHA = hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        _pointer(SHA + "0", 7),
        _pointer(SHA[:-1], 7),
        _pointer(SHA.upper(), 7),
        _pointer("../" * 21 + "x", 7),
        _pointer(SHA, -1),
        _pointer(SHA, "07"),
        _pointer(SHA, "7 "),
        _pointer(SHA, 10**18 * 10),
        _pointer(SHA, 7) + "ext-0-x sha256:" + SHA + "\n",
        _pointer(SHA, 7).replace("\n", "\r\n"),
        _pointer(SHA, 7)[:-1],
        _pointer(SHA, 7).replace("sha256:", "md5:"),
        _pointer(SHA, 7).replace("v1", "v2"),
        _pointer(SHA, 7) + "x" * (10 * 2**20),
    ],
)
def test_case_014_malformed_pointers_are_refused(refused, hostile, text):
    hostile.large("other.bin", b"weights")
    hostile.write("model.safetensors", text)
    hostile.commit()
    refused(hostile.path, "lfs.bad_object", BadObject)


@pytest.mark.parametrize(
    "delivered",
    [b"weight!", b"weights and more", b"weig", b""],
    ids=["wrong sha256", "too long", "too short", "empty"],
)
def test_case_014_content_that_is_not_what_the_pointer_says_is_refused_and_not_cached(
    refused, hostile, git_server, delivered
):
    oid = hostile.large("model.safetensors", b"weights")
    hostile.commit()
    hostile.content(oid).write_bytes(delivered)
    git_server.large[oid] = delivered
    refused(hostile.path, "lfs.bad_object", BadObject)


@pytest.mark.parametrize("delivered", [b"weight!", b"weights and more", b"weig", b""])
def test_case_014_content_over_http_that_is_not_what_the_pointer_says_is_refused(
    store, hostile, git_server, delivered, tmp_path
):
    oid = hostile.large("model.safetensors", b"weights")
    hostile.commit()
    git_server.large[oid] = delivered
    with pytest.raises(BadObject) as caught:
        store.clone(f"{git_server.url}/hostile/.git", name="hostile")
    assert caught.value.error_code == "lfs.bad_object"
    assert not [p for p in (tmp_path / "models/lfs").rglob("*") if p.is_file()]
    assert store.registered() == []


def test_case_014_a_connection_that_always_breaks_off_is_given_up_and_nothing_is_visible(
    store, hostile, git_server, tmp_path, monkeypatch
):
    monkeypatch.setattr("hyprstream_core.builtin.downloads.FIRST_PAUSE", 0.01)
    oid = hostile.large("model.safetensors", b"weights" * 1000)
    hostile.commit()
    git_server.large[oid] = b"weights" * 1000
    git_server.cuts = [3, 4]
    git_server.cut[oid] = 0
    with pytest.raises(RemoteError) as caught:
        store.clone(f"{git_server.url}/hostile/.git", name="hostile")
    assert caught.value.error_code == "lfs.incomplete"
    assert "7B of 7.0kB are kept" in caught.value.message
    assert store.registered() == []
    assert not [p for p in (tmp_path / "models/lfs/objects").rglob("*") if p.is_file()]


def test_case_014_pointers_that_disagree_on_a_size_are_refused(refused, hostile):
    oid = hostile.large("a", b"weights")
    hostile.write("b", _pointer(oid, 8))
    hostile.commit()
    refused(hostile.path, "lfs.bad_object", BadObject)


def test_case_014_an_endless_size_is_refused_before_anything_is_fetched(refused, hostile):
    hostile.write("model.safetensors", _pointer(SHA, 2**62))
    hostile.commit()
    refused(hostile.path, "disk.full")


def test_case_014_a_local_object_that_is_a_link_or_a_pipe_is_not_read(refused, hostile, tmp_path):
    oid = hostile.large("model.safetensors", b"weights")
    hostile.commit()
    secret = tmp_path / "secret"
    secret.write_bytes(b"weights")
    content = hostile.content(oid)
    content.unlink()
    content.symlink_to(secret)
    refused(hostile.path, "lfs.missing", RemoteError)
    content.unlink()
    os.mkfifo(content)
    refused(hostile.path, "lfs.missing", RemoteError)


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
    lost = _object(7, 3, b"\x05\x05\x00", base=b"\x11" * 20)
    bomb = _object(
        7, 7, b"\x04\x80\x80\x80\x80\x10\x00", base=bytes.fromhex(hostile.run("rev-parse", f"{first}:folder/a"))
    )
    evil = type("Evil", (Transport,), {})
    for pack, code in (
        (thin[:-30], "repo.bad_object"),
        (thin[:-1] + bytes([thin[-1] ^ 1]), "repo.bad_object"),
        (_whole(hostile, blob), "repo.missing_object"),
        (_pack(lost), "repo.bad_object"),
        (_pack(bomb), "repo.too_large"),
        (_pack(), "repo.missing_object"),
    ):
        monkeypatch.setattr(
            evil, "connect", lambda self, url, pack=pack: Connection(_PackClient(pack, second, ["refs/heads/main"]), "")
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
