"""Where services listen, and how a place is made safe to listen on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Scheme = Literal["inproc", "ipc"]


def endpoint(service: str, scheme: Scheme, runtime_dir: Path) -> str:
    """The endpoint of ``service``: ``inproc://`` within this process, ``ipc://`` between processes.

    Raises:
        ConfigError: the ipc path would be longer than a socket address can hold.
    """
    raise NotImplementedError
