"""Reads the tables of other code locations from the events of the shared Dagster instance.

Code locations share a Dagster instance, and not their declarations. Each materialization names the assets that it read,
and may have the lineage of its columns. What was never materialized is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

import dagster as dg

from dataops_assets.components.other_tables import OtherTable

CONDITIONS = "row_conditions"
"""Key in the metadata of an event: the columns that decide which rows a table has, as JSON."""

_READ = "dagster/input_event_pointer/"
_LINEAGE = "dagster/column_lineage"
_AT_ONCE = 500


def other_tables(made: Set[str]) -> list[OtherTable]:
    """Return the materialized assets of the instance of DAGSTER_HOME that are not among `made`, with what they read."""
    with dg.DagsterInstance.get() as instance:
        return list(_tables(instance, made))


def row_conditions(columns: Set[tuple[tuple[str, ...], str]]) -> dg.MetadataValue:
    """Return the metadata of an event for the columns that decide the rows of its table."""
    return dg.MetadataValue.json(sorted(["/".join(key), column] for key, column in columns))


def _tables(instance: dg.DagsterInstance, made: Set[str]) -> Iterator[OtherTable]:
    keys = sorted(key for key in instance.get_asset_keys() if key.to_user_string() not in made)
    for start in range(0, len(keys), _AT_ONCE):
        for record in instance.get_asset_records(keys[start : start + _AT_ONCE]):
            newest = record.asset_entry.last_materialization
            event = newest.asset_materialization if newest is not None else None
            if event is not None:
                yield _table(event)


def _table(event: dg.AssetMaterialization) -> OtherTable:
    lineage = event.metadata.get(_LINEAGE)
    found = lineage.value.deps_by_column if isinstance(lineage, dg.TableColumnLineageMetadataValue) else {}
    columns = {
        name: [(origin.asset_key.to_user_string(), origin.column_name) for origin in origins]
        for name, origins in found.items()
    }
    reads = {name.removeprefix(_READ) for name in event.tags or {} if name.startswith(_READ)}
    reads |= {key for origins in columns.values() for key, _ in origins}
    told = event.metadata.get(CONDITIONS)
    pairs: Any = told.value if isinstance(told, dg.JsonMetadataValue) else None
    conditions = None if pairs is None else [(str(key), str(name)) for key, name in pairs]
    return OtherTable(event.asset_key.to_user_string(), sorted(reads), columns, conditions)
