"""``hyprstream server``."""

from __future__ import annotations

from typing import Any

import click

from hyprstream_core import __version__
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

    Every branch of every cloned model is served as NAME:BRANCH; tags and commits work as well. Models are
    loaded when they are first asked for. A first ctrl-C lets running answers finish, a second one does not.

    \b
    Examples:
      hyprstream server
      hyprstream server --port 8080 --dtype float32
      OPENAI_BASE_URL=http://127.0.0.1:50051/oai/v1 OPENAI_API_KEY=none python my_program.py
    """
    from hyprstream_api.launcher import Launch, serve

    given = {KEYS[name]: (f"--{name.replace('_', '-')}", value) for name, value in flags.items()}
    settings = invocation.configure(given).settings
    invocation.start_logging()
    serve(Launch(settings, invocation.plugins, _announce))


def _announce(url: str, models: tuple[str, ...]) -> None:
    served = ", ".join(models) if models else "no models yet (hyprstream clone URL gets one)"
    click.echo(f"hyprstream {__version__} answers at {url}/oai/v1: {served}", err=True)
