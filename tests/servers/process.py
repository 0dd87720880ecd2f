"""A server as a process: started on a free port, waited for, ended with all that it has started."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class ServerProcess:
    """Runs ``command(port)`` until :meth:`close`. A port that somebody else took meanwhile is replaced."""

    def __init__(self, command, log: Path, env=None) -> None:
        self._log = log
        for _ in range(5):
            self.port = free_port()
            with log.open("wb") as out:
                self._process = subprocess.Popen(
                    command(self.port),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=env,
                    start_new_session=True,
                )
            if self._is_up():
                return
            self.close()
        raise AssertionError(f"the server did not come up: {log.read_text()}")

    def _is_up(self) -> bool:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
            time.sleep(0.02)
        return False

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
