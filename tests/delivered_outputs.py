"""A hub that a test writes itself, and an output that delivers it: without inputs, steps and Dagster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from empty_metadata import empty_metadata

from dataops_assets.config.databases import Connections
from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.config.outputs import Output
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.deliver import deliver
from dataops_assets.report import StepReport
from dataops_assets.sql import query
from dataops_assets.storage.delta import Table
from dataops_assets.storage.publish import replace_inputs


@dataclass
class OutputPlace:
    """A deployment with the hub `things`, whose key is `id`."""

    home: Path
    databases: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the metadata."""
        self.home.mkdir(parents=True, exist_ok=True)
        if not (self.home / "metadata.db").exists():
            (self.home / "metadata.db").write_bytes(empty_metadata())
        self.engine = DuckDBEngine(self.environment)
        self.metadata = MetadataStore(self.environment.metadata_url)

    @property
    def environment(self) -> Environment:
        return environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(self.home)}, self.home)

    @property
    def source(self) -> Source:
        declared = {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things_*.csv"},
            "columns": [{"name": "id", "type": "integer"}],
            "refresh": {"type": "key", "key": ["id"]},
        }
        return Source.model_validate(declared)

    def publish(self, rows: pa.Table, inputs: Sequence[str] = ("1",)) -> None:
        """Publish a version of the hub in which these inputs have these rows."""
        if "s_input_id" not in rows.column_names:
            rows = rows.append_column("s_input_id", pa.array([inputs[0]] * len(rows), pa.string()))
        with self.engine.session() as session:
            made = session.register(rows)
            hub = Table(f"{self.environment.storage}/hub/things")
            replace_inputs(session, hub, query("SELECT * FROM $rows AS r", rows=made), inputs)

    def output(self, to: Mapping[str, Any], **changes: Any) -> Output:
        return Output.model_validate(
            {"name": "things", "area": "tests", "from": "hub/things", "to": dict(to), **changes}
        )

    def context(self, declared: Output) -> OutputContext:
        databases = Connections.model_validate({"connections": dict(self.databases)}).connections
        return OutputContext(self.environment, declared, {"things": self.source}, databases, self.engine, self.metadata)

    def deliver(self, to: Mapping[str, Any], **changes: Any) -> StepReport:
        return deliver(self.context(self.output(to, **changes)))
