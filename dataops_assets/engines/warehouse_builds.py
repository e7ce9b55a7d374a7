"""Reads from the embedded warehouse what each model was built of.

The macro `record_build` of the dbt project writes it, in the transaction that builds the model. So the record and the
rows of a model never disagree, whoever ran dbt and whoever was killed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from dataops_assets.sql import DIALECT, query


@dataclass(frozen=True)
class Build:
    """One build of a model: its id, the versions of the hub and lake tables that it read, and the builds of models.

    A table without rows has the version None. `is_view`: the model stores no rows, so it shows what it reads now.
    """

    build_id: str
    is_view: bool
    versions: Mapping[str, int | None]
    parents: Mapping[str, str]


@dataclass(frozen=True)
class Builds:
    """The builds of a warehouse by asset key, and the versions that its views of hub and lake tables show."""

    by_model: Mapping[str, Build]
    shown: Mapping[str, int | None]


def read_builds(connection: duckdb.DuckDBPyConnection) -> Builds:
    """Return the builds of the warehouse that a connection is open to; none if no record was ever made."""
    there = query(
        "SELECT count(*) FROM duckdb_tables() AS t WHERE t.schema_name = 'dataops' AND t.table_name = 'built'"
    )
    if not _rows(connection, there.sql(DIALECT))[0][0]:
        return Builds({}, {})
    built = query("SELECT b.model, b.build_id, b.is_view, b.versions, b.parents FROM dataops.built AS b")
    shown = query("SELECT p.asset, p.version FROM dataops.pinned AS p")
    return Builds(
        {
            model: Build(build_id, is_view, json.loads(versions), json.loads(parents))
            for model, build_id, is_view, versions, parents in _rows(connection, built.sql(DIALECT))
        },
        dict(_rows(connection, shown.sql(DIALECT))),
    )


def _rows(connection: duckdb.DuckDBPyConnection, text: str) -> list[tuple[Any, ...]]:
    return connection.execute(text).fetchall()
