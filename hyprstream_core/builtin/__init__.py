"""The hooks' first users: everything built in registers here exactly as a third party's plugin would."""

from __future__ import annotations

from collections.abc import Iterable

from hyprstream_core import hookimpl
from hyprstream_core.builtin.commands import COMMANDS
from hyprstream_core.interfaces.command import Command
from hyprstream_core.interfaces.device import DeviceBackend
from hyprstream_core.interfaces.service import Service
from hyprstream_core.interfaces.storage import StorageFilter, WorktreeDriver
from hyprstream_core.interfaces.transport import GitTransport, RpcTransport

api_version = "1.0"


@hookimpl
def hyprstream_commands() -> Iterable[Command]:
    """The verbs of core."""
    yield from COMMANDS


@hookimpl
def hyprstream_device_backends() -> Iterable[DeviceBackend]:
    """The processor, by torch alone."""
    yield DeviceBackend("cpu", probe="hyprstream_core.builtin.cpu:probe", load="hyprstream_core.builtin.cpu:CpuBackend")


@hookimpl
def hyprstream_services() -> Iterable[Service]:
    """The registry, and the inference engine."""
    yield Service("registry", load="hyprstream_core.services.registry:RegistryService")
    yield Service("inference", load="hyprstream_core.services.inference:InferenceService")


@hookimpl
def hyprstream_rpc_transports() -> Iterable[RpcTransport]:
    """Inside one process, and between the processes of one user."""
    yield RpcTransport("inproc", schemes=("inproc",), load="hyprstream_core.builtin.rpc:Inproc")
    yield RpcTransport("ipc", schemes=("ipc",), load="hyprstream_core.builtin.rpc:Ipc")


@hookimpl
def hyprstream_storage_filters() -> Iterable[StorageFilter]:
    """Git LFS."""
    yield StorageFilter(
        "lfs", sniff=b"version https://git-lfs.github.com/spec/", load="hyprstream_core.builtin.lfs:Lfs"
    )


@hookimpl
def hyprstream_worktree_drivers() -> Iterable[WorktreeDriver]:
    """Shared blocks, shared files, and plain copies."""
    yield WorktreeDriver("reflink", load="hyprstream_core.builtin.worktree_drivers:Reflink")
    yield WorktreeDriver("hardlink", load="hyprstream_core.builtin.worktree_drivers:Hardlink")
    yield WorktreeDriver("copy", load="hyprstream_core.builtin.worktree_drivers:Copy")


@hookimpl
def hyprstream_git_transports() -> Iterable[GitTransport]:
    """git's smart HTTP, ssh, git's own protocol, and repositories on this machine."""
    folder = "hyprstream_core.builtin.transports"
    yield GitTransport("http", schemes=("http", "https"), load=f"{folder}.http:Http")
    yield GitTransport("ssh", schemes=("ssh",), load=f"{folder}.ssh:Ssh")
    yield GitTransport("git", schemes=("git",), load=f"{folder}.daemon:Daemon")
    yield GitTransport("file", schemes=("file",), load=f"{folder}.files:Files")
