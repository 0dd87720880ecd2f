"""What a verb runs with: environment, file and flags read once, plugins and settings made on demand.

This is the only place of core that reads the environment. Configuration takes two passes, because the
list of plugins is a setting, and the plugins' own settings are known only when they are loaded.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hyprstream_core import plugins as plugin_loader
from hyprstream_core.cli.output import emit_note
from hyprstream_core.config import Settings, default_file
from hyprstream_core.configuration import Configuration, Sources, bad_value, resolve, secrets_in
from hyprstream_core.errors import ConfigError
from hyprstream_core.plugins import Plugins, PluginState

CONFIG_FILE_BYTES = 2**20
BUILTIN_NAME = "builtin"


class Context:
    """One run of the command line; implements :class:`~hyprstream_core.interfaces.command.Invocation`."""

    def __init__(self, env: Mapping[str, str], *, quiet: bool = False) -> None:
        """``quiet``: nothing for people on stderr, where a program expects JSON."""
        self.env = env
        self._quiet = quiet
        self.flags: dict[str, tuple[str, Any]] = {}
        self.config_file: Path | None = None
        self.global_arguments: tuple[str, ...] = ()
        self.provider: PluginState | None = None
        """The plugin whose verb is run, as soon as that is known."""

    @cached_property
    def sources(self) -> Sources:
        """Environment, configuration file and global flags."""
        path, table = self._read_file()
        return Sources(env=self.env, file=table, file_name=str(path), flags=self.flags)

    @cached_property
    def plugins(self) -> Plugins:
        """The plugins that the configuration allows.

        Raises:
            ConfigError: it names a plugin that is not installed, or disables core's own parts.
        """
        configuration = resolve(self.sources)
        candidates = plugin_loader.installed()
        _check_names(configuration, sorted({candidate.name for candidate in candidates}))
        return Plugins(candidates, configuration.settings.plugins)

    @cached_property
    def settings(self) -> Settings:
        """Core's settings without a verb's own flags."""
        return self.configure().settings

    def configure(self, flags: Mapping[str, tuple[str, Any]] | None = None) -> Configuration:
        """The whole configuration, with a verb's own ``flags`` on top; see :class:`Invocation`."""
        given = {key: (flag, value) for key, (flag, value) in (flags or {}).items() if value is not None}
        source = self.sources
        sources = Sources(env=source.env, file=source.file, file_name=source.file_name, flags={**source.flags, **given})
        return resolve(
            sources,
            {section.name: section.struct for section in self.plugins.settings()},
            absent=[state.name for state in self.plugins.states if state.state != "ok"],
        )

    def start_logging(self, *, quiet: bool = False) -> None:
        """Configure logging for this process by the settings ``log.level`` and ``log.format``.

        ``quiet``: unless a level was asked for, only warnings and errors.
        """
        from hyprstream_core.telemetry import setup_logging

        configuration = self.configure()
        log = configuration.settings.log
        quiet = quiet and configuration.origins["log.level"] == "default"
        setup_logging("warning" if quiet else log.level, log.format)

    def _read_file(self) -> tuple[Path, dict[str, Any]]:
        named = self.config_file or (Path(self.env["HYPRSTREAM_CONFIG"]) if self.env.get("HYPRSTREAM_CONFIG") else None)
        path = named or default_file(self.env)
        try:
            with path.open("rb") as stream:
                content, mode = stream.read(CONFIG_FILE_BYTES + 1), os.fstat(stream.fileno()).st_mode
        except FileNotFoundError:
            if named:
                raise ConfigError(
                    f"configuration file {path} does not exist", code="config.no_file", remedy="name an existing file"
                ) from None
            return path, {}
        except OSError as error:
            raise ConfigError(f"configuration file {path} cannot be read: {error.strerror}") from None
        if len(content) > CONFIG_FILE_BYTES:
            raise ConfigError(f"configuration file {path} is larger than {CONFIG_FILE_BYTES} bytes")
        try:
            table = tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:  # tomllib's own, no UTF-8, a number of thousands of digits
            raise ConfigError(
                f"configuration file {path} is not TOML: {error}", code="config.bad_file", remedy="mend the file"
            ) from None
        if not self._quiet and mode & (stat.S_IRGRP | stat.S_IROTH) and (secrets := secrets_in(table)):
            emit_note(f"warning: others can read {', '.join(secrets)} in {path}; run: chmod 600 {path}")
        return path, table


def _check_names(configuration: Configuration, installed: Sequence[str]) -> None:
    """A name that nothing has would allow or disable nothing, without a word."""
    settings, known = configuration.settings.plugins, ", ".join(installed)
    for key, names in (("plugins.allow", settings.allow or ()), ("plugins.disable", settings.disable)):
        if unknown := [name for name in names if name not in installed]:
            got = ", ".join(map(repr, unknown))
            raise bad_value(key, configuration.origins[key], got, f"names of installed plugins: {known}")
    if BUILTIN_NAME in settings.disable:
        others = ", ".join(name for name in installed if name != BUILTIN_NAME) or "there are none"
        got = f"{BUILTIN_NAME!r}, without which nothing works"
        key = "plugins.disable"
        raise bad_value(key, configuration.origins[key], got, f"names of other plugins: {others}")
