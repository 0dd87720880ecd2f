"""Services: plain classes whose methods are called over RPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SpawnMode = Literal["task", "thread", "subprocess"]


@dataclass(frozen=True)
class Service:
    """A service that :mod:`hyprstream_core.spawn` can run. ``load`` names the class."""

    name: str
    load: str
