"""Where a verb's questions are answered: by a running server's services, else by the same services here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hyprstream_core.cli.context import Context
from hyprstream_core.config import Configuration
from hyprstream_core.front import Front


@asynccontextmanager
async def open_front(
    context: Context, configuration: Configuration, reference: str
) -> AsyncIterator[tuple[Front, str]]:
    """A front that can answer for ``reference``, and where: "server" or "in-process"."""
    raise NotImplementedError
    yield
