import tempfile
from pathlib import Path

import pytest

PROGRAMS = """
import asyncio, json, os, signal, subprocess, sys, time
from hyprstream_core.errors import Conflict

class Base:
    def __init__(self, config):
        self.config = config
    @classmethod
    def create(cls, config):
        return cls(config)
    async def start(self):
        return {"pid": os.getpid(), "got": self.config}
    async def stop(self):
        if "stopped" in self.config:
            open(self.config["stopped"], "w").close()

class Typed(Base):
    async def start(self):
        raise Conflict("it is taken", remedy="go away", pid=7)

class Raises(Base):
    async def start(self):
        raise ValueError("boom")

class RaisesOddly(Base):
    async def start(self):
        raise ValueError("/models/" + chr(0xdcff))

class Never(Base):
    async def start(self):
        try:
            await asyncio.Event().wait()
        finally:
            await Base.stop(self)

class Blocks(Base):
    async def start(self):
        time.sleep(0.6)

class Dies(Base):
    async def start(self):
        os._exit(9)

class Stubborn(Base):
    async def stop(self):
        await asyncio.sleep(60)

class Prints(Base):
    async def start(self):
        print("noise on stdout", flush=True)

class Odd(Base):
    async def start(self):
        return {"pid": object, "key": {1: 2}}

class Inspect(Base):
    async def start(self):
        return {
            "argv": open("/proc/self/cmdline").read(),
            "environ": open("/proc/self/environ").read(),
            "fds": [os.readlink(f"/proc/self/fd/{f}") for f in range(64) if os.path.lexists(f"/proc/self/fd/{f}")],
            "parent": os.getppid(), "session": os.getsid(0),
        }

class Grandchild(Base):
    async def start(self):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        return {"pid": os.getpid(), "grandchild": child.pid}
    async def stop(self):
        await asyncio.sleep(60)
"""


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    """A module ``spawned_programs`` that this process and its children can import; yields its directory."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "spawned_programs.py").write_text(PROGRAMS)
        monkeypatch.syspath_prepend(directory)
        monkeypatch.setenv("PYTHONPATH", directory)
        yield directory
