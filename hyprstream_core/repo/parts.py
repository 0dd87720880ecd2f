"""The plugins' parts that a store is made of: transports, content filters, worktree drivers.

This package does not know the plugin system: it is given records, and a function that imports what they name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hyprstream_core.errors import ConfigError, RemoteError
from hyprstream_core.interfaces.storage import ContentFilter, Materialiser, StorageFilter, WorktreeDriver
from hyprstream_core.interfaces.transport import Access, GitTransport, Transport
from hyprstream_core.telemetry import logger

log = logger(__name__)


class Parts:
    """Records, and the objects they name, each made when it is first needed."""

    def __init__(
        self,
        *,
        transports: Iterable[GitTransport],
        filters: Iterable[StorageFilter],
        drivers: Iterable[WorktreeDriver],
        load: Callable[[str], Any],
        access: Access | None = None,
    ) -> None:
        """``load`` turns ``"module:attribute"`` into the class; ``access`` is handed on."""
        self._transports = {scheme: record for record in transports for scheme in record.schemes}
        self._filters = sorted(filters, key=lambda record: -len(record.sniff))
        self._drivers = {record.name: record for record in drivers}
        self._load = load
        self.access = access or Access()
        self._made: dict[str, Any] = {}

    def _make(self, path: str, kind: type[Any], *arguments: object) -> Any:
        if path not in self._made:
            part = self._load(path)(*arguments)
            if not isinstance(part, kind):
                raise TypeError(f"{path} is a {type(part).__name__}, expected a {kind.__name__}")
            self._made[path] = part
        return self._made[path]

    @property
    def filter_names(self) -> frozenset[str]:
        """The kinds of pointers that are recognised."""
        return frozenset(record.name for record in self._filters)

    def transport(self, scheme: str) -> Transport:
        """Who speaks git for ``scheme``.

        Raises:
            RemoteError: nobody does (code ``url.scheme``).
        """
        record = self._transports.get(scheme)
        if record is None:
            raise RemoteError(
                f"nothing installed can fetch {scheme}:// URLs; known: {', '.join(sorted(self._transports)) or 'none'}",
                code="url.scheme",
                remedy="install the plugin that provides it; see: hyprstream plugins",
                param="url",
            )
        transport: Transport = self._make(record.load, Transport, self.access)
        return transport

    def filter_for(self, head: bytes) -> tuple[str, ContentFilter] | None:
        """The filter whose pointers start as ``head`` does, with its name, or None for ordinary content."""
        for record in self._filters:
            if head.startswith(record.sniff):
                return record.name, self.filter(record.name)
        return None

    def filter(self, name: str) -> ContentFilter:
        """The filter called ``name``."""
        record = next(r for r in self._filters if r.name == name)
        content_filter: ContentFilter = self._make(record.load, ContentFilter, self.access)
        return content_filter

    def driver(self, name: str, directory: Path) -> tuple[str, Materialiser]:
        """The worktree driver called ``name`` (or, for "auto", the best one for ``directory``), and its name.

        Raises:
            ConfigError: it is not installed, or does not work on ``directory``'s file system.
        """
        scores = {n: self._score(n, directory) for n in ([name] if name in self._drivers else self._drivers)}
        best = max(scores, key=lambda n: (scores[n], n), default=None)
        if name not in ("auto", best) or best is None or scores[best] <= 0:
            usable = ", ".join(sorted(n for n, score in scores.items() if score > 0)) or "none"
            raise ConfigError(
                f"worktree driver {name!r} is not available on the file system of {directory}; usable: {usable}",
                remedy='set clone.worktree_driver to "auto"',
                param="clone.worktree_driver",
            )
        return best, self.materialiser(best)

    def _score(self, name: str, directory: Path) -> int:
        """How well a driver works; one that cannot say does not, and is no reason not to use another."""
        try:
            score = self.materialiser(name).probe(directory)
            if not isinstance(score, int):
                raise TypeError(f"probe() returned a {type(score).__name__}, expected an int")
        except Exception:
            log.exception("worktree driver failed", driver=name, directory=str(directory))
            return 0
        return score

    def materialiser(self, name: str) -> Materialiser:
        """The worktree driver called ``name``, wherever it works.

        Raises:
            ConfigError: it is not installed.
        """
        if name not in self._drivers:
            known = ", ".join(sorted(self._drivers)) or "none"
            raise ConfigError(f"there is no worktree driver {name!r}; installed: {known}")
        driver: Materialiser = self._make(self._drivers[name].load, Materialiser)
        return driver
