"""A pull (or fetch, or clone) killed at any moment: the old or the new, never something between.

A process that has imported everything forks a child per attempt, which kills itself at its Nth system event, as
seen by Python's audit hooks: every file opened, renamed, made or deleted is one. Other tests kill the command line
itself from outside, at random times. Before each attempt the store is put back as it was.
"""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

SERVER = """
import os, signal, sys
from pathlib import Path
from hyprstream_core.config import Settings
from hyprstream_core.plugins import Plugins, installed
from hyprstream_core.services.store import open_store
import dulwich.client, dulwich.index, dulwich.object_store, dulwich.objects, dulwich.refs
import hyprstream_core.builtin.transports.files, hyprstream_core.builtin.lfs, hyprstream_core.builtin.worktree_drivers
from hyprstream_core.repo import fetching, pulling
from hyprstream_core.repo.files import update
EVENTS = ("open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime")

def attempt(action, since, stop):
    state = {"count": 0, "decided": 0}
    def hook(event, args):
        if event not in EVENTS:
            return
        if state["decided"] >= since:
            state["count"] += 1
            if state["count"] == stop:
                os.kill(os.getpid(), signal.SIGKILL)
        if event == "os.rename" and str(args[1]).endswith("journal.json"):
            state["decided"] += 1
    sys.addaudithook(hook)
    plugins = Plugins([c for c in installed() if c.name == "builtin"])
    store = open_store(Settings(models_dir=Path(sys.argv[1])), plugins)
    store.models() if action == "finish" else getattr(store, action)("m")
    return state["count"]

print("ready", flush=True)
for line in sys.stdin:
    action, since, stop = line.split()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(attempt(action, int(since), int(stop))).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), int(os.read(reader, 100) or 0), flush=True)
    os.close(reader)
"""


def files_of(folder):
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".git":
            found[str(path.relative_to(folder))] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def git(path, *args):
    done = subprocess.run(["git", *args], cwd=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {args}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture
def scene(store, model_repo, tmp_path):
    return Scene(store, model_repo, tmp_path)


class Scene:
    """A model one commit behind its remote, with untracked files, that can be put back as it was."""

    def __init__(self, store, repo, tmp_path):
        self.store, self.root, self.saved = store, tmp_path / "models", tmp_path / "saved"
        model = store.clone(str(repo.path), name="m")
        self.git_dir, self.folder = model.git_dir, model.path / "worktrees/main"
        self.mine = {"mine.txt": (b"mine", False), "nested/mine.txt": (b"mine", True)}
        self.old, before = repo.head(), files_of(self.folder)
        for name, (data, runs) in self.mine.items():
            (self.folder / name).write_bytes(data)
            (self.folder / name).chmod(0o755 if runs else 0o644)
        repo.write("config.json", '{"hidden_size": 16}')
        repo.write("new/deep/file", "x")
        repo.run("rm", "--quiet", "-r", "nested", "run.sh")
        repo.write("run.sh/inside", "was a file\n")
        repo.large("model.safetensors", b"new weights" * 5000)
        (repo.path / "copy.safetensors").chmod(0o755)
        repo.run("tag", "-a", "v9", "-m", "x")
        self.new = repo.commit()
        fresh = store.clone(str(repo.path), name="fresh")
        self.states = {
            self.old: {**before, **self.mine},
            self.new: {**files_of(fresh.path / "worktrees/main"), **self.mine},
        }
        store.remove("fresh")
        subprocess.run(["cp", "-a", str(self.root), str(self.saved)], check=True)

    def put_back(self):
        shutil.rmtree(self.root)
        subprocess.run(["cp", "-a", str(self.saved), str(self.root)], check=True)

    def check(self, *, finish=True):
        """What is listed is whole; then the next pull arrives. Returns whether the killed one was carried out."""
        [worktree] = self.store.models()
        assert files_of(self.folder) == self.states[worktree.oid]
        assert self.changes() == set(self.mine)
        info = self.store.worktree_info("m", "main")
        assert info.apparent_bytes == sum(len(data) for data, _ in files_of(self.folder).values())
        if finish:
            self.store.pull("m")
            assert files_of(self.folder) == self.states[self.new]
            assert self.changes() == set(self.mine)
            assert self.store.models()[0].oid == self.new
            assert list((self.root / ".staging").iterdir()) == []
            assert not [p for p in self.root.rglob("*") if p.suffix in (".lock", ".tmp")]
        return worktree.oid == self.new

    def changes(self):
        """What stock git thinks is not as committed."""
        return {line[3:] for line in git(self.folder, "status", "--porcelain", "-uall").splitlines()}

    def referee(self):
        assert git(self.git_dir, "fsck", "--strict", "--no-dangling") == ""
        assert git(self.git_dir, "count-objects", "-v").splitlines()[-2] == "garbage: 0"


@pytest.fixture
def killed(scene):
    """killed(action, since, stop) → (exit code, events of a whole run). Events count from the ``since``-th decision:
    the first journal of a pull is its fetch's, the second its worktree's."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(scene.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout.readline() == "ready\n"

    def attempt(action, since=0, stop=0):
        server.stdin.write(f"{action} {since} {stop}\n")
        server.stdin.flush()
        code, count = map(int, server.stdout.readline().split())
        assert code in (0, -signal.SIGKILL)
        return code, count

    yield attempt
    server.stdin.close()
    server.wait()
    server.stdout.close()


def run(scene, killed, action, since, stops, *, referee_each):
    outcomes = set()
    for stop in stops:
        scene.put_back()
        code, _ = killed(action, since, stop)
        assert code
        outcomes.add(scene.check())
        if referee_each:
            scene.referee()
    scene.referee()
    return outcomes


def decided_steps(killed):
    """The steps of a pull after its last decision, but for those when the journal is gone and only its folder left."""
    _, total = killed("pull", 2)
    assert total > 20
    return range(1, total - 2)


def test_a_pull_killed_after_its_decision_is_carried_out_by_the_next_command(scene, killed):
    steps = sorted(random.sample(decided_steps(killed), 6))
    assert run(scene, killed, "pull", 2, steps, referee_each=False) == {True}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_pull_killed_at_every_step_after_its_decision_is_carried_out_by_the_next_command(scene, killed):
    assert run(scene, killed, "pull", 2, decided_steps(killed), referee_each=True) == {True}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("action", ["pull", "fetch"])
def test_a_pull_or_fetch_killed_at_every_moment_leaves_the_old_or_the_new(scene, killed, action):
    _, total = killed(action)
    run(scene, killed, action, 0, range(1, total + 1), referee_each=True)


@pytest.mark.parametrize("action", ["pull", "fetch"])
def test_a_pull_or_fetch_killed_at_some_moments_leaves_the_old_or_the_new(scene, killed, action):
    _, total = killed(action)
    run(scene, killed, action, 0, sorted(random.sample(range(1, total + 1), 4)), referee_each=True)


def kill_who_finishes(scene, killed, steps):
    """A pull is killed right after its last decision, and so is the command after it, which carries it out."""
    for stop in steps:
        scene.put_back()
        killed("pull", 2, 1)
        code, _ = killed("finish", 0, stop)
        assert scene.check()
        if code == 0:
            break
    scene.referee()
    return stop


def test_who_finishes_may_be_killed_as_well(scene, killed):
    kill_who_finishes(scene, killed, sorted(random.sample(range(1, 40), 5)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_who_finishes_may_be_killed_at_every_step(scene, killed):
    assert kill_who_finishes(scene, killed, range(1, 500)) > 20


def test_a_change_that_cannot_be_finished_now_is_finished_later(scene, monkeypatch):
    """The disk fails in the middle: the pull reports it, and whoever looks next finishes."""
    from hyprstream_core.repo.disk.confined import Confined

    original, calls = Confined.place, []

    def fail(self, source, path):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(5, "Input/output error")
        return original(self, source, path)

    monkeypatch.setattr(Confined, "place", fail)
    with pytest.raises(OSError, match="Input/output"):
        scene.store.pull("m")
    monkeypatch.undo()
    assert scene.check()


def test_commits_that_somebody_made_with_git_on_a_half_changed_worktree_are_not_overwritten(scene, killed):
    for stop in range(1, 100):
        scene.put_back()
        killed("pull", 2, stop)
        if files_of(scene.folder) not in scene.states.values():
            break
    half = files_of(scene.folder)
    git(scene.folder, "add", "--all")
    commit = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "mine"]
    refused = subprocess.run(commit, cwd=scene.folder, capture_output=True, text=True, check=False)
    assert "main.lock" in refused.stderr, "git itself keeps people from committing what is half there"
    (scene.git_dir / "refs/heads/main.lock").unlink()  # as git then tells them to do
    subprocess.run(commit, cwd=scene.folder, check=True)
    [worktree] = scene.store.models()
    assert worktree.oid == git(scene.folder, "rev-parse", "HEAD")
    assert files_of(scene.folder) == half
    assert scene.changes() == set()


def test_a_damaged_journal_is_named_rather_than_guessed(scene):
    folder = scene.root / ".staging/0123"
    folder.mkdir(parents=True)
    (folder / "journal.json").write_text('{"model": "m", "version": 2}')
    from hyprstream_core.errors import BadObject

    with pytest.raises(BadObject, match=r"journal\.json"):
        scene.store.models()
    (folder / "journal.json").unlink()
    assert scene.store.models()


def command(scene, *arguments):
    run = [sys.executable, "-m", "hyprstream_core.cli", "--models-dir", str(scene.root), *arguments]
    return subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def time_of(scene, *arguments):
    began = time.monotonic()
    process = command(scene, *arguments)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    return time.monotonic() - began


def kill_pulls(scene, number):
    whole = time_of(scene, "pull", "m")
    for _ in range(number):
        scene.put_back()
        process = command(scene, "pull", "m")
        time.sleep(random.uniform(whole * 0.3, whole))
        process.kill()
        process.communicate()
        listed = command(scene, "list")
        assert listed.communicate()[1] == ""
        scene.check()
        scene.referee()


def kill_clones(scene, repo, number):
    whole = time_of(scene, "clone", str(repo.path), "--name", "other")
    for _ in range(number):
        scene.put_back()
        process = command(scene, "clone", str(repo.path), "--name", "other")
        time.sleep(random.uniform(whole * 0.3, whole))
        process.kill()
        process.communicate()
        names = {m.name for m in scene.store.registered()}
        if "other" in names:
            found = files_of(scene.store.model("other").path / "worktrees/main")
            assert found == {n: f for n, f in scene.states[scene.new].items() if n not in scene.mine}
            scene.store.remove("other")
        assert scene.store.clone(str(repo.path), name="other").worktrees()[0].oid == scene.new
        scene.store.remove("other")
        scene.check()
        scene.referee()


def test_the_command_line_killed_at_random_times(scene, model_repo):
    kill_pulls(scene, 2)
    kill_clones(scene, model_repo, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_pulls_killed_at_random_times(scene):
    kill_pulls(scene, 30)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_clones_killed_at_random_times(scene, model_repo):
    kill_clones(scene, model_repo, 30)
