import subprocess
import sys

import pytest

from hyprstream_core.repo.staging import declare, staging_folder, sweep

WORKER = """
import sys, time
from pathlib import Path
from hyprstream_core.repo.staging import declare, staging_folder
with staging_folder(Path(sys.argv[1])) as folder:
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/file").write_text("x")
    (folder / "link").symlink_to("/")
    declare(folder, "model")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def worker(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path / "area")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_is_private_and_gone_afterwards_whatever_happens(tmp_path):
    def work():
        with staging_folder(tmp_path / "area") as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "x").mkdir()
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        work()
    assert list((tmp_path / "area").iterdir()) == []


def test_the_living_are_left_alone_and_the_dead_swept_with_their_intent(worker, tmp_path):
    abandoned = []
    sweep(tmp_path / "area", abandoned.append, pytest.fail)
    assert len(list((tmp_path / "area").iterdir())) == 1
    worker.kill()
    worker.wait()
    sweep(tmp_path / "area", abandoned.append, pytest.fail)
    assert abandoned == ["model"]
    assert list((tmp_path / "area").iterdir()) == []


def test_sweeping_nothing_is_fine(tmp_path):
    sweep(tmp_path / "missing", pytest.fail, pytest.fail)
    (tmp_path / "area").mkdir()
    (tmp_path / "area/stray").write_text("a file that is no folder")
    sweep(tmp_path / "area", pytest.fail, pytest.fail)


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"name": 3}', '{"name"'])
def test_a_half_written_intent_names_nobody(tmp_path, text):
    folder = tmp_path / "area/dead"
    folder.mkdir(parents=True)
    (folder / "intent.json").write_text(text)
    sweep(tmp_path / "area", pytest.fail, pytest.fail)
    assert not folder.exists()


def test_one_can_sweep_while_one_works(tmp_path):
    with staging_folder(tmp_path / "area") as folder:
        declare(folder, "mine")
        sweep(tmp_path / "area", pytest.fail, pytest.fail)
        assert folder.is_dir()
