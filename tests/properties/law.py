"""Runs generated inputs through change capture, enrichment and refresh on real tables, in any order and grouping."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from declared import arrived
from reference import GivenInput

from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Engine
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.refresh import refresh, remove
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.publish import replace_inputs

ARROW = {"text": pa.string(), "integer": pa.int64(), "double": pa.float64(), "timestamptz": pa.timestamp("us", "UTC")}
_DATABASE = "metadata.db"
TEXT = ARROW["text"]
ARROW["decimal(38,0)"] = pa.decimal128(38, 0)


def as_input(given: GivenInput) -> Input:
    """The registered form of a generated input."""
    digest = hashlib.sha256((given.content or given.input_id).encode()).hexdigest()
    arrival = given.time + dt.timedelta(minutes=given.arrival)
    last = given.time + dt.timedelta(days=days_of(given) - 1)
    manifest = json.dumps({"days": {"from": f"{given.time:%Y%m%d}", "through": int(f"{last:%Y%m%d}")}})
    found = arrived(given.time, given.input_id, digest, "generated", len(given.rows), arrival=arrival)
    return replace(found, manifest=manifest)


def days_of(given: GivenInput) -> int:
    """The length of the period in the manifest of a generated input; inputs of one time are versions of one file."""
    return 1 + given.time.toordinal() % 4


def _environment(home: Path) -> Environment:
    return environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)


@cache
def _empty_metadata() -> bytes:
    """A metadata database with its tables, made once: migrations take longer than an example."""
    with tempfile.TemporaryDirectory() as place:
        MetadataStore(_environment(Path(place)).metadata_url).migrate()
        return (Path(place) / _DATABASE).read_bytes()


def workspace_for(source: Source, home: Path, engine: Engine | None = None) -> SourceContext:
    """A context with everything below `home`."""
    environment = _environment(home)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / _DATABASE).exists():
        (home / _DATABASE).write_bytes(_empty_metadata())
    metadata = MetadataStore(environment.metadata_url)
    return SourceContext(environment, source, {source.name: source}, engine or DuckDBEngine(environment), metadata)


def land(context: SourceContext, given: Sequence[GivenInput]) -> None:
    """Put parsed rows into the lake, as the parse step would; undeclared columns where a row has them."""
    columns = {item.name: ARROW[item.type] for item in context.source.columns}
    columns |= dict.fromkeys((name for item in given for row in item.rows for name in row if name not in columns), TEXT)
    data: dict[str, list[Any]] = {name: [] for name in (*columns, "s_input_id", "s_row_id")}
    for item in given:
        for position, row in enumerate(item.rows):
            for name in columns:
                data[name].append(row.get(name))
            data["s_input_id"].append(item.input_id)
            data["s_row_id"].append(position)
    kinds = {**columns, "s_input_id": pa.string(), "s_row_id": pa.int64()}
    rows = pa.table({name: pa.array(values, kinds[name]) for name, values in data.items()})
    with context.engine.session() as session:
        landed = session.register(rows)
        replace_inputs(
            session,
            context.lake,
            query("SELECT l.* FROM $landed AS l", landed=landed),
            [item.input_id for item in given],
            keep_same=True,
        )


def arrive(context: SourceContext, given: Sequence[GivenInput]) -> None:
    """One run over a group of inputs: parse, compare, enrich, refresh."""
    land(context, given)
    inputs = [as_input(item) for item in given]
    cdc(context, inputs)
    enrich(context, inputs)
    refresh(context, inputs)


def leave(context: SourceContext, ids: Sequence[str]) -> None:
    """Remove inputs from the hub."""
    remove(context, ids)


def hub_rows(context: SourceContext, table: str = "") -> list[Mapping[str, Any]]:
    """All rows of the hub, or of another table."""
    snapshot = (context.table(table) if table else context.hub).snapshot()
    if snapshot is None:
        return []
    with context.engine.session() as session:
        return session.fetch(query("SELECT * FROM :hub AS h", hub=session.scan(snapshot))).to_pylist()


def at(day: int) -> dt.datetime:
    """A whole day as an extract time."""
    return dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=day)
