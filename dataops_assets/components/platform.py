"""What all assets and sensors of a code location work with: one environment, one engine, one metadata store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from dataops_assets.config.environment import EngineName, Environment
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Engine
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.workspace import Workspace

_ENGINES: Mapping[EngineName, Callable[[Environment], Engine]] = {"duckdb": DuckDBEngine}


class Platform:
    """Opens workspaces. Creating one does no I/O; the metadata tables are made or brought up to date at first use.

    Safe for the threads of a code server, which share it.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._lock = threading.Lock()
        self._metadata: MetadataStore | None = None
        self._engine: Engine | None = None

    @property
    def metadata(self) -> MetadataStore:
        """The metadata store, ready to use. Raises StorageError where the database cannot be reached."""
        with self._lock:
            if self._metadata is None:
                store = MetadataStore(self.environment.metadata_url)
                store.migrate()
                self._metadata = store
            return self._metadata

    @property
    def engine(self) -> Engine:
        """The environment's engine."""
        with self._lock:
            if self._engine is None:
                self._engine = _ENGINES[self.environment.engine](self.environment)
            return self._engine

    def workspace(self, source: Source, sources: Mapping[str, Source]) -> Workspace:
        """The world of one source's steps; `sources` holds every source of the code location, by name."""
        return Workspace(self.environment, source, sources, self.engine, self.metadata)
