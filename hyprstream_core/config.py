"""Settings: every key, its default and its environment name; ``configuration`` fills them from their sources.

This module is pure: the command line reads the environment and the file and passes them in.
A key exists here only once it works.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

PREFIX = "HYPRSTREAM_"
NOT_KEYS = frozenset({"HYPRSTREAM_CONFIG"})
"""Environment names with our prefix that are not settings: the path of the TOML file itself."""


def _env(name: str, *, secret: bool = False, says: str = "", **constraints: Any) -> Meta:
    """The environment name of a key; whether its value is shown to nobody; what is allowed, in words."""
    return Meta(extra={"env": name, "secret": secret, "says": says}, **constraints)


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP server."""

    host: str = "127.0.0.1"
    """Address that the HTTP API listens on."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 50051
    """TCP port of the HTTP API."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may be addressed to (their Host header) beside loopback addresses, localhost and
    server.host: those under which a reverse proxy passes them on."""
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
    depth: Annotated[int, Meta(ge=0, le=2**31 - 2)] = 0
    """Commits of each branch and tag that a clone fetches, counted from its tip; 0 is the whole history."""
    ssh_command: Annotated[str, _env("GIT_SSH_COMMAND", min_length=1)] = "ssh"
    """The ssh program with its own options, split as a shell would but run without one. It must take OpenSSH's."""
    netrc: Annotated[Path, _env("NETRC")] = Path("~/.netrc")
    """File with user names and passwords of http(s) hosts. Default: ~/.netrc, which need not exist."""
    tokens: Annotated[dict[str, str], _env("HYPRSTREAM_CLONE_TOKENS", secret=True)] = {}
    """Access tokens by host: "git.example.com", with ":port" when it is not 443, with "http://" before it when it
    must be sent unencrypted. Sent to exactly that place."""

    def __repr__(self) -> str:
        return f"CloneSettings(timeout={self.timeout}, worktree_driver={self.worktree_driver!r}, …)"


class HubSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Hugging Face hub, or one that speaks like it."""

    endpoint: Annotated[
        str,
        _env(
            "HF_ENDPOINT",
            says="an http(s) URL without user, query or fragment",
            pattern=r"^https?://[^\s/@?#]+[^\s@?#]*$",
        ),
    ] = "https://huggingface.co"
    """Where URLs of https://huggingface.co and https://hf.co are fetched from."""
    token: Annotated[str, _env("HF_TOKEN", secret=True)] = ""
    """Access token, sent to the endpoint alone. Empty: the one in token_file."""
    token_file: Annotated[Path, _env("HF_TOKEN_PATH")] = Path("~/.cache/huggingface/token")
    """File with the access token that `hf auth login` writes. Default: $HF_HOME/token, else
    $XDG_CACHE_HOME/huggingface/token."""
    offline: Annotated[bool, _env("HF_HUB_OFFLINE")] = False
    """Refuse to fetch from the hub."""

    def __repr__(self) -> str:
        return f"HubSettings(endpoint={self.endpoint!r}, offline={self.offline}, …)"


class UserSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who makes tags and commits. git's GIT_COMMITTER_NAME and GIT_COMMITTER_EMAIL come before these."""

    name: str = ""
    """Name; empty is the account's."""
    email: str = ""
    """E-mail address; empty is login@host."""


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
    repo_inflated_bytes: Annotated[int, Meta(ge=1)] = 16 * 2**30
    """Bytes of all objects of one fetched git pack, unpacked."""
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
    hub: HubSettings = HubSettings()
    user: UserSettings = UserSettings()
    limits: Limits = Limits()


def default_paths(env: Mapping[str, str], uid: int) -> dict[str, Path]:
    """Defaults of the path settings, by the XDG base directory specification and the hub's own rules.

    Without ``XDG_RUNTIME_DIR`` the runtime directory is ``/tmp/hyprstream-<uid>``; whoever creates it
    makes it 0700 and refuses one that belongs to somebody else.
    """
    home = Path(env.get("HOME") or "/")
    data = Path(env.get("XDG_DATA_HOME") or home / ".local/share")
    runtime = env.get("XDG_RUNTIME_DIR")
    hub = Path(env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface")
    return {
        "models_dir": data / "hyprstream/models",
        "runtime_dir": Path(runtime) / "hyprstream" if runtime else Path(f"/tmp/hyprstream-{uid}"),  # noqa: S108
        "clone.netrc": home / ".netrc",
        "hub.token_file": hub / "token",
    }


def default_file(env: Mapping[str, str]) -> Path:
    """The TOML file that is read when none is named: ``$XDG_CONFIG_HOME/hyprstream/config.toml``."""
    home = Path(env.get("HOME") or "/")
    return Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "hyprstream/config.toml"
