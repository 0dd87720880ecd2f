"""What OpenSSH, git and hosts of repositories say when something is wrong, as errors that say what to do."""

from __future__ import annotations

import re

from hyprstream_core.errors import RemoteError

_SAID = 200
_CHANGED = re.compile(r"HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed|key .* changed", re.IGNORECASE)
_UNKNOWN = re.compile(r"Host key verification failed|No .* host key is known|authenticity of host", re.IGNORECASE)
_DENIED = re.compile(r"Permission denied \(|Too many authentication failures|no more authentication methods", re.I)
_NO_NAME = re.compile(r"Could not resolve hostname|Name or service not known", re.IGNORECASE)
_UNREACHABLE = re.compile(r"Connection refused|No route to host|Network is unreachable", re.IGNORECASE)
_TIMED_OUT = re.compile(r"timed out|Timeout, server .* not responding", re.IGNORECASE)
_NO_REPOSITORY = re.compile(
    r"not appear to be a git repository|not a git repository|repository .*not found|could not be found"
    r"|no such (?:file|repository|project)|does not exist",
    re.IGNORECASE,
)
_NO_PROGRAM = re.compile(r"command not found|git-upload-pack: not found|not recognized as", re.IGNORECASE)
_NO_LFS = re.compile(
    r"git-lfs-authenticate.{0,40}(?:not found|no such)"
    r"|(?:not found|unknown|unrecogni[sz]ed|invalid|not allowed|disallowed|no such)\b.{0,60}git-lfs-authenticate"
    r"|not a git command|interactive git shell is not enabled",
    re.IGNORECASE | re.DOTALL,
)


def lacks_lfs(status: int | None, said: str) -> bool:
    """Whether a host does not know ``git-lfs-authenticate``, rather than having refused it."""
    return status == 127 or bool(_NO_LFS.search(said))


def ssh_error(status: int | None, said: str, host: str, timeout: float, port: int | None = None) -> RemoteError | None:
    """The error for an ssh that ended with ``status`` and ``said`` this on stderr; None when it said nothing."""
    if status == 255 and (error := _connecting(said, host, timeout, port)):
        return error
    if status == 127 or _NO_PROGRAM.search(said):
        return RemoteError(f"{host} has no git for us: {_reason(said)}", remedy="install git on the host")
    if _NO_REPOSITORY.search(said):
        return RemoteError(
            f"{host} has no such git repository, or does not show it to you: {_reason(said)}",
            code="remote.not_found",
            remedy="check the path, and who you are there",
            param="url",
        )
    return RemoteError(f"{host} refuses: {_reason(said)}", remedy="try the same with git") if said.strip() else None


def _connecting(said: str, host: str, timeout: float, port: int | None) -> RemoteError | None:
    """What went wrong before there was a connection."""
    name = host.rpartition("@")[2]
    known, login = (f"[{name}]:{port}", f"ssh -p {port} {host}") if port else (name, f"ssh {host}")
    name = f"{name}:{port}" if port else name
    if _CHANGED.search(said):
        return RemoteError(
            f"the key of {name} is not the one that known_hosts has: it was changed, or somebody is in between",
            code="remote.host_key",
            remedy=f"ask its owner for the new fingerprint; only then: ssh-keygen -R '{known}', "
            f"and connect once with: {login}",
            param="url",
        )
    if _UNKNOWN.search(said):
        return RemoteError(
            f"the key of {name} is not known here",
            code="remote.host_key",
            remedy=f"connect once with: {login}; compare the fingerprint with the one that its owner publishes",
            param="url",
        )
    if _DENIED.search(said):
        return RemoteError(
            f"{host} does not accept any of your keys: {_reason(said)}",
            code="remote.unauthorized",
            remedy=f"load the key (ssh-add) or name it in ~/.ssh/config; this must work: {login}",
            param="url",
        )
    if _NO_NAME.search(said):
        return _unreachable(f"cannot find {name}: the name is not known", "check the URL's host and the name service")
    if _UNREACHABLE.search(said):
        return _unreachable(f"cannot connect to {name}: {_reason(said)}", "check the URL's port, or try again later")
    if _TIMED_OUT.search(said):
        return RemoteError(
            f"{name} did not answer within {timeout:g} s",
            code="remote.timeout",
            remedy="try again, or raise clone.timeout (HYPRSTREAM_CLONE_TIMEOUT)",
        )
    return RemoteError(f"ssh cannot connect to {name}: {_reason(said)}") if said.strip() else None


def _unreachable(message: str, remedy: str) -> RemoteError:
    return RemoteError(message, code="remote.unreachable", remedy=remedy, param="url")


def _reason(said: str) -> str:
    """The line that says it, printable and not endless: the one that is marked so, else the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no reason"]
    found = next((line for line in lines if line.startswith(("ERROR:", "fatal:", "error:"))), lines[-1])
    return "".join(c if c.isprintable() else "?" for c in found)[:_SAID]
