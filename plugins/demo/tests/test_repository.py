"""The demo repository: always the same, complete, and fit for stock git."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from hyprstream_core.errors import RemoteError
from hyprstream_demo import repository
from hyprstream_demo.cache import INVENTORY, private_directory, published
from hyprstream_demo.repository import OBJECTS, PACKAGE, WEIGHTS, build
from hyprstream_demo.transport import DemoTransport


def git(*arguments: str, cwd: Path) -> str:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    done = subprocess.run(["git", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return Path(DemoTransport(cache=tmp_path / "cache").connect("demo://chat").path)


def refs(bare: Path) -> dict[str, str]:
    lines = git("for-each-ref", "--format=%(refname) %(objectname)", cwd=bare).splitlines()
    return dict(line.split() for line in lines)  # type: ignore[misc]


def test_stock_git_clones_it_and_finds_nothing_wrong(bare: Path, tmp_path: Path) -> None:
    git("fsck", "--strict", "--full", cwd=bare)
    git("clone", "--quiet", str(bare), str(tmp_path / "clone"), cwd=tmp_path)
    clone = tmp_path / "clone"
    git("fsck", "--strict", cwd=clone)
    assert git("branch", "--show-current", cwd=clone) == "main"
    assert git("branch", "--remotes", "--format=%(refname:lstrip=3)", cwd=clone).split() == ["HEAD", "brief", "main"]
    assert git("tag", cwd=clone) == "v1"
    assert git("rev-parse", "v1^{commit}", cwd=clone) == git("rev-parse", "main", cwd=clone)
    assert len(git("log", "--all", "--format=%h", cwd=clone).split()) == 3


def test_it_is_the_same_repository_every_time(tmp_path: Path) -> None:
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        build(tmp_path / name)
        made.append(refs(tmp_path / name))
    assert made[0] == made[1]
    assert set(made[0]) == {"refs/heads/main", "refs/heads/brief", "refs/tags/v1"}


def test_the_weights_are_a_pointer_in_git_and_an_object_beside_it(bare: Path) -> None:
    pointer = git("cat-file", "blob", f"main:{WEIGHTS}", cwd=bare) + "\n"
    weights = (PACKAGE / "model" / WEIGHTS).read_bytes()
    oid = hashlib.sha256(weights).hexdigest()
    assert pointer == f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(weights)}\n"
    assert (bare / OBJECTS / oid[:2] / oid[2:4] / oid).read_bytes() == weights
    assert len(weights) <= 8_000_000


def test_stock_git_lfs_fetches_the_weights(bare: Path, tmp_path: Path) -> None:
    if subprocess.run(["git", "lfs", "version"], capture_output=True, check=False).returncode:
        pytest.fail("git-lfs is needed: apt-get install git-lfs")
    git("clone", "--quiet", f"file://{bare}", str(tmp_path / "clone"), cwd=tmp_path)
    git("lfs", "install", "--local", cwd=tmp_path / "clone")
    git("lfs", "pull", cwd=tmp_path / "clone")
    assert (tmp_path / "clone" / WEIGHTS).read_bytes() == (PACKAGE / "model" / WEIGHTS).read_bytes()


def test_the_branch_brief_differs_in_its_chat_template_alone(bare: Path) -> None:
    assert git("diff", "--name-only", "main~1", "brief", cwd=bare) == "tokenizer_config.json"
    main, brief = (json.loads(git("show", f"{b}:tokenizer_config.json", cwd=bare)) for b in ("main", "brief"))
    assert main.pop("chat_template") != brief.pop("chat_template")
    assert main == brief


def test_connection_names_the_content_directory(tmp_path: Path) -> None:
    connection = DemoTransport(cache=tmp_path).connect("demo://chat")
    assert connection.content == str(Path(connection.path) / OBJECTS)
    assert set(connection.client.get_refs(connection.path.encode()).refs) >= {b"refs/heads/main", b"refs/tags/v1"}


@pytest.mark.parametrize("url", ["demo://xyz", "demo://", "demo://chat/../../etc", "demo://chat/x", "demo:///chat"])
def test_an_unknown_model_is_refused_by_naming_what_there_is(url: str, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="demo://chat") as caught:
        DemoTransport(cache=tmp_path).connect(url)
    assert caught.value.error_code == "remote.not_found"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["demo://chat", "demo://chat/", "demo://chat.git"])
def test_usual_spellings_of_the_url_work(url: str, tmp_path: Path) -> None:
    assert Path(DemoTransport(cache=tmp_path).connect(url).path).is_dir()


def test_the_repository_is_kept_for_the_next_time(tmp_path: Path) -> None:
    transport = DemoTransport(cache=tmp_path)
    first = Path(transport.connect("demo://chat").path)
    before = first.stat().st_ino
    assert Path(transport.connect("demo://chat").path).stat().st_ino == before


def test_a_damaged_copy_is_made_again(bare: Path, tmp_path: Path) -> None:
    stored = next(p for p in (bare / OBJECTS).rglob("*") if p.is_file())
    stored.chmod(0o600)
    stored.write_bytes(b"cut")
    again = Path(DemoTransport(cache=tmp_path / "cache").connect("demo://chat").path)
    assert again == bare
    assert stored.read_bytes() == (PACKAGE / "model" / WEIGHTS).read_bytes()
    assert [p.name for p in bare.parent.iterdir()] == [bare.name]


def test_a_failed_build_leaves_nothing_visible(tmp_path: Path) -> None:
    def broken(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        published(tmp_path / "target", broken)
    assert not list(tmp_path.iterdir())


def connect_in(cache: Path) -> str:
    return DemoTransport(cache=cache).connect("demo://chat").path


def test_several_processes_may_connect_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        paths = set(pool.map(connect_in, [tmp_path] * 6))
    (path,) = map(Path, paths)
    git("fsck", "--strict", cwd=path)
    assert (path / INVENTORY).is_file()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_cache_that_somebody_else_can_write_is_refused(tmp_path: Path) -> None:
    directory = private_directory(tmp_path)
    directory.chmod(0o777)
    with pytest.raises(RemoteError, match="not a private folder"):
        DemoTransport(cache=tmp_path).connect("demo://chat")


def test_a_link_in_place_of_the_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"hyprstream-demo-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        private_directory(tmp_path)


def test_fingerprint_follows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = repository.fingerprint()
    for folder in ("model", "brief"):
        (tmp_path / folder).mkdir()
        for path in (PACKAGE / folder).iterdir():
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(repository, "PACKAGE", tmp_path)
    assert repository.fingerprint() == before
    (tmp_path / "model" / "README.md").write_text("another card", encoding="utf-8")
    assert repository.fingerprint() != before
