"""``hyprstream demo``: the main job from the outside, by the same commands that a user types."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hyprstream_core.configuration import Configuration
from hyprstream_core.errors import HyprstreamError
from hyprstream_core.interfaces.command import Invocation
from hyprstream_demo.shell import Server, Shell

if TYPE_CHECKING:
    from hyprstream_demo.client import Client

QUESTION = "What is a branch?"
OWN = ("models_dir", "runtime_dir", "server.host", "server.port")
"""Settings that the tour chooses itself."""


@click.command()
@click.option("--keep", is_flag=True, help="Keep the model, and say where it is.")
@click.pass_obj
def demo(invocation: Invocation, keep: bool) -> None:
    """Clone the demo model, ask it, serve it, and ask the server through the openai client.

    Every command is printed before it runs, with the flags in front of this verb. Models go to a temporary folder,
    which is removed at the end; places and address are the tour's own.

    \b
    Examples:
      hyprstream demo
      hyprstream demo --keep
      hyprstream --set engine.dtype=float32 demo
    """
    _refuse_places(invocation.configure())
    started = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="hyprstream-"))
    try:
        shell = Shell(home, invocation.env, invocation.global_arguments)
        show_store(shell)
        show_answers(shell)
        title("Serve every branch over HTTP")
        with Server(shell) as server:
            show_api(server)
        title(f"Done in {time.monotonic() - started:.0f} seconds")
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    if keep:
        click.echo(f"The model is kept. To use it: export HYPRSTREAM_MODELS_DIR={shell.models}")
    else:
        shutil.rmtree(home)


def _refuse_places(configuration: Configuration) -> None:
    """A flag that the tour would have to ignore is refused."""
    for key in OWN:
        if (origin := configuration.origins[key]).startswith("flag "):
            raise click.UsageError(
                f"{origin.removeprefix('flag ')}: the tour has models, sockets and address of its own; "
                "--keep says where the model is"
            )


def title(text: str) -> None:
    """Announce a part of the tour."""
    click.secho(f"\n== {text}", bold=True)


def show_store(shell: Shell) -> None:
    """Fetch and look at the model."""
    title("A model is a git repository: clone it")
    shell.announce(f"export HYPRSTREAM_MODELS_DIR={shell.models}")
    shell.run("clone", "demo://chat")
    shell.run("list")
    shell.run("inspect", "chat:main")


def show_answers(shell: Shell) -> None:
    """Ask two branches on the command line."""
    title("Ask it; tokens stream as they come")
    shell.run("infer", "chat", "--prompt", QUESTION)
    title("Another branch of the same model answers in one sentence")
    shell.run("infer", "chat:brief", "--prompt", QUESTION)


def show_api(server: Server) -> None:
    """Ask the server as any program would."""
    from hyprstream_demo.client import connect

    with connect(server.url) as client:
        title("Ask the server through the official openai client")
        client.list_models()
        client.ask("chat:main", "How do I serve a model?")
        title("The same, streaming")
        _stream(client)
        title("The model calls a tool")
        client.use_tool("chat:main", "What is 17 plus 25?")
    title("Stop the server")


def _stream(client: Client) -> None:
    timing = client.stream("chat:main", "What is LoRA?")
    if timing.num_tokens < 2:
        raise HyprstreamError(f"the streamed answer has {timing.num_tokens} tokens, expected a sentence")
    click.echo(
        f"time to first token {timing.first_token * 1000:.0f} ms, "
        f"then {timing.tokens_per_second:.0f} tok/s over {timing.num_tokens} tokens"
    )
