"""The configuration in force: settings filled from their sources, each value with its origin.

Precedence, lowest first: defaults < TOML file < environment < command-line flags. This module is
pure: the command line reads the environment and the file and passes them in.
"""

from __future__ import annotations

import difflib
import json
import os
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from hyprstream_core.config import NOT_KEYS, PREFIX, Settings, default_paths
from hyprstream_core.errors import ConfigError

HIDDEN = "***"
"""What is shown instead of a secret."""


@dataclass(frozen=True)
class Key:
    """One leaf setting: its dotted name (``server.port``), environment name, type and default."""

    name: str
    env: str
    type: Any
    default: Any
    is_secret: bool = False


def keys_of(struct: type[Struct], prefix: str = "", env_prefix: str = PREFIX) -> list[Key]:
    """Every leaf key of ``struct``, sections entered in order of definition."""
    hints = get_type_hints(struct, include_extras=True)
    found: list[Key] = []
    for f in msgspec.structs.fields(struct):
        hint, name = hints[f.name], f"{prefix}{f.name}"
        if isinstance(hint, type) and issubclass(hint, Struct):
            found += keys_of(hint, f"{name}.", f"{env_prefix}{f.name.upper()}_")
            continue
        extra = next((m.extra for m in getattr(hint, "__metadata__", ()) if isinstance(m, Meta) and m.extra), {})
        default = f.default_factory() if f.default is msgspec.NODEFAULT else f.default
        env = extra.get("env", f"{env_prefix}{f.name.upper()}")
        found.append(Key(name, env, hint, default, bool(extra.get("secret"))))
    return found


@dataclass(frozen=True)
class Sources:
    """Everything that can set a key, as read by the caller."""

    env: Mapping[str, str] = field(default_factory=dict)
    file: Mapping[str, Any] = field(default_factory=dict)
    file_name: str = "config.toml"
    flags: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key → (flag as typed, value)."""
    uid: int = field(default_factory=os.getuid)


@dataclass(frozen=True)
class Configuration:
    """Validated settings, the plugins' sections, and the origin of each key."""

    settings: Settings
    sections: Mapping[str, Struct]
    origins: Mapping[str, str]

    def values(self) -> dict[str, Any]:
        """Every key with its value, in order of definition, plugin sections last."""
        roots = [("", self.settings), *((f"plugins.{n}.", s) for n, s in sorted(self.sections.items()))]
        return {
            key.name: _get(root, key.name.removeprefix(prefix))
            for prefix, root in roots
            for key in keys_of(type(root), prefix)
        }

    def shown(self) -> dict[str, Any]:
        """As :meth:`values`, with every secret that is set hidden."""
        secrets = {key.name for key in keys_of(Settings) if key.is_secret}
        return {name: _hidden(value) if name in secrets else value for name, value in self.values().items()}


def secrets_in(table: Mapping[str, Any]) -> list[str]:
    """The keys of core's secrets that a file's ``table`` sets."""
    found = []
    for name in (key.name for key in keys_of(Settings) if key.is_secret):
        value: Any = table
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        found += [name] if value else []
    return found


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict.fromkeys(value, HIDDEN)
    return HIDDEN if value else value


def section_env(name: str) -> str:
    """What the environment names of plugin ``name``'s own settings start with: ``HYPRSTREAM_DEMO_``."""
    return f"{PREFIX}{name.upper().replace('-', '_')}_"


def resolve(
    sources: Sources, sections: Mapping[str, type[Struct]] | None = None, absent: Collection[str] = ()
) -> Configuration:
    """Combine all sources into one configuration.

    ``sections`` are the plugins' own structs by name. With None (the first of two passes: the list of
    plugins is itself a setting) keys that may belong to a plugin are left alone instead of refused.
    So are those of ``absent``: plugins that are installed but not loaded, whose keys nobody can check.

    Raises:
        ConfigError: an unknown key, or a value that its key does not allow; names key, source and
            what is allowed.
    """
    keys = {k.name: k for k in keys_of(Settings)}
    for name, struct in (sections or {}).items():
        keys |= {k.name: k for k in keys_of(struct, f"plugins.{name}.", section_env(name))}
    found: dict[str, tuple[str, Any]] = {
        name: ("default", path) for name, path in default_paths(sources.env, sources.uid).items()
    }
    strict = sections is not None
    found |= _from_file(sources, keys, strict=strict, absent=absent)
    found |= _from_env(sources, keys, strict=strict, absent=absent)
    found |= _from_flags(sources, keys, strict=strict, absent=absent)
    home = sources.env.get("HOME") or ""
    values = {name: _convert(keys[name], origin, value, home) for name, (origin, value) in found.items()}
    return Configuration(
        settings=_build(Settings, "", values),
        sections={n: _build(s, f"plugins.{n}.", values) for n, s in (sections or {}).items()},
        origins={name: found[name][0] if name in found else "default" for name in keys},
    )


Found = dict[str, tuple[str, Any]]
"""Key → where its value comes from, and the value."""


def _from_file(sources: Sources, keys: Mapping[str, Key], *, strict: bool, absent: Collection[str]) -> Found:
    origin = f"file {sources.file_name}"
    found: Found = {}

    def walk(table: Mapping[str, Any], prefix: str) -> None:
        for name, value in table.items():
            key = f"{prefix}{name}"
            if key in keys:
                found[key] = (origin, value)
            elif isinstance(value, Mapping) and any(k.startswith(f"{key}.") for k in keys):
                walk(value, f"{key}.")
            elif not (isinstance(value, Mapping) and _may_be_a_plugins(key, strict=strict, absent=absent)):
                raise _unknown(key, origin, list(keys))

    walk(sources.file, "")
    return found


def _from_env(sources: Sources, keys: Mapping[str, Key], *, strict: bool, absent: Collection[str]) -> Found:
    by_env = {k.env: k for k in keys.values()}
    found: Found = {}
    for name, value in sorted(sources.env.items()):
        key = by_env.get(name)
        if not name.startswith(PREFIX):  # another program's: empty is unset
            if key and value:
                found[key.name] = (f"env {name}", _switch(value) if bool in get_args(key.type) else value)
        elif name in NOT_KEYS:
            continue
        elif key:
            found[key.name] = (f"env {name}", _split(key, value))
        elif strict and not name.startswith(tuple(map(section_env, absent))):
            raise _unknown(name, "the environment", list(by_env))
    return found


def _from_flags(sources: Sources, keys: Mapping[str, Key], *, strict: bool, absent: Collection[str]) -> Found:
    found: Found = {}
    for name, (flag, value) in sources.flags.items():
        if name in keys:
            found[name] = (f"flag {flag}", _split(keys[name], value) if isinstance(value, str) else value)
        elif not _may_be_a_plugins(name, strict=strict, absent=absent):
            raise _unknown(name, f"flag {flag}", list(keys))
    return found


def _may_be_a_plugins(key: str, *, strict: bool, absent: Collection[str]) -> bool:
    """Whether ``key``, which is none of ours, is the business of a plugin that is not loaded (yet)."""
    root, _, rest = key.partition(".")
    return root == "plugins" and bool(rest) and (not strict or rest.split(".")[0] in absent)


def _split(key: Key, value: str) -> Any:
    """Text from the environment or a flag, when its key is a list or table: comma-separated values or ``name=value``
    pairs, or JSON."""
    kind = "table" if "dict[" in str(key.type) else "list" if "tuple" in str(key.type) else ""
    if not kind:
        return value
    if value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # neither, and refused as what it is
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if kind == "list":
        return parts
    pairs = [part.partition("=") for part in parts]
    return {name.strip(): text.strip() for name, _, text in pairs} if all(p[1] for p in pairs) else value


def _switch(value: str) -> str:
    """How other programs write booleans in the environment, as we do."""
    return {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), value)


def _convert(key: Key, origin: str, value: Any, home: str) -> Any:
    """``value`` as ``key``'s type. Text from the environment is read as numbers and booleans."""
    if Path in (key.type, *get_args(key.type)):
        return _path(key, origin, value, home)
    try:
        return msgspec.convert(value, key.type, strict=not origin.startswith("env "), str_keys=True)
    except (msgspec.ValidationError, RecursionError):
        got = "something else" if key.is_secret else _show(value)
        raise bad_value(key.name, origin, got, expected(key.type)) from None


def _path(key: Key, origin: str, value: Any, home: str) -> Path:
    """A path, ``~`` in front of it being ``home``."""
    if not isinstance(value, str | Path) or not str(value):
        raise bad_value(key.name, origin, _show(value), "a path")
    first, _, rest = str(value).partition("/")
    if not first.startswith("~"):
        return Path(value)
    if first != "~" or not home:
        wanted = "a path; ~ alone stands for a home folder, that of $HOME" + ("" if home else ", which is not set")
        raise bad_value(key.name, origin, _show(str(value)), wanted)
    return Path(home, rest.lstrip("/"))


def bad_value(key: str, origin: str, got: str, expected: str) -> ConfigError:
    """The error for a value that ``key`` does not allow; what to do depends on where it comes from."""
    kind, _, place = origin.partition(" ")
    remedies = {"flag": f"correct {place}", "env": f"correct or unset {place}", "file": f"edit {place}"}
    return ConfigError(
        f"{key} from {origin}: got {got}, expected {expected}",
        remedy=remedies.get(kind),
        code="config.bad_value",
        param=key,
        origin=origin,
    )


def expected(hint: Any) -> str:
    """What values a key of type ``hint`` takes, in words: "an integer from 1 to 65535"."""
    if get_origin(hint) is Annotated:
        base, *metas = get_args(hint)
        own = [meta for meta in metas if isinstance(meta, Meta)]
        if said := next((meta.extra["says"] for meta in own if meta.extra and meta.extra.get("says")), ""):
            return str(said)
        return " ".join(filter(None, [expected(base), *map(_range, own)]))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(expected(part) for part in get_args(hint) if part is not type(None))
    if "dict[" in str(hint):
        return "a table of text by name"
    if "tuple" in str(hint):
        return "a list of text"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    return names.get(hint) or str(getattr(hint, "__name__", hint))


def _range(meta: Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f"from {meta.ge} to {meta.le}"
    bounds = {"from {}": meta.ge, "above {}": meta.gt, "at most {}": meta.le, "below {}": meta.lt}
    bounds |= {"of at least {} characters": meta.min_length, "of at most {} characters": meta.max_length}
    parts = [text.format(bound) for text, bound in bounds.items() if bound is not None]
    return ", ".join(parts) + (" up" if parts == [f"from {meta.ge}"] else "")


def _show(value: Any) -> str:
    """``value`` for a message: not endless, whatever a file holds."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists
        return "too much to show"
    return text if len(text) <= 80 else f"{text[:80]}…"


def _build(struct: type[Struct], prefix: str, values: Mapping[str, Any]) -> Any:
    hints, arguments = get_type_hints(struct, include_extras=True), {}
    for f in msgspec.structs.fields(struct):
        hint, name = hints[f.name], f"{prefix}{f.name}"
        if isinstance(hint, type) and issubclass(hint, Struct):
            arguments[f.name] = _build(hint, f"{name}.", values)
        elif name in values:
            arguments[f.name] = values[name]
    return struct(**arguments)


def _get(root: Struct, dotted: str) -> Any:
    value: Any = root
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def _unknown(name: str, origin: str, known: list[str]) -> ConfigError:
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else "see: hyprstream config show"
    return ConfigError(
        f"unknown setting {name!r} in {origin}", remedy=hint, code="config.unknown_key", param=name, origin=origin
    )
