"""Every hook of hyprstream, in one file.

A plugin is a module with ``api_version = "1.0"`` and functions marked ``@hookimpl``, named by an entry
point in the group ``hyprstream.plugins``. Hooks **yield frozen records**; they do no work. Core asks
each plugin once, at start-up, and never on a hot path. Arguments have no default values.

Each docstring ends with two fixed lines: ``Called in:`` says who asks, ``Combine:`` how the answers of
several plugins become one. ``docs/hooks.md`` is generated from this file.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from hyprstream_core.interfaces.command import Command
from hyprstream_core.interfaces.device import DeviceBackend
from hyprstream_core.interfaces.model import Architecture
from hyprstream_core.interfaces.response import ResponseFormat
from hyprstream_core.interfaces.service import Service
from hyprstream_core.interfaces.settings import Settings
from hyprstream_core.interfaces.storage import StorageFilter, WorktreeDriver
from hyprstream_core.interfaces.transport import GitTransport, RpcTransport
from hyprstream_core.telemetry import Event

hookspec = pluggy.HookspecMarker("hyprstream")


@hookspec
def hyprstream_architectures() -> Iterable[Architecture]:
    """Model families that can be served.

    Example::

        @hookimpl
        def hyprstream_architectures():
            yield Architecture(
                name="qwen3",
                hf_architectures=("Qwen3ForCausalLM",),
                model_types=("qwen3",),
                load="hyprstream_qwen.qwen3:Qwen3",
            )

    Called in: the engine process, when a model is loaded; the registry, when one is inspected.
    Combine: by name; a duplicate name is an error.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_device_backends() -> Iterable[DeviceBackend]:
    """Hardware targets: how tensors are placed, packed, attended over and sampled from.

    Example::

        @hookimpl
        def hyprstream_device_backends():
            yield DeviceBackend("cuda", probe="hyprstream_cuda:probe", load="hyprstream_cuda.backend:Cuda")

    Called in: the engine process, once, before the first model is loaded.
    Combine: the configured ``engine.device``, else the best ``probe()`` score.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_storage_filters() -> Iterable[StorageFilter]:
    """Kinds of pointer files that stand in git for large content.

    Example::

        @hookimpl
        def hyprstream_storage_filters():
            yield StorageFilter("lfs", sniff=b"version https://git-lfs", load="my_lfs:Lfs")

    Called in: the model store, when a tree is checked out.
    Combine: by the longest matching ``sniff`` prefix; a duplicate name is an error.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_worktree_drivers() -> Iterable[WorktreeDriver]:
    """Ways to fill a worktree with large files that are already in the store.

    Example::

        @hookimpl
        def hyprstream_worktree_drivers():
            yield WorktreeDriver("reflink", load="hyprstream_core.builtin.worktree_drivers:Reflink")

    Called in: the model store, when a worktree is made.
    Combine: the configured ``clone.worktree_driver``, else the best ``probe()`` on the target file system.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_git_transports() -> Iterable[GitTransport]:
    """URL schemes that ``hyprstream clone`` can fetch from.

    Example::

        @hookimpl
        def hyprstream_git_transports():
            yield GitTransport("demo", schemes=("demo",), load="hyprstream_demo.transport:DemoTransport")

    Called in: the model store, when a remote is contacted.
    Combine: by URL scheme; two transports for one scheme are an error.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_rpc_transports() -> Iterable[RpcTransport]:
    """Endpoint schemes that services can be bound to. Clients need none: ZeroMQ connects by itself.

    Whoever runs a :class:`~hyprstream_core.rpc.server.Server` can bind it to any of these schemes. ``ipc`` and
    ``inproc`` are built in, and ``ipc`` is what ``hyprstream server`` binds its services to.

    Example::

        @hookimpl
        def hyprstream_rpc_transports():
            yield RpcTransport("ipc", schemes=("ipc",), load="hyprstream_core.builtin.rpc:Ipc")

    Called in: processes that host services, when these bind their endpoints.
    Combine: by endpoint scheme; two transports for one scheme are an error.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_services() -> Iterable[Service]:
    """Services that are called over RPC: classes as ``hyprstream_core/hosting.py`` describes them.

    ``hyprstream server`` runs each service of a plugin in a process of its own, named like the service, beside those
    of core. It is made from all settings, starts once core's services are ready, makes nobody wait, and is started
    again whenever it ends or could not be started; the log says so. What calls it finds it at
    ``endpoint(name, "ipc", settings.runtime_dir)``. ``/readyz`` is about core's services alone.

    Example::

        @hookimpl
        def hyprstream_services():
            yield Service("registry", load="hyprstream_core.services.registry:RegistryService")

    Called in: the supervisor of ``hyprstream server``, at start-up; ``hyprstream infer`` when no server runs.
    Combine: by name; a duplicate name is an error.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_response_formats() -> Iterable[ResponseFormat]:
    """Markup in which a model family writes reasoning and tool calls.

    Example::

        @hookimpl
        def hyprstream_response_formats():
            yield ResponseFormat("hermes", detect=("<tool_call>",), load="hyprstream_qwen.hermes:HermesParser")

    Called in: the front, once per model commit, with its chat template.
    Combine: the format with the most ``detect`` strings that all occur in the template.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_commands() -> Iterable[Command]:
    """Verbs of the ``hyprstream`` command line.

    Example::

        @hookimpl
        def hyprstream_commands():
            yield Command("server", help="Serve the HTTP API.", load="hyprstream_api.command:server")

    Called in: the command line, at start; the click command itself is imported when it runs.
    Combine: by name; a duplicate name is an error.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_settings() -> Iterable[Settings]:
    """A plugin's own configuration section, under the plugin's own name.

    Example::

        class DemoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
            cache_dir: str = ""
            '''Where the demo repository is unpacked.'''


        @hookimpl
        def hyprstream_settings():
            yield Settings("demo", DemoSettings)

    Called in: configuration, after the plugins are loaded.
    Combine: one section per plugin, by its entry point's name; another name is an error.
    """
    raise AssertionError("specification only")


@hookspec
def hyprstream_observe(event: Event) -> None:
    """Something happened in this process. Must return quickly.

    ``model.cloned`` (fields ``model uuid url branch commit``) by the verb ``clone``; ``model.loaded`` (``model commit
    seconds``) and ``request.finished`` (``request_id model commit prompt_tokens generated_tokens seconds finished``)
    by the inference service, which is in the engine process or, without a server, in that of ``hyprstream infer``.

    Example::

        @hookimpl
        def hyprstream_observe(event):
            if event.name == "model.loaded":
                print(event.fields["model"])

    Called in: the process where it happens, after the fact.
    Combine: all are called; an exception is logged, never raised.
    """
    raise AssertionError("specification only")
