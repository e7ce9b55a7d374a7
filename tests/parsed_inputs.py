"""Files of a source in the raw area, parsed by step 2 into the lake and the quarantine, without Dagster."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from declared import arrived
from empty_metadata import empty_metadata

from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input
from dataops_assets.sql import query
from dataops_assets.steps.parse import parse
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import Table

_DATABASE = "metadata.db"
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Parsed:
    """What step 2 made: by file name the counts and the error ('' for none), and the tables."""

    context: SourceContext
    counts: Mapping[str, Mapping[str, int]]
    errors: Mapping[str, str]

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        return self._of(self.context.lake, columns)

    def rejected(self, *columns: str) -> list[tuple[Any, ...]]:
        return self._of(self.context.quarantine, columns)

    def _of(self, table: Table, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
        snapshot = table.snapshot()
        if snapshot is None:
            return []
        with self.context.engine.session() as session:
            stored = session.scan(snapshot)
            found = session.fetch(query("SELECT * FROM $t AS t ORDER BY s_input_id, s_row_id", t=stored))
        return list(zip(*(found.column(name).to_pylist() for name in columns), strict=True))


def parsed_inputs(
    engine: DuckDBEngine, home: Path, source: Source, files: Mapping[str, bytes], **variables: str
) -> Parsed:
    """Deliver files, one a day, and parse them in one run."""
    context = context_for(engine, home, source, **variables)
    inputs = delivered(context, files)
    report = {item.input_id: item for item in parse(context, list(inputs.values())).inputs}
    found = {name: report[item.input_id] for name, item in inputs.items()}
    return Parsed(
        context,
        {name: item.counts for name, item in found.items()},
        {name: str(item.error or "") for name, item in found.items()},
    )


def context_for(engine: DuckDBEngine, home: Path, source: Source, **variables: str) -> SourceContext:
    """The context of a source with everything below `home`."""
    environment = _environment(home, **variables)
    home.mkdir(parents=True, exist_ok=True)
    (home / _DATABASE).write_bytes(empty_metadata())
    metadata = MetadataStore(environment.metadata_url)
    metadata.contracts.register(source)
    return SourceContext(environment, source, {source.name: source}, engine, metadata)


def delivered(context: SourceContext, files: Mapping[str, bytes]) -> dict[str, Input]:
    """Put files into the raw area, one a day, as ingest does."""
    inputs = {}
    for day, (name, content) in enumerate(files.items()):
        digest, time = hashlib.sha256(content).hexdigest(), START + dt.timedelta(days=day)
        inputs[name] = arrived(time, f"{time:%Y-%m-%d}_{digest[:6]}", digest, f"/landing/{name}", len(content))
        context.raw.add(inputs[name], [content], None)
    context.metadata.register_inputs(context.source.name, list(inputs.values()))
    return inputs


def _environment(home: Path, **variables: str) -> Environment:
    return environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home), **variables}, home)
