"""``hyprstream server``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import click

from hyprstream_core.interfaces.command import Invocation

KEYS = {
    "host": "server.host",
    "port": "server.port",
    "workers": "server.workers",
    "device": "engine.device",
    "dtype": "engine.dtype",
    "threads": "engine.threads",
    "max_context": "engine.max_context",
    "max_cached_models": "engine.max_cached_models",
}
"""Flag → the setting that it sets."""


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on (setting server.host).")
@click.option("--port", type=int, help="Port to listen on (setting server.port).")
@click.option("--workers", type=int, help="Number of HTTP worker processes (setting server.workers).")
@click.option("--device", metavar="NAME", help="Device backend, or auto (setting engine.device).")
@click.option("--dtype", metavar="DTYPE", help="Compute dtype, or auto: the checkpoint's (setting engine.dtype).")
@click.option("--threads", type=int, help="Compute threads; 0 is one per core (setting engine.threads).")
@click.option("--max-context", type=int, help="Longest prompt plus answer in tokens (setting engine.max_context).")
@click.option("--max-cached-models", type=int, help="Models kept in memory (setting engine.max_cached_models).")
@click.pass_obj
def server(invocation: Invocation, /, **flags: Any) -> None:
    """Serve the OpenAI-compatible HTTP API until SIGTERM or ctrl-C.

    Each worktree of a cloned model is listed, as NAME:BRANCH; every other branch, tag and commit answers by its
    name too (NAME:BRANCH, NAME:TAG, NAME:COMMIT). Models are loaded when they are first asked for. A first ctrl-C
    lets running answers finish, a second one does not.

    \b
    Examples:
      hyprstream server
      hyprstream server --port 8080 --dtype float32
      OPENAI_BASE_URL=http://127.0.0.1:50051/v1 OPENAI_API_KEY=none python my_program.py
    """
    from hyprstream_api.launcher import Launch, serve

    given = {KEYS[name]: (f"--{name.replace('_', '-')}", value) for name, value in flags.items()}
    settings = invocation.configure(given).settings
    invocation.start_logging()
    serve(Launch(settings, invocation.plugins, _told_in(settings.log.format)))


def _told_in(log_format: Literal["auto", "json", "text"]) -> Callable[[str, str, Mapping[str, Any]], None]:
    """Prints a sentence to stderr; where the log is JSON, as a line like the log's own, with the facts in it."""
    from hyprstream_core.telemetry import is_json

    as_json = is_json(log_format)

    def tell(event: str, text: str, facts: Mapping[str, Any]) -> None:
        click.echo(_json_line(event, text, facts) if as_json else text, err=True)

    return tell


def _json_line(event: str, text: str, facts: Mapping[str, Any]) -> str:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    common = {"logger": "hyprstream_api", "request_id": None, "level": "info", "timestamp": now}
    return json.dumps({**facts, "event": event, "message": text, **common})
