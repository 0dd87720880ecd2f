"""Could a third party have written what is built in? A foreign wheel yields it all, and passes the same suites.

The wheel is built, unpacked on ``sys.path`` and found through its entry point; core's own hooks are left out.
Its records name classes in its own module, which passes them on.
"""

import dataclasses
import hashlib
import importlib.metadata
import subprocess
import sys
import textwrap
import zipfile

import pytest

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.main import cli
from hyprstream_core.interfaces.storage import RemoteSource, StorageFilter
from hyprstream_core.interfaces.transport import GitTransport
from hyprstream_core.plugins import GROUP, Candidate, Plugins, installed
from hyprstream_core.plugins.rules import RECORDS
from hyprstream_core.testing.suites.device_backend import DeviceSuite
from hyprstream_core.testing.suites.git_transport import GitTransportSuite
from hyprstream_core.testing.suites.plugin import PluginSuite
from hyprstream_core.testing.suites.rpc_transport import RpcTransportSuite
from hyprstream_core.testing.suites.storage_filter import StorageFilterSuite
from hyprstream_core.testing.suites.worktree_driver import WorktreeDriverSuite

BUILTIN = Plugins([c for c in installed() if c.is_builtin])
HOOKS = [h for h in BUILTIN.states[0].hooks if h in RECORDS]
FOREIGN = "foreign_parts.body"

PYPROJECT = """
    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"
    [project]
    name = "foreign-parts"
    version = "9.9"
    license = "0BSD"
    [project.entry-points."hyprstream.plugins"]
    foreign = "foreign_parts"
    [tool.hatch.build.targets.wheel]
    packages = ["foreign_parts"]
"""
PLUGIN = """
    '''Everything that is built in, under another name.'''
    import dataclasses

    from hyprstream_core import builtin, hookimpl

    api_version = "1.0"

    def foreign(record):
        renamed = {f: f"foreign_parts.body:{getattr(record, f).replace('.', '_').replace(':', '__')}"
                   for f in ("load", "probe") if hasattr(record, f)}
        return dataclasses.replace(record, **renamed)
"""
HOOK = """
    @hookimpl
    def {hook}():
        yield from map(foreign, builtin.{hook}())
"""
BODY = """
    '''Passes on what the records name, when it is asked for.'''
    from hyprstream_core import builtin
    from hyprstream_core.plugins import load

    def __getattr__(name):
        for hook in {hooks!r}:
            for record in getattr(builtin, hook)():
                for field in ("load", "probe"):
                    path = getattr(record, field, "")
                    if path.replace(".", "_").replace(":", "__") == name:
                        return load(path)
        raise AttributeError(name)
"""


def foreign_path(path):
    return f"{FOREIGN}:{path.replace('.', '_').replace(':', '__')}"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """A wheel of a third party, built by its own build back end."""
    project = tmp_path_factory.mktemp("foreign")
    package = project / "foreign_parts"
    package.mkdir()
    hooks = "".join(textwrap.dedent(HOOK.format(hook=hook)) for hook in HOOKS)
    (package / "__init__.py").write_text(textwrap.dedent(PLUGIN) + hooks)
    (package / "body.py").write_text(textwrap.dedent(BODY.format(hooks=HOOKS)))
    (project / "pyproject.toml").write_text(textwrap.dedent(PYPROJECT))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(project), str(project)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (found,) = project.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def site(wheel, tmp_path_factory):
    """The wheel, installed into a folder of its own, and that on ``sys.path``."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in [n for n in sys.modules if n.split(".")[0] == "foreign_parts"]:
        del sys.modules[name]


@pytest.fixture
def foreign(site):
    """The foreign plugin alone, as found by its entry point."""
    points = [p for p in importlib.metadata.entry_points(group=GROUP) if p.dist and p.dist.name == "foreign-parts"]
    return Plugins([Candidate(p.name, p.dist.name, p.dist.version, p.load) for p in points])


def test_everything_built_in_comes_from_the_foreign_distribution(foreign):
    (state,) = foreign.states
    assert (state.name, state.distribution, state.version, state.state) == ("foreign", "foreign-parts", "9.9", "ok")
    assert state.hooks == BUILTIN.states[0].hooks
    for hook in HOOKS:
        ours, theirs = BUILTIN._records[hook], foreign._records[hook]
        assert [r.name for r in theirs] == [r.name for r in ours]
        assert all(r.load.startswith(FOREIGN) for r in theirs)
        assert [dataclasses.replace(r, load="") for r in theirs if not hasattr(r, "probe")] == [
            dataclasses.replace(r, load="") for r in ours if not hasattr(r, "probe")
        ]


def test_beside_the_builtins_it_fails_as_a_whole_and_they_stay(foreign, site):
    plugins = Plugins(installed())
    states = {s.name: s for s in plugins.states}
    assert states["builtin"].state == "ok"
    assert states["foreign"].state == "failed"
    assert "foreign-parts 9.9" in states["foreign"].reason


def test_the_command_line_works_with_foreign_verbs(foreign, capsys):
    context = Context({"HOME": "/nowhere"})
    context.__dict__["plugins"] = foreign
    cli.main(["config", "show", "--json"], "hyprstream", standalone_mode=False, obj=context)
    assert '"server.port": 50051' in capsys.readouterr().out


class TestForeignRecords(PluginSuite):
    plugin = "foreign"

    @pytest.fixture
    def plugins(self, foreign):
        return foreign


class TestBuiltinRecords(PluginSuite):
    plugin = "builtin"


@pytest.fixture(autouse=True)
def on_the_path(site):
    """Suites load parts by name."""


class TestForeignCpu(DeviceSuite):
    backend = foreign_path("hyprstream_core.builtin.cpu:CpuBackend")


class TestForeignCopy(WorktreeDriverSuite):
    driver = foreign_path("hyprstream_core.builtin.worktree_drivers:Copy")


class TestForeignHardlink(WorktreeDriverSuite):
    driver = foreign_path("hyprstream_core.builtin.worktree_drivers:Hardlink")


class TestForeignReflink(WorktreeDriverSuite):
    driver = foreign_path("hyprstream_core.builtin.worktree_drivers:Reflink")


class TestForeignLfs(StorageFilterSuite):
    record = StorageFilter(
        "lfs", b"version https://git-lfs.github.com/spec/", load=foreign_path("hyprstream_core.builtin.lfs:Lfs")
    )

    def pointer(self, oid, size):
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()

    def source(self, folder, *contents):
        for content in contents:
            oid = hashlib.sha256(content).hexdigest()
            place = folder / oid[:2] / oid[2:4] / oid
            place.parent.mkdir(parents=True)
            place.write_bytes(content)
        return RemoteSource(f"file://{folder}", str(folder))


class TestForeignLfsOverHttp(TestForeignLfs):
    @pytest.fixture(autouse=True)
    def server(self, git_server):
        self.site = git_server

    def source(self, folder, *contents):
        self.site.large = {hashlib.sha256(content).hexdigest(): content for content in contents}
        return RemoteSource(f"{self.site.url}/org/model")


class TestForeignIpc(RpcTransportSuite):
    link = foreign_path("hyprstream_core.builtin.rpc:Ipc")

    def endpoint(self, folder):
        return f"ipc://{folder}/x.sock"


class TestForeignInproc(RpcTransportSuite):
    link = foreign_path("hyprstream_core.builtin.rpc:Inproc")

    def endpoint(self, folder):
        return "inproc://x"


def test_every_part_that_is_built_in_went_through_a_suite():
    suites = [t for n, t in globals().items() if n.startswith("TestForeign")]
    tested = {getattr(s, name) for s in suites for name in ("driver", "backend", "link") if hasattr(s, name)}
    tested |= {s.record.load for s in suites if hasattr(s, "record")}
    records = [r for hook in HOOKS for r in BUILTIN._records[hook]]
    parts = {foreign_path(r.load) for r in records if type(r).__name__ not in ("Command", "Service", "GitTransport")}
    assert parts <= tested


def publish(folder):
    """A small repository."""
    author = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*author, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=model, check=True, capture_output=True)
    return model


class TestForeignFiles(GitTransportSuite):
    record = GitTransport("file", ("file",), load=foreign_path("hyprstream_core.builtin.transports.files:Files"))
    missing = "file:///nowhere/nothing"

    def url(self, folder):
        return publish(folder).as_uri()
