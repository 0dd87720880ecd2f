"""Services: plain classes whose methods are called over RPC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

SpawnMode = Literal["task", "thread", "subprocess"]
SERVICE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
"""A service's name is that of its socket."""


@dataclass(frozen=True)
class Service:
    """A service, called over RPC as ``name``. ``load`` names a class as ``hyprstream_core/hosting.py`` describes it:
    with a ``contract``, made by ``create`` from the settings, opened by ``start``, closed by ``stop``."""

    name: str
    load: str
