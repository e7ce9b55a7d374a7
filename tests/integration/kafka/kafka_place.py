"""A deployment with one source of a topic; time passes as told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from kafka_broker import Broker

from dataops_assets.components.platform import Platform
from dataops_assets.config.databases import AnyConnection, Connections
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import FoundInputs, ReadingTime
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input, StepReport
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.parse import parse
from dataops_assets.steps.refresh import refresh
from dataops_assets.storage.raw import RawArea

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
COLUMNS = [
    {"name": "id", "type": "integer", "source_name": "kafka.key", "nullable": False},
    {"name": "city"},
    {"name": "gone", "type": "boolean", "source_name": "kafka.tombstone"},
]


class Place:
    """A home with the source `orders`, which reads `topic`."""

    def __init__(self, home: Path, kafka: Broker, topic: str, **connection: Any) -> None:
        self.environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        self.metadata = MetadataStore(self.environment.metadata_url)
        self.metadata.migrate()
        self.cluster: dict[str, Any] = {"type": "kafka", "bootstrap_servers": [kafka.address], "timeout_seconds": 60}
        self.connection: dict[str, Any] = {"type": "kafka", "cluster": "main", "topic": topic, **connection}
        self.declared: dict[str, Any] = {
            "columns": COLUMNS,
            "refresh": {"type": "key", "key": ["id"], "delete_when": "gone"},
        }
        self.now = NOON
        # for a connection whose reader is Spark
        self.spark: SparkEngine | None = None

    @property
    def source(self) -> Source:
        return Source.model_validate({"name": "orders", "area": "shop", "connection": self.connection, **self.declared})

    @property
    def connections(self) -> dict[str, AnyConnection]:
        return Connections.model_validate({"connections": {"main": self.cluster}}).connections

    def found(self, limit: ReadingTime | None = None) -> FoundInputs:
        self.now += dt.timedelta(minutes=2)
        return discover(
            self.source,
            self.environment,
            self.metadata,
            now=self.now,
            databases=self.connections,
            limit=limit or ReadingTime(),
            spark=self.spark,
        )

    def look(self) -> list[Input]:
        return self.found().new

    def stored(self, items: list[Input]) -> list[tuple[int, int]]:
        """Partition and offset of the stored messages, in order."""
        raw = RawArea.of(self.environment.storage, "orders")
        rows = [row for item in items for row in pq.read_table(raw.sound_path(item)).to_pylist()]
        return [(row["partition"], row["offset"]) for row in rows]

    def run(self, items: list[Input]) -> dict[str, StepReport]:
        """Run the steps on inputs, which must not fail."""
        context = Platform(self.environment).source_context(self.source, {"orders": self.source})
        reports = {step.__name__: step(context, items) for step in (ingest, parse, cdc, enrich, refresh)}
        assert not [failed for report in reports.values() for failed in report.failures]
        return reports

    def hub(self, *names: str) -> list[dict[str, Any]]:
        context = Platform(self.environment).source_context(self.source, {"orders": self.source})
        with context.engine.session() as session:
            snapshot = context.hub.snapshot()
            assert snapshot is not None
            table = session.fetch(query("SELECT * FROM $hub AS h ORDER BY id", hub=session.scan(snapshot)))
        return [{name: row[name] for name in names} for row in table.to_pylist()]

    def rejected(self) -> list[tuple[str, str]]:
        """Reason and raw record of each row of the quarantine."""
        context = Platform(self.environment).source_context(self.source, {"orders": self.source})
        with context.engine.session() as session:
            snapshot = context.quarantine.snapshot()
            assert snapshot is not None
            table = session.fetch(query("SELECT * FROM $rows AS q ORDER BY s_row_id", rows=session.scan(snapshot)))
        return [(row["s_reason"], row["s_record"]) for row in table.to_pylist()]
