"""git over ssh, by the user's own ssh program: with his agent, ``~/.ssh/config`` and ``known_hosts``.

``clone.ssh_command`` is split without a shell; our options come behind its own, so that those win: ssh takes the
first value that it is given. Nobody can be asked, so that an unknown host is refused.
"""

from __future__ import annotations

import math
import shlex
import time
from contextlib import closing

import msgspec

from hyprstream_core.builtin.transports.daemon import derived_endpoint
from hyprstream_core.builtin.transports.program import Program
from hyprstream_core.builtin.transports.ssh_errors import lacks_lfs, ssh_error
from hyprstream_core.builtin.transports.streams import Stream, StreamClient
from hyprstream_core.errors import ConfigError, RemoteError
from hyprstream_core.interfaces.transport import Access, Connection, LargeFiles, Transport
from hyprstream_core.repo.remotes.urls import parse_url, stream_parts

_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ControlMaster=no",  # a master would outlive us; one that is there already is used
    "RequestTTY=no",
    "SetEnv=GIT_PROTOCOL=version=2 LC_ALL=C",  # its messages are read
)
_CHUNK = 1 << 16
_MARGIN = 5.0
"""Seconds before the end of an answer's validity when it is asked for anew."""


class Ssh(Transport):
    """``ssh://[user@]host[:port]/path``. Large files come from where ``git-lfs-authenticate`` says."""

    def connect(self, url: str) -> Connection:
        """See :meth:`Transport.connect`; ssh is started when something is asked."""
        user, host, port, path = stream_parts(parse_url(url).text)
        caller = Caller(user, host, port, self.access)
        return Connection(
            SshClient(caller, self.access), path, ask_content=LfsLogin(caller, path, self.access.limits.json_file_bytes)
        )


class Caller:
    """Runs commands on one host."""

    def __init__(self, user: str, host: str, port: int | None, access: Access) -> None:
        """Read the program to use.

        Raises:
            ConfigError: ``clone.ssh_command`` is no command.
        """
        self.host, self.port = host, port
        self.name = f"{user}@{host}" if user else host
        self.timeout = access.timeout
        silence = max(1, math.ceil(access.timeout))
        timing = (f"ConnectTimeout={silence}", f"ServerAliveInterval={silence}", "ServerAliveCountMax=1")
        self._command = [
            *_split(access.clone.ssh_command),
            *(f"-o{option}" for option in (*_OPTIONS, *timing)),
            *(("-p", str(port)) if port else ()),
            *(("-l", user) if user else ()),
            "--",
            host.strip("[]"),
        ]

    def _explain(self, status: int | None, said: str) -> RemoteError | None:
        return ssh_error(status, said, self.name, self.timeout, self.port)

    def call(self, command: str, *arguments: str) -> Program:
        """Start ``command`` there, its ``arguments`` quoted as git does for the remote shell.

        Raises:
            ConfigError: there is no such ssh program here.
        """
        try:
            return Program([*self._command, " ".join([command, *map(_quoted, arguments)])], self.timeout, self._explain)
        except OSError as error:
            raise ConfigError(
                f"cannot run {self._command[0]!r}: {error.strerror}",
                remedy="install OpenSSH's client, or name another: clone.ssh_command (GIT_SSH_COMMAND)",
                param="clone.ssh_command",
            ) from None


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        words, why = [], str(error).lower()
    else:
        why = "it is empty"
    if not words:
        raise ConfigError(
            f"clone.ssh_command is no command: {why}",
            code="config.bad_value",
            remedy="give a program and its options: ssh -F /path/to/config",
            param="clone.ssh_command",
        )
    return words


def _quoted(text: str) -> str:
    """As git's ``sq_quote``: always in quotes, which some hosts of repositories want to see."""
    return "'" + text.replace("'", "'\\''").replace("!", "'\\!'") + "'"


class SshClient(StreamClient):
    """git's protocol through ssh."""

    def __init__(self, caller: Caller, access: Access) -> None:
        super().__init__(access)
        self._caller = caller

    def open(self, service: str, path: str) -> Stream:
        """Start ssh."""
        return self._caller.call(service, path)


class _Answer(msgspec.Struct, frozen=True):
    """What ``git-lfs-authenticate`` prints."""

    href: str = ""
    header: dict[str, str] = {}
    expires_in: float = 0.0


class LfsLogin:
    """Asks a host where its large files are, with which headers, and for how long that is true.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/server-discovery.md#ssh.
    """

    def __init__(self, caller: Caller, path: str, maximum: int) -> None:
        """``maximum`` is how many bytes an answer may have."""
        self._caller = caller
        self._path = path
        self._maximum = maximum
        self._known: LargeFiles | None = None
        self._until = 0.0

    def __call__(self) -> LargeFiles:
        """Where they are, as known or asked anew.

        Raises:
            RemoteError: the host refuses, or answers nonsense.
        """
        if self._known is None or time.monotonic() >= self._until:
            answer = self._ask()
            lifetime = answer.expires_in - _MARGIN if answer.expires_in > 0 else math.inf
            self._until = time.monotonic() + lifetime
            endpoint = answer.href or derived_endpoint(self._caller.host, self._path)
            if not endpoint.startswith(("https://", "http://")):  # SECURITY: a path would be one of this machine
                raise RemoteError(
                    f"{self._caller.name} names a place for large files that is no http(s) URL", code="url.scheme"
                )
            self._known = LargeFiles(endpoint, answer.header)
        return self._known

    def _ask(self) -> _Answer:
        caller = self._caller
        with closing(caller.call("git-lfs-authenticate", self._path, "download")) as program:
            program.end()
            text = self._read(program)
            status, said = program.finish()
        if lacks_lfs(status, said):
            return _Answer()
        if status != 0:
            raise ssh_error(status, said, caller.name, caller.timeout, caller.port) or RemoteError(
                f"{caller.name} does not say where its large files are"
            )
        try:
            return msgspec.json.decode(text, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RemoteError(f"{caller.name} answers git-lfs-authenticate with something else: {error}") from error

    def _read(self, program: Program) -> bytes:
        text, caller = b"", self._caller
        try:
            while piece := program.receive(_CHUNK):
                text += piece
                if len(text) > self._maximum:
                    raise RemoteError(
                        f"{caller.name} answers with more than {self._maximum:,} bytes", code="remote.limit"
                    )
        except TimeoutError:
            raise RemoteError(
                f"{caller.host} did not answer within {caller.timeout:g} s",
                code="remote.timeout",
                remedy="try again, or raise clone.timeout (HYPRSTREAM_CLONE_TIMEOUT)",
            ) from None
        return text
