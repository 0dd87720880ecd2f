"""giftless, a git-lfs server not written here, in a virtual environment of its own: see ``make test``."""

import base64
import hashlib
import hmac
import json
import os
import time
from pathlib import Path

from tests.servers.process import ServerProcess

PYTHON = Path(__file__).parents[2] / ".venv-giftless/bin/python"
SERVE = """
import sys
from giftless.app import init_app
from giftless.transfer import basic_streaming
from werkzeug.serving import run_simple
safe_filename = basic_streaming.safe_filename
basic_streaming.safe_filename = lambda name: safe_filename(name or "")  # 0.5.0 fails when nobody names the file
run_simple("127.0.0.1", int(sys.argv[1]), init_app(), threaded=True)
"""


class Giftless:
    """Has the large files of one repository, ``org/model``, for who has a token."""

    def __init__(self, folder: Path) -> None:
        assert PYTHON.exists(), f"giftless is missing: {os.path.relpath(PYTHON)}; make test installs it"
        self._objects = folder / "objects"
        self._key = hashlib.sha256(os.urandom(32)).hexdigest()
        folder.mkdir(parents=True)
        config = {
            "AUTH_PROVIDERS": [
                {"factory": "giftless.auth.jwt:factory", "options": {"algorithm": "HS256", "private_key": self._key}}
            ],
            "TRANSFER_ADAPTERS": {"basic": {"options": {"storage_options": {"path": str(self._objects)}}}},
        }
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIFTLESS_CONFIG_STR": json.dumps(config)}
        self.process = ServerProcess(lambda port: [str(PYTHON), "-c", SERVE, str(port)], folder / "log", env)

    @property
    def place(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    @property
    def url(self) -> str:
        """The LFS endpoint."""
        return f"{self.place}/org/model"

    @property
    def token(self) -> str:
        """A JSON web token that lets its bearer read."""
        now = int(time.time())
        claims = {"sub": "tester", "iat": now - 5, "exp": now + 600, "scopes": ["obj:org/model/*:read"]}
        body = b".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return (body + b"." + _base64(hmac.digest(self._key.encode(), body, "sha256"))).decode()

    def put(self, oid: str, data: bytes) -> None:
        file = self._objects / "org/model" / oid
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def take(self, folder: Path) -> None:
        """Take over everything in git-lfs's folder of a repository."""
        for file in (folder / "lfs/objects").glob("??/??/*"):
            self.put(file.name, file.read_bytes())

    def close(self) -> None:
        self.process.close()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
