"""The resource of all assets and sensors of a code location: one environment, its engines, one metadata store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from dataops_assets.config.environment import EngineName, Environment
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Engine
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.metadata.declaration_store import Declaration
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.source_context import SourceContext

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def spark_session(settings: Mapping[str, str]) -> SparkSession:
    """Create a Spark session with these settings, through Dagster's resource."""
    from dagster_pyspark import LazyPySparkResource

    session: SparkSession = LazyPySparkResource(spark_config=dict(settings)).spark_session
    return session


@dataclass(frozen=True)
class NotTaken:
    """The files and arrivals that the last look at a source did not take.

    `unsettled` are messages about files that are still being written, `refused` about arrivals that cannot be taken.
    """

    unsettled: Sequence[str] = ()
    refused: Sequence[str] = ()


class Platform:
    """Creates source contexts. Its constructor does no I/O; the first use creates or upgrades the metadata tables.

    `not_taken` has, by source, what the last look of this process did not take. The threads of a code server share a
    platform safely. `blocking_checks` are the names of the blocking checks by asset key. `spark` is the one engine for
    steps and readers that run on Spark.
    """

    def __init__(
        self,
        environment: Environment,
        blocking_checks: Mapping[str, Sequence[str]] = MappingProxyType({}),
        declared: Callable[[], Sequence[Declaration]] | None = None,
        relations: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Take the environment; `declared` returns all that the code location declares.

        `relations` are the tables of models by asset key, as dbt names them in SQL.
        """
        self.environment = environment
        self.blocking_checks = blocking_checks
        self.relations = relations
        self._declared = declared
        self.not_taken: dict[str, NotTaken] = {}
        self._lock = threading.Lock()
        self._metadata: MetadataStore | None = None
        self._incidents: IncidentStore | None = None
        # they start nothing before their first session
        self._duckdb = DuckDBEngine(environment)
        self.spark = SparkEngine(environment, spark_session)

    @property
    def metadata(self) -> MetadataStore:
        """Return the metadata store, ready to use. Raises StorageError if the database cannot be reached."""
        with self._lock:
            if self._metadata is None:
                store = MetadataStore(self.environment.metadata_url)
                store.migrate()
                self._metadata = store
            return self._metadata

    def declared_now(self) -> Sequence[Declaration]:
        """Return what the code location declares; nothing if that is recorded already."""
        return self._declared() if self._declared is not None else ()

    def record_declarations(self) -> None:
        """Record once in this process with what declarations the deployment runs.

        Sensors call it: they belong to the code that is deployed. A run may have begun with the code before.
        """
        declared, self._declared = self._declared, None
        if declared is not None:
            self.metadata.declarations.record(declared())

    @property
    def incidents(self) -> IncidentStore:
        """Return the store of incidents; one for all looks, which keeps its connections."""
        with self._lock:
            if self._incidents is None:
                self._incidents = IncidentStore(self.environment.metadata_url)
            return self._incidents

    @property
    def engine(self) -> Engine:
        """Return the environment's engine."""
        return self.engine_of(self.environment.engine)

    def engine_of(self, name: EngineName) -> Engine:
        """Return the engine of this name; all sources that run on it share one."""
        return self.spark if name == "spark" else self._duckdb

    def source_context(self, source: Source, sources: Mapping[str, Source]) -> SourceContext:
        """Return the context of one source's steps; `sources` are all sources of the code location by name."""
        engine = self.engine_of(source.engine or self.environment.engine)
        return SourceContext(self.environment, source, sources, engine, self.metadata)
