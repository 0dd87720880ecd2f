"""Hostile repositories, and the proof that nothing of a refused one is left."""

import sys

import pytest

from hyprstream_core.errors import HyprstreamError


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
