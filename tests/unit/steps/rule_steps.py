"""Workspaces with real tables in a folder, filled directly: change sets for enrich, hubs for recalculate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from declared import arrived
from sqlglot import exp

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.types import described
from dataops_assets.sql import DIALECT, alias, column, query
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish

UNCHECKED = {kind: {"enabled": False} for kind in ("volume", "schema", "distribution")}
CHANGE_SET = {
    "s_key": "VARCHAR",
    "s_input_id": "VARCHAR",
    "s_row_id": "BIGINT",
    "s_order": "TIMESTAMP WITH TIME ZONE",
    "s_row_hash": "BIGINT",
    "s_change": "VARCHAR",
}
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


def context(home: Path, own: Source, *others: Source) -> SourceContext:
    """The context of `own`, with everything below `home`."""
    home.mkdir(parents=True, exist_ok=True)
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
    sources = {item.name: item for item in (own, *others)}
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    return SourceContext(environment, own, sources, DuckDBEngine(environment), metadata)


def an_input(name: str, hour: int = 0) -> Input:
    """An input with a readable id."""
    return arrived(NOON + dt.timedelta(hours=hour), name, name * 8, f"{name}.csv", 1)


def rows_query(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], session: Any) -> exp.Query:
    """Rows as a typed query over a temporary table; what a row leaves out is null."""
    columns = {
        item: pa.array([row.get(item) for row in rows], None if any(item in r for r in rows) else pa.null())
        for item in kinds
    }
    given = session.register(pa.table(columns))
    typed = [alias(exp.cast(column(item), kind, dialect=DIALECT), item) for item, kind in kinds.items()]
    found: exp.Query = query("SELECT $typed FROM $t AS t", typed=typed, t=given)
    return found


def capture(space: SourceContext, changes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Input]:
    """Put change sets, by input name, into lake/<source>_changes; `s_change` is 'new' unless a row says otherwise."""
    kinds = {item.name: described(item.type) for item in space.source.columns} | CHANGE_SET
    rows = [
        {"s_key": f"{name}:{place}", "s_input_id": name, "s_row_id": place, "s_order": NOON, "s_row_hash": place}
        | {"s_change": "new"}
        | dict(row)
        for name, found in changes.items()
        for place, row in enumerate(found)
    ]
    with space.engine.session() as session:
        publish.replace_inputs(session, space.changes, rows_query(rows, kinds, session), list(changes))
    return [an_input(name, hour) for hour, name in enumerate(changes)]


def fill_hub(space: SourceContext, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make hub/<name> hold exactly these rows (with `s_input_id` 'h' and their place, unless they say otherwise)."""
    kinds = dict(compile_rules(space.sources[name], space.sources).hub_columns)
    table = space.table(f"hub/{name}")
    given = [
        {"s_key": str(place), "s_input_id": "h", "s_row_id": place, "s_status": "pass", "s_updated_at": NOON}
        | dict(row)
        for place, row in enumerate(rows)
    ]
    with space.engine.session() as session:
        base = table.snapshot()
        everything = (
            query("SELECT s_file, s_position FROM $b AS b", b=session.scan(base, positions=True)) if base else None
        )
        insert = rows_query(given, kinds, session) if given else None
        publish.apply(session, table, base, publish.RowChange(columns=kinds, remove=everything, insert=insert))


def table_rows(space: SourceContext, key: str, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """All rows of a table in order of input and position, in these columns (all without names)."""
    snapshot = space.table(key).snapshot()
    if snapshot is None:
        return []
    with space.engine.session() as session:
        found: list[dict[str, Any]] = session.fetch(
            query("SELECT * FROM $t AS t ORDER BY s_input_id, s_row_id", t=session.scan(snapshot))
        ).to_pylist()
    return [{name: row[name] for name in names or row} for row in found]
