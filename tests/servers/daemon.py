"""Stock ``git daemon``."""

import os
from pathlib import Path

from tests.servers.process import ServerProcess


class GitDaemon:
    """Serves every repository below ``root``."""

    def __init__(self, root: Path, log: Path) -> None:
        env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "daemon", "--listen=127.0.0.1", "--export-all", f"--base-path={root}"]
        self.process = ServerProcess(lambda port: [*command, f"--port={port}"], log, env)

    @property
    def url(self) -> str:
        return f"git://127.0.0.1:{self.process.port}"

    def close(self) -> None:
        self.process.close()
