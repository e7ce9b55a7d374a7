"""What all assets and sensors of a code location work with: one environment, its engines, one metadata store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dataops_assets.config.environment import EngineName, Environment
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Engine
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.source_context import SourceContext

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def spark_session(settings: Mapping[str, str]) -> SparkSession:
    """A Spark session of these settings, by Dagster's resource for it."""
    from dagster_pyspark import LazyPySparkResource

    session: SparkSession = LazyPySparkResource(spark_config=dict(settings)).spark_session
    return session


_ENGINES: Mapping[EngineName, Callable[[Environment], Engine]] = {
    "duckdb": DuckDBEngine,
    "spark": lambda environment: SparkEngine(environment, spark_session),
}


class Platform:
    """Opens workspaces. Creating one does no I/O; the metadata tables are made or brought up to date at first use.

    Safe for the threads of a code server, which share it.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._lock = threading.Lock()
        self._metadata: MetadataStore | None = None
        self._engines: dict[EngineName, Engine] = {}

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
        return self.engine_of(self.environment.engine)

    def engine_of(self, name: EngineName) -> Engine:
        """The engine of this name; one of each, shared by all sources that run on it."""
        with self._lock:
            if name not in self._engines:
                self._engines[name] = _ENGINES[name](self.environment)
            return self._engines[name]

    def source_context(self, source: Source, sources: Mapping[str, Source]) -> SourceContext:
        """The world of one source's steps; `sources` holds every source of the code location, by name."""
        engine = self.engine_of(source.engine or self.environment.engine)
        return SourceContext(self.environment, source, sources, engine, self.metadata)
