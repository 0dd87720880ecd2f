"""The ``hyprstream`` command: finds verbs through the ``hyprstream_commands`` hook, reports errors.

A verb's module is imported when the verb runs or its own help is asked for; the list of verbs comes
from the records alone. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import click

from hyprstream_core import __version__
from hyprstream_core.cli.context import Context
from hyprstream_core.cli.entry import INTERRUPTED, interruptible
from hyprstream_core.cli.options import global_options
from hyprstream_core.cli.output import emit_error, not_written, silence_stdout
from hyprstream_core.errors import ConfigError, HyprstreamError, InternalError
from hyprstream_core.interfaces.command import HEADINGS, OTHERS, Command
from hyprstream_core.plugins import PACKAGES, Plugins, how_to_get, installed, is_interrupt, load

LISTS_PLUGINS = "plugins"
"""The verb that works whatever is wrong with a plugin, since it says what."""


class NoSuchVerb(click.UsageError):
    """A verb that no plugin provides, with what to do about it."""

    def __init__(self, message: str, remedy: str, ctx: click.Context) -> None:
        super().__init__(message, ctx)
        self.remedy = remedy


class Verbs(click.Group):
    """Looks verbs up among the records that plugins yield."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all verbs."""
        return sorted(_records_for_help(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The click command of one verb, imported now."""
        record = _records(ctx).get(cmd_name)
        if record is None:
            return None
        command = load(record.load)
        if not isinstance(command, click.Command):
            raise InternalError(f"{record.load!r} of verb {cmd_name!r} is not a click command")
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, but an unknown verb says what is close to it or what to install."""
        context: Context = ctx.obj
        if args and args[0] not in _records(ctx) and not args[0].startswith("-"):
            raise _no_such_verb(args[0], ctx)
        if args and args[0] != LISTS_PLUGINS:
            context.plugins.check_strict()
        context.provider = context.plugins.of_verb(args[0]) if args else None
        found = super().resolve_command(ctx, args)
        interruptible()
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs under their headings, from the records alone; those of plugins that name no heading last."""
        groups: dict[str, list[tuple[str, str]]] = {group: [] for group in HEADINGS}
        records = sorted(_records_for_help(ctx).items())
        for name, record in records:
            groups.setdefault(record.group, []).append((name, record.help))
        width = max((len(name) for name, _ in records), default=0)
        for group, verbs in sorted(groups.items(), key=lambda item: item[0] == OTHERS):
            if verbs:
                with formatter.section(group):
                    formatter.write_dl([(name.ljust(width), text) for name, text in verbs])


def _records(ctx: click.Context) -> dict[str, Command]:
    context: Context = ctx.obj
    return {record.name: record for record in context.plugins.commands()}


def _records_for_help(ctx: click.Context) -> dict[str, Command]:
    """All verbs; core's own while the configuration is wrong, since nobody knows which plugins are allowed."""
    try:
        return _records(ctx)
    except ConfigError:
        builtin = [candidate for candidate in installed() if candidate.is_builtin]
        return {record.name: record for record in Plugins(builtin).commands()}


def _no_such_verb(verb: str, ctx: click.Context) -> NoSuchVerb:
    context: Context = ctx.obj
    if remedy := how_to_get(verb, context.plugins.states):
        return NoSuchVerb(f"verb {verb!r} comes with {PACKAGES[verb]} and is not there", remedy, ctx)
    close = difflib.get_close_matches(verb, list(_records(ctx)), n=3)
    hint = f"; did you mean: {', '.join(close)}?" if close else ""
    return NoSuchVerb(f"no verb {verb!r}{hint}", "see: hyprstream --help", ctx)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB [ARGS]...",
    epilog="hyprstream VERB --help explains one verb, with examples.",
)
@global_options
@click.version_option(__version__, prog_name="hyprstream")
def cli() -> None:
    """Large language models that live in git: clone, serve and ask any branch, tag or commit."""


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run one command line and return its exit code; errors are printed, never raised."""
    as_json = "--json" in arguments
    context = Context(env, quiet=as_json)
    try:
        result: Any = cli.main(list(arguments), "hyprstream", standalone_mode=False, obj=context)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        _report_usage(error, as_json=as_json, env=env)
        return 2
    except click.ClickException as error:
        emit_error(HyprstreamError(error.format_message()), as_json=as_json, env=env)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        silence_stdout()
        return 1
    except Exception as error:
        if is_interrupt(error):
            return INTERRUPTED
        _trace_when_debugging(context)
        known = error if isinstance(error, HyprstreamError) else _defect(error, context)
        emit_error(known, as_json=as_json, env=env)
        return 2 if _is_usage(known) else 1
    return result if isinstance(result, int) else 0


def _is_usage(error: HyprstreamError) -> bool:
    """Whether a value on the command line is what is wrong, rather than one of the file or the environment."""
    return str(error.details.get("origin", "")).startswith("flag ")


def _report_usage(error: click.UsageError, *, as_json: bool, env: Mapping[str, str]) -> None:
    verb = error.ctx.command_path if error.ctx else "hyprstream"
    remedy = error.remedy if isinstance(error, NoSuchVerb) else f"see: {verb} --help"
    emit_error(HyprstreamError(error.format_message(), code="usage", remedy=remedy), as_json=as_json, env=env)


def _defect(error: Exception, context: Context) -> InternalError:
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return InternalError(f"{error.strerror}{where}", code="os.failed")
    what = f"{type(error).__name__}: {error}"
    evidence = "with the output of the same command under HYPRSTREAM_LOG=debug"
    plugin = context.provider
    if plugin is None or plugin.builtin:
        return InternalError(f"a defect in hyprstream: {what}", remedy=f"please report it {evidence}")
    return InternalError(
        f"a defect in {plugin.origin}, whose plugin {plugin.name!r} provides this verb: {what}",
        remedy=f"please report it to the authors of {plugin.distribution} {evidence}",
    )


def _trace_when_debugging(context: Context) -> None:
    """Read without the configuration, which may be what failed."""
    _, level = context.flags.get("log.level", ("", context.env.get("HYPRSTREAM_LOG", "")))
    if str(level).lower() == "debug":
        traceback.print_exc(file=sys.stderr)


def main() -> None:
    """Run this process's command line and end with its exit code."""
    code = run(sys.argv[1:], os.environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is done: an interrupt must not turn it into a failure
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as error:
        silence_stdout()
        if code == 0:
            emit_error(not_written("the output", error), as_json="--json" in sys.argv, env=os.environ)
            code = 1
    sys.exit(code)
