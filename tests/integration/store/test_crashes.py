"""Killed at any moment, raced by another process: what is listed is whole, and the next run needs no hand.

A child process clones (removes, makes views and worktrees) and kills itself at its Nth system event, as seen
by Python's audit hooks: every file opened, renamed, linked, made or deleted is such an event.
"""

import random
import signal
import subprocess
import sys
import time

import pytest

from hyprstream_core.errors import ModelNotFound

CHILD = """
import os, signal, sys
from pathlib import Path
root, action, source, stop = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
from hyprstream_core.config import Settings
from hyprstream_core.plugins import Plugins, installed
from hyprstream_core.services.store import open_store
store = open_store(Settings(models_dir=Path(root)), Plugins([c for c in installed() if c.name == "builtin"]))
import dulwich.client, dulwich.index, dulwich.object_store, dulwich.objects, dulwich.refs, dulwich.worktree
import hyprstream_core.builtin.transports.files, hyprstream_core.builtin.transports.http
import hyprstream_core.builtin.lfs, hyprstream_core.builtin.worktree_drivers
count = 0
def hook(event, args):
    global count
    if event in ("open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime"):
        count += 1
        if count == stop:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
if action == "clone":
    store.clone(source, name="m")
elif action == "remove":
    store.remove("m")
elif action == "view":
    store.snapshot(store.resolve("m:feature/x"))
elif action == "worktree":
    store.add_worktree("m", "feature/x")
elif action == "remove_worktree":
    store.remove_worktree("m", "main")
print(count)
"""


@pytest.fixture
def child(tmp_path, model_repo):
    """child(action, stop) → exit status and the number of events that a whole run has."""

    def run(action, stop=0):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path / "models"), action, str(model_repo.path), str(stop)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode, int(done.stdout or 0)

    return run


def moments(total, number):
    """The last events, where things are published, and some of the others."""
    late = list(range(max(1, total - number // 2), total + 1, 2))
    return sorted({*late, *random.sample(range(1, total), number - len(late))})


def check_whole(store, model_repo):
    """Everything listed can be served."""
    for model in store.registered():
        for reference in (f"{model.name}:main", f"{model.name}:feature/x", f"{model.name}:v1"):
            folder = store.snapshot(store.resolve(reference))
            assert (folder / "model.safetensors").stat().st_size in (13000, 14000)


def run_clone(store, child, model_repo, referee, stop):
    status, _ = child("clone", stop)
    listed = store.registered()
    assert not listed or status == 0 or listed[0].worktrees()
    if not listed:
        assert store.clone(str(model_repo.path), name="m").name == "m"
    else:
        store.clone(str(model_repo.path), name="other")
    check_whole(store, model_repo)
    referee(store)
    for model in store.registered():
        store.remove(model.name)


def test_a_clone_killed_at_any_moment_leaves_all_or_nothing_and_a_retry_works(store, child, model_repo, referee):
    _, total = child("clone")
    store.remove("m")
    for stop in moments(total, 8):
        run_clone(store, child, model_repo, referee, stop)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_clone_killed_at_every_moment_leaves_all_or_nothing_and_a_retry_works(store, child, model_repo, referee):
    _, total = child("clone")
    store.remove("m")
    for stop in range(1, total + 1):
        run_clone(store, child, model_repo, referee, stop)


def run_remove(store, child, model_repo, referee, tmp_path, stop):
    child("remove", stop)
    names = {m.name for m in store.registered()}
    assert names in ({"m", "other"}, {"other"})
    if "m" in names:
        check_whole(store, model_repo)
        store.remove("m")
    check_whole(store, model_repo)
    store.clone(str(model_repo.path), name="sweeps")
    assert {p.name for p in (tmp_path / "models").iterdir() if not p.name.startswith(".")} == {"lfs", "other", "sweeps"}
    store.remove("sweeps")
    store.clone(str(model_repo.path), name="m")
    referee(store)


def test_a_removal_killed_at_any_moment_is_done_or_not_and_others_are_whole(
    store, child, model_repo, referee, tmp_path
):
    store.clone(str(model_repo.path), name="other")
    child("clone")
    _, total = child("remove")
    store.clone(str(model_repo.path), name="m")
    for stop in moments(total, 6):
        run_remove(store, child, model_repo, referee, tmp_path, stop)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_removal_killed_at_every_moment_is_done_or_not_and_others_are_whole(
    store, child, model_repo, referee, tmp_path
):
    store.clone(str(model_repo.path), name="other")
    child("clone")
    _, total = child("remove")
    store.clone(str(model_repo.path), name="m")
    for stop in range(1, total + 1):
        run_remove(store, child, model_repo, referee, tmp_path, stop)


def test_a_view_killed_at_any_moment_is_whole_or_absent(store, child, model_repo, referee):
    store.clone(str(model_repo.path), name="m")
    _, total = child("view")
    views = store.model("m").path / "views"
    for stop in moments(total, 5):
        for view in views.iterdir():
            subprocess.run(["rm", "-rf", str(view)], check=True)
        child("view", stop)
        for view in views.glob("*/"):
            assert (view / "model.safetensors").read_bytes() == b"second weights" * 1000
        check_whole(store, model_repo)
    store.clone(str(model_repo.path), name="sweep")
    referee(store)


def run_worktree(store, child, model_repo, referee, action, stop=0):
    """Kill at the event ``stop``, look, mend, look again; the number of events of a whole run."""
    store.clone(str(model_repo.path), name="m")
    if action == "remove_worktree":
        store.add_worktree("m", "feature/x")
    _, total = child(action, stop)
    for worktree in store.models():
        assert (worktree.path / "model.safetensors").is_file()
    branches = [w.branch for w in store.models()]
    if action == "worktree" and "feature/x" not in branches:
        store.add_worktree("m", "feature/x")
    if action == "remove_worktree" and "main" not in branches:
        store.add_worktree("m", "main")
    store.clone(str(model_repo.path), name="sweep")
    referee(store)
    store.remove("sweep")
    store.remove("m")
    return total


@pytest.mark.parametrize("action", ["worktree", "remove_worktree"])
def test_a_worktree_killed_while_made_or_removed_is_there_or_not(store, child, model_repo, referee, action):
    total = run_worktree(store, child, model_repo, referee, action)
    for stop in moments(total, 5):
        run_worktree(store, child, model_repo, referee, action, stop)


def test_kills_at_random_times_leave_nothing_that_blocks_a_retry(store, child, model_repo, referee, tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path / "models"), "clone", str(model_repo.path), "0"]
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.2, 1.5))
        process.kill()
        process.wait()
        if store.registered():
            check_whole(store, model_repo)
            store.remove("m")
    store.clone(str(model_repo.path), name="m")
    referee(store)


def test_of_two_clones_under_one_name_one_wins_and_the_other_is_told(store, model_repo, referee, tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path / "models"), "clone", str(model_repo.path), "0"]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [racer.communicate()[1] for racer in racers]
    assert sorted(racer.returncode for racer in racers) == [0, 1, 1]
    assert all("Conflict: there is already a model 'm'" in error for error in errors if error)
    check_whole(store, model_repo)
    referee(store)


def test_many_clones_under_different_names_at_once_all_succeed(store, model_repo, referee, tmp_path):
    source = 'store.clone(source, name="m")'
    commands = [
        [
            sys.executable,
            "-c",
            CHILD.replace(source, f'store.clone(source, name="m{n}")'),
            str(tmp_path / "models"),
            "clone",
            str(model_repo.path),
            "0",
        ]
        for n in range(4)
    ]
    racers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    assert [racer.wait() for racer in racers] == [0] * 4
    assert [m.name for m in store.registered()] == ["m0", "m1", "m2", "m3"]
    check_whole(store, model_repo)
    referee(store)


def test_a_model_that_is_removed_while_it_is_served_stays_readable_to_who_has_it_open(store, model_repo):
    store.clone(str(model_repo.path), name="m")
    folder = store.snapshot(store.resolve("m"))
    with (folder / "model.safetensors").open("rb") as file:
        store.remove("m")
        assert file.read() == b"first weights" * 1000
    with pytest.raises(ModelNotFound):
        store.resolve("m")
