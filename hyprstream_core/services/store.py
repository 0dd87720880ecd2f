"""Composition of the model store: settings and plugins joined to :class:`hyprstream_core.repo.store.Store`."""

from __future__ import annotations

from hyprstream_core.config import Settings
from hyprstream_core.interfaces.transport import Access
from hyprstream_core.plugins import Plugins, load
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.remotes.credentials import Credentials
from hyprstream_core.repo.store import Store


def open_store(settings: Settings, plugins: Plugins) -> Store:
    """The store at ``settings.models_dir``, with every installed transport, filter and worktree driver."""
    parts = Parts(
        transports=plugins.git_transports(),
        filters=plugins.storage_filters(),
        drivers=plugins.worktree_drivers(),
        load=load,
        access=Access(settings.limits, settings.clone, settings.hub, Credentials(settings.clone, settings.hub)),
    )
    return Store(settings.models_dir, parts, driver=settings.clone.worktree_driver)
