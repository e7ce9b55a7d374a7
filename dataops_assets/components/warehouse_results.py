"""The newest check results of tables that no source makes, as Dagster stores them, for incidents and for the report."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg

from dataops_assets.incidents.grouping import Lineage
from dataops_assets.reporting.facts import Row, WarehouseTable

COLUMN = "column"
"""Key in the metadata of a check result: the column that it is about."""
FAILING_ROWS = "failing_rows"
"""Key in the metadata of a check result: the number of rows that fail it."""

_LINEAGE = "dagster/column_lineage"
_ROWS = "dagster/row_count"


@dataclass(frozen=True)
class NewestResult:
    """The newest result of one check of a table. `numbers` are the plain values of its metadata."""

    asset: dg.AssetKey
    check: str
    passed: bool
    severity: Literal["warn", "fail"]
    description: str
    numbers: Mapping[str, Any]
    at: dt.datetime


def newest_results(checks: Iterable[dg.AssetCheckKey], instance: dg.DagsterInstance) -> Iterator[NewestResult]:
    """Return the newest result of each of these checks that ran."""
    for check in sorted(checks):
        found = newest_evaluation(check, instance)
        if found is None:
            continue
        result, at = found
        yield NewestResult(
            check.asset_key,
            check.name,
            result.passed,
            "fail" if result.severity == dg.AssetCheckSeverity.ERROR else "warn",
            result.description or "",
            {name: value.value for name, value in result.metadata.items()},
            at,
        )


def newest_evaluation(
    check: dg.AssetCheckKey, instance: dg.DagsterInstance
) -> tuple[dg.AssetCheckEvaluation, dt.datetime] | None:
    """Return the newest result of a check as Dagster stores it, and its time; None if the check did not run."""
    record = instance.get_latest_asset_check_evaluation_record(check)
    entry = record.event if record is not None else None
    event = entry.dagster_event if entry is not None else None
    if entry is None or event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return None
    return event.asset_check_evaluation_data, dt.datetime.fromtimestamp(entry.timestamp, dt.UTC)


def warehouse_tables(
    declared: dg.Definitions, instance: dg.DagsterInstance, sources: Collection[str]
) -> dict[str, WarehouseTable]:
    """Return by asset key the tables of the warehouse that were checked, as the report needs them.

    `declared` has the assets and checks of all tables, `sources` are the names of the declared sources.
    """
    assets = [item for item in declared.assets or () if isinstance(item, dg.AssetsDefinition)]
    checks = {spec.key for item in (*assets, *(declared.asset_checks or ())) for spec in item.check_specs}
    specs = {spec.key: spec for item in assets for spec in item.specs}
    lineage = Lineage(
        {
            key.to_user_string(): sorted(dep.asset_key.to_user_string() for dep in spec.deps)
            for key, spec in specs.items()
        }
    )
    tables = [key for key in sorted(specs) if key.path[0] == "warehouse"]
    made = {key: instance.get_latest_materialization_event(key) for key in tables}
    origins = _Origins(
        {
            key: entry.asset_materialization.metadata
            for key, entry in made.items()
            if entry and entry.asset_materialization
        }
    )
    found: dict[str, list[Row]] = {}
    for result in newest_results((check for check in checks if check.asset_key in made), instance):
        found.setdefault(result.asset.to_user_string(), []).append(_row(result, origins))
    return {
        asset: WarehouseTable(
            specs[dg.AssetKey.from_user_string(asset)].group_name or "",
            frozenset(name for name in sources if not lineage.above(asset).isdisjoint({f"raw/{name}", f"hub/{name}"})),
            rows,
        )
        for asset, rows in found.items()
    }


def _row(result: NewestResult, origins: _Origins) -> Row:
    """Return a result as a row like those of `check_results`; `columns` are those of sources that it is about."""
    column, failing = result.numbers.get(COLUMN), result.numbers.get(FAILING_ROWS)
    named = [column] if isinstance(column, str) else origins.named_in(result.asset, result.description)
    numbers: dict[str, Any] = {}
    explanation = result.description
    if isinstance(failing, int):
        numbers = {"failing rows": failing, "rows": origins.rows(result.asset)}
        explanation = f"{explanation}; see the rows: dbt show --select {result.check}"
    return {
        "source": "",
        "asset": result.asset.to_user_string(),
        "kind": result.check,
        "input_id": None,
        "passed": result.passed,
        "severity": result.severity,
        "explanation": explanation,
        "numbers": numbers,
        "checked_at": result.at,
        "columns": sorted({origin for name in named for origin in origins.of(result.asset, name)}),
    }


class _Origins:
    """The columns of sources that the columns of the tables are made of, as the newest builds tell."""

    def __init__(self, metadata: Mapping[dg.AssetKey, Mapping[str, dg.MetadataValue[Any]]]) -> None:
        self._metadata = metadata

    def rows(self, asset: dg.AssetKey) -> int | None:
        """Return the rows of a table; None if it was never built."""
        value = self._metadata.get(asset, {}).get(_ROWS)
        return value.value if value is not None and isinstance(value.value, int) else None

    def named_in(self, asset: dg.AssetKey, text: str) -> list[str]:
        """Return the columns of a table whose names are in a text."""
        return [name for name in self._columns(asset) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]

    def of(self, asset: dg.AssetKey, column: str) -> Iterator[str]:
        """Return the columns that a column is made of, as 'source.column'."""
        for dep in self._columns(asset).get(column.lower(), ()):
            if dep.asset_key.path[0] == "hub":
                yield f"{dep.asset_key.path[-1].removesuffix('_current')}.{dep.column_name}"
            else:
                yield from self.of(dep.asset_key, dep.column_name)

    def _columns(self, asset: dg.AssetKey) -> Mapping[str, Any]:
        value = self._metadata.get(asset, {}).get(_LINEAGE)
        deps = value.value.deps_by_column if isinstance(value, dg.TableColumnLineageMetadataValue) else {}
        return {name.lower(): found for name, found in deps.items()}
