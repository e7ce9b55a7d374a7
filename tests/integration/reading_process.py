"""A process that looks at a source and ingests what it finds, and that may be killed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover, waiting
from dataops_assets.connections.look import FoundInputs
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.recording import Step, run_recorded
from dataops_assets.steps.source_context import SourceContext


class Killed(BaseException):
    """The process ends here."""


class Reader:
    """A process that looks and ingests; a new one knows what is recorded."""

    def __init__(self, home: Path, declared: dict[str, Any]) -> None:
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        source = Source.model_validate(declared)
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        self.context = SourceContext(environment, source, {"orders": source}, DuckDBEngine(environment), metadata)

    def look(self, later: float = 0) -> FoundInputs:
        """Look now, or some seconds `later`."""
        context, now = self.context, dt.datetime.now(dt.UTC) + dt.timedelta(seconds=later)
        return discover(context.source, context.environment, context.metadata, now=now)

    def ingest(self) -> None:
        inputs = waiting(self.context.source, self.context.metadata)
        step = Step("ingest", "raw/orders", ingest)
        run_recorded(self.context, step, inputs, [item.input_id for item in inputs], "run")

    def orders(self) -> list[str]:
        inputs = {item.input_id: item for item in self.context.metadata.inputs("orders")}
        return sorted(self.context.raw.local_path(inputs[name]).read_text() for name in self.context.raw.inputs())
