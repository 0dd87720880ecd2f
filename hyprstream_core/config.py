"""Settings: every key, its default, its environment name, and where its value came from.

Precedence, lowest first: defaults < TOML file < environment < command-line flags. This module is
pure: the command line reads the environment and the file and passes them in.
A key exists here only once it works.
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

from hyprstream_core.errors import ConfigError

PREFIX = "HYPRSTREAM_"
NOT_KEYS = frozenset({"HYPRSTREAM_CONFIG"})
"""Environment names with our prefix that are not settings: the path of the TOML file itself."""


def _env(name: str, **constraints: Any) -> Meta:
    return Meta(extra={"env": name}, **constraints)


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP server."""

    host: str = "127.0.0.1"
    """Address that the HTTP API listens on."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 50051
    """TCP port of the HTTP API."""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Number of API worker processes. They tokenise and stream; the engine is a process of its own."""


class EngineSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The inference engine."""

    device: str = "auto"
    """Device backend by name, or "auto": the installed backend that scores best on this machine."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Compute dtype; "auto" is the checkpoint's own."""
    max_context: Annotated[int, _env("HYPRSTREAM_MAX_CONTEXT", ge=0, le=2**24)] = 0
    """Longest prompt plus answer in tokens; 0 is the model's own limit."""
    max_running: Annotated[int, Meta(ge=1, le=1024)] = 64
    """Sequences computed in one step at most."""
    max_waiting: Annotated[int, Meta(ge=1, le=65536)] = 512
    """Requests that may wait for a place; one more is refused as overloaded."""
    token_budget: Annotated[int, Meta(ge=16, le=65536)] = 256
    """Tokens computed in one step at most: long prompts are cut into chunks of this size."""
    block_size: Annotated[int, Meta(ge=4, le=256)] = 16
    """Tokens per KV block."""
    kv_memory: Annotated[int, Meta(ge=0)] = 0
    """Bytes of KV cache per loaded model; 0 takes what max_running sequences of full length need, at most a
    third of the memory that is free when the model is loaded."""
    max_cached_models: Annotated[int, _env("HYPRSTREAM_MAX_CACHED_MODELS", ge=1, le=1024)] = 4
    """Models (commits) kept in memory; the least recently used idle one makes room."""
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    """CPU compute threads; 0 is one per core that this process may use."""

    def context_of(self, max_positions: int) -> int:
        """Longest prompt plus answer of a model that was made for ``max_positions`` tokens."""
        return min(self.max_context or max_positions, max_positions)

    def dtype_of(self, checkpoint: str) -> str:
        """What a model whose checkpoint is of this dtype is computed in, by torch's name."""
        return checkpoint if self.dtype == "auto" else self.dtype


class LogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logging."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _env("HYPRSTREAM_LOG")] = "info"
    """Least severe level that is written."""
    format: Literal["auto", "json", "text"] = "auto"
    """"json" is one object per line, "text" is for people; "auto" is text on a terminal, else json."""


class PluginSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which plugins are loaded."""

    allow: Annotated[tuple[str, ...] | None, _env("HYPRSTREAM_PLUGINS")] = None
    """Names of the plugins that may be loaded; unset is all."""
    disable: Annotated[tuple[str, ...], _env("HYPRSTREAM_DISABLE_PLUGINS")] = ()
    """Names of plugins that are not loaded."""
    strict: Annotated[bool, _env("HYPRSTREAM_STRICT_PLUGINS")] = False
    """Stop with an error when any plugin fails, instead of going on without it; `hyprstream plugins` lists all."""


class CloneSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fetching models."""

    timeout: Annotated[float, Meta(gt=0, le=86400)] = 60.0
    """Seconds without a byte from a remote before it is given up."""
    worktree_driver: str = "auto"
    """How worktrees are filled: a worktree driver by name, or "auto" for the best on the file system."""


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Maxima for everything that comes from outside."""

    repo_files: Annotated[int, Meta(ge=1)] = 100_000
    """Entries in one git tree, folders included."""
    repo_depth: Annotated[int, Meta(ge=1)] = 128
    """Levels of folders in one git tree."""
    repo_path_bytes: Annotated[int, Meta(ge=1)] = 4096
    """Length of one path in a repository."""
    repo_blob_bytes: Annotated[int, Meta(ge=1)] = 512 * 2**20
    """Size of one git blob; larger content belongs in LFS."""
    repo_refs: Annotated[int, Meta(ge=1)] = 10_000
    """References that a remote may advertise."""
    repo_pack_bytes: Annotated[int, Meta(ge=1)] = 2 * 2**30
    """Bytes of one fetched git pack; also of the plain files of one checkout."""
    repo_objects: Annotated[int, Meta(ge=1)] = 2_000_000
    """Objects in one fetched git pack."""
    pointer_bytes: Annotated[int, Meta(ge=1)] = 1024
    """Size of an LFS pointer file."""
    json_file_bytes: Annotated[int, Meta(ge=1)] = 64 * 2**20
    """Size of a JSON file of a model (config, tokenizer, index)."""
    safetensors_header_bytes: Annotated[int, Meta(ge=1)] = 32 * 2**20
    """Size of the safetensors headers of one model, together."""
    safetensors_tensors: Annotated[int, Meta(ge=1)] = 1_000_000
    """Tensors in one model."""
    shards: Annotated[int, Meta(ge=1)] = 4096
    """Weight files in one model."""
    body_bytes: Annotated[int, Meta(ge=1)] = 8 * 2**20
    """Size of a request body."""
    json_depth: Annotated[int, Meta(ge=1, le=256)] = 64
    """Levels of nesting in a request body."""
    template_bytes: Annotated[int, Meta(ge=1)] = 64 * 2**10
    """Size of a chat template's source."""
    template_output_bytes: Annotated[int, Meta(ge=1)] = 4 * 2**20
    """Size of a rendered prompt."""
    template_seconds: Annotated[float, Meta(gt=0)] = 2.0
    """Time to compile and render a chat template."""
    template_memory_bytes: Annotated[int, Meta(ge=2**26)] = 512 * 2**20
    """Address space of the process that renders templates."""
    messages: Annotated[int, Meta(ge=1)] = 4096
    """Messages in one chat request."""
    tools: Annotated[int, Meta(ge=1)] = 128
    """Tools in one chat request."""
    prompts: Annotated[int, Meta(ge=1)] = 32
    """Prompts in one completion request."""
    choices: Annotated[int, Meta(ge=1)] = 32
    """Answers to one request: n times the number of prompts."""
    stop_strings: Annotated[int, Meta(ge=0)] = 4
    """Stop strings in one request."""
    stop_chars: Annotated[int, Meta(ge=1)] = 256
    """Length of one stop string."""
    stop_token_ids: Annotated[int, Meta(ge=0)] = 64
    """Stop token ids in one request."""
    message_bytes: Annotated[int, Meta(ge=1024)] = 16 * 2**20
    """Size of one RPC message."""
    message_records: Annotated[int, Meta(ge=1)] = 65_536
    """Records in one RPC message, those inside others included."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of core's settings."""

    models_dir: Path = Path("~/.local/share/hyprstream/models")
    """Where models live. Default: $XDG_DATA_HOME/hyprstream/models."""
    runtime_dir: Path = Path("/tmp/hyprstream")  # noqa: S108 - replaced by `default_paths`
    """Sockets and PID files, private to the user. Default: $XDG_RUNTIME_DIR/hyprstream."""
    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()
    plugins: PluginSettings = PluginSettings()
    clone: CloneSettings = CloneSettings()
    limits: Limits = Limits()


def default_paths(env: Mapping[str, str], uid: int) -> dict[str, Path]:
    """Defaults of the path settings, by the XDG base directory specification.

    Without ``XDG_RUNTIME_DIR`` the runtime directory is ``/tmp/hyprstream-<uid>``; whoever creates it
    makes it 0700 and refuses one that belongs to somebody else.
    """
    home = Path(env.get("HOME") or "/")
    data = Path(env.get("XDG_DATA_HOME") or home / ".local/share")
    runtime = env.get("XDG_RUNTIME_DIR")
    return {
        "models_dir": data / "hyprstream/models",
        "runtime_dir": Path(runtime) / "hyprstream" if runtime else Path(f"/tmp/hyprstream-{uid}"),  # noqa: S108
    }


def default_file(env: Mapping[str, str]) -> Path:
    """The TOML file that is read when none is named: ``$XDG_CONFIG_HOME/hyprstream/config.toml``."""
    home = Path(env.get("HOME") or "/")
    return Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "hyprstream/config.toml"


@dataclass(frozen=True)
class Key:
    """One leaf setting: its dotted name (``server.port``), environment name, type and default."""

    name: str
    env: str
    type: Any
    default: Any


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
        found.append(Key(name, extra.get("env", f"{env_prefix}{f.name.upper()}"), hint, default))
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
    values = {name: _convert(keys[name], origin, value) for name, (origin, value) in found.items()}
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
        if not name.startswith(PREFIX) or name in NOT_KEYS:
            continue
        if key := by_env.get(name):
            found[key.name] = (f"env {name}", _split_list(key, value))
        elif strict and not name.startswith(tuple(map(section_env, absent))):
            raise _unknown(name, "the environment", list(by_env))
    return found


def _from_flags(sources: Sources, keys: Mapping[str, Key], *, strict: bool, absent: Collection[str]) -> Found:
    found: Found = {}
    for name, (flag, value) in sources.flags.items():
        if name in keys:
            found[name] = (f"flag {flag}", _split_list(keys[name], value) if isinstance(value, str) else value)
        elif not _may_be_a_plugins(name, strict=strict, absent=absent):
            raise _unknown(name, f"flag {flag}", list(keys))
    return found


def _may_be_a_plugins(key: str, *, strict: bool, absent: Collection[str]) -> bool:
    """Whether ``key``, which is none of ours, is the business of a plugin that is not loaded (yet)."""
    root, _, rest = key.partition(".")
    return root == "plugins" and bool(rest) and (not strict or rest.split(".")[0] in absent)


def _split_list(key: Key, value: str) -> Any:
    """Text from the environment or a flag, when its key is a list: comma-separated, or a JSON list."""
    if "tuple" not in str(key.type):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # no list, and refused as what it is
    return [part.strip() for part in value.split(",") if part.strip()]


def _convert(key: Key, origin: str, value: Any) -> Any:
    """``value`` as ``key``'s type. Text from the environment is read as numbers and booleans."""
    if key.type is Path:
        return _path(key, origin, value)
    try:
        return msgspec.convert(value, key.type, strict=not origin.startswith("env "), str_keys=True)
    except (msgspec.ValidationError, RecursionError):
        raise bad_value(key.name, origin, _show(value), expected(key.type)) from None


def _path(key: Key, origin: str, value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise bad_value(key.name, origin, _show(value), "a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:  # "~name" of a user who does not exist
        raise bad_value(key.name, origin, _show(str(value)), "a path; no such user has a home folder") from None


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
        ranges = [_range(meta) for meta in metas if isinstance(meta, Meta)]
        return " ".join(filter(None, [expected(base), *ranges]))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(expected(part) for part in get_args(hint) if part is not type(None))
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
