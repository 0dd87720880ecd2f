"""gunicorn's ASGI worker, with a bound on how long it lets answers finish, and its log in ours."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.workers.gasgi import ASGIWorker  # type: ignore[import-untyped]

from hyprstream_core.telemetry import logger

DRAIN_SECONDS = 30
"""After SIGTERM, how long open answers may go on before they end with an error."""
LEAVE_SECONDS = 5
"""After that, how long a worker may take to leave before it is killed; part of gunicorn's graceful timeout."""

LAST_CHUNK_SECONDS = 1.0
"""How long a worker that must go at once waits for gunicorn to send what ends a response."""


class Worker(ASGIWorker):  # type: ignore[misc] # the base class is untyped
    """Ends open answers with an error event after the drain time; gunicorn alone would cut their connections."""

    def handle_exit_signal(self) -> None:
        """SIGTERM: no new connections; open answers may finish."""
        super().handle_exit_signal()
        self.loop.call_later(self.cfg.graceful_timeout - LEAVE_SECONDS, self._end_answers)

    def handle_quit_signal(self) -> None:
        """SIGQUIT, SIGINT: open answers end with an error now, and their connections in order."""
        self._quitting = self.loop.create_task(self._quit())

    async def _quit(self) -> None:
        await self.asgi.lifetime.end()
        deadline = self.loop.time() + LAST_CHUNK_SECONDS
        while self.nr_conns > 0 and self.loop.time() < deadline:
            await asyncio.sleep(0.02)
        super().handle_quit_signal()

    def _end_answers(self) -> None:
        self._ending = self.loop.create_task(self.asgi.lifetime.end())


class StructuredLog(Logger):  # type: ignore[misc] # the base class is untyped
    """gunicorn's logger; what it has to say becomes lines of our log."""

    def _set_handler(self, log: logging.Logger, *_: Any, **__: Any) -> None:
        handler = _Forward()
        handler._gunicorn = True  # type: ignore[attr-defined] # the mark by which gunicorn replaces its handlers
        log.addHandler(handler)


class _Forward(logging.Handler):
    """Sends records of the standard library's logging to ours."""

    def __init__(self) -> None:
        super().__init__()
        self._log = logger("gunicorn")

    def emit(self, record: logging.LogRecord) -> None:
        """One record, with its traceback."""
        level = {"CRITICAL": "error"}.get(record.levelname, record.levelname.lower())
        fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        getattr(self._log, level)(record.getMessage(), **fields)
