import os
import subprocess
import sys
import threading
import time

import pytest

from hyprstream_core.errors import Conflict
from hyprstream_core.repo.disk import locks

HOLDER = """
import sys, time
from pathlib import Path
from hyprstream_core.repo.disk import locks
with locks.hold(Path(sys.argv[1]), "it", 1):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_held_lock_is_a_conflict_that_names_the_holder(holder, tmp_path):
    start = time.monotonic()
    with pytest.raises(Conflict, match=f"process {holder.pid}") as caught, locks.hold(tmp_path / "lock", "it", 0.2):
        pass
    assert caught.value.details["holder"] == str(holder.pid)
    assert 0.2 <= time.monotonic() - start < 5


def test_a_dead_holder_holds_nothing(holder, tmp_path):
    holder.kill()
    holder.wait()
    with locks.hold(tmp_path / "lock", "it", 1):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_is_waited_for(tmp_path):
    order = []

    def second():
        with locks.hold(tmp_path / "lock", "it", 10):
            order.append("second")

    with locks.hold(tmp_path / "lock", "it", 0):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_readers_share_and_keep_writers_out(tmp_path):
    path = tmp_path / "lock"
    readers = (locks.hold(path, "it", 0, shared=True), locks.hold(path, "it", 0, shared=True))
    with readers[0], readers[1], pytest.raises(Conflict), locks.hold(path, "it", 0):
        pass
    with locks.hold(path, "it", 0):
        pass


def test_an_error_inside_releases_the_lock(tmp_path):
    with pytest.raises(ValueError, match="boom"), locks.hold(tmp_path / "lock", "it", 0):
        raise ValueError("boom")
    with locks.hold(tmp_path / "lock", "it", 0):
        pass
