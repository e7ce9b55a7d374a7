"""Three related sources in small, and ways to compile and run rules over literal rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from declared import source
from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.rules.stage import Lookup, Stage
from dataops_assets.sql import DIALECT, identifier, query, table

SALES = {
    "Store": "integer",
    "Date": "date",
    "Sales": "integer",
    "Customers": "integer",
    "Price": "decimal(10,2)",
    "Ratio": "double",
    "Note": "text",
    "Open": "boolean",
    "At": "timestamp",
    "Seen": "timestamptz",
    "select": "integer",
}


REGIONS = source("regions", {"code": "text", "country": "text"}, refresh={"type": "key", "key": ["code"]})
STORES = source(
    "stores",
    {"Id": "integer", "Assortment": "text", "Region": "text", "Opened": "date"},
    refresh={"type": "key", "key": ["Id"]},
    relations={"region": {"source": "regions", "on": {"Region": "code"}}},
    rules=[
        {"name": "IsBig", "expression": "Assortment = 'c'"},
        {"name": "Age", "expression": "count(*) over ()", "mode": "keep_current"},
    ],
)


def rule(expression: str, name: str = "r", **declared: Any) -> dict[str, Any]:
    """A rule as YAML declares it."""
    return {"name": name, "expression": expression, **declared}


def current(expression: str, name: str = "r", **declared: Any) -> dict[str, Any]:
    """A keep-current rule."""
    return rule(expression, name, mode="keep_current", **declared)


def sales(*rules: Mapping[str, Any], **declared: Any) -> Source:
    """The source the rules are about, related to `stores`."""
    relation = {"store": {"source": "stores", "on": {"Store": "Id"}}}
    return source("sales", SALES, rules=list(rules), **{"relations": relation, **declared})


def compiled(*rules: Mapping[str, Any], **declared: Any) -> CompiledRules:
    """Rules of `sales`, compiled."""
    found = sales(*rules, **declared)
    return compile_rules(found, {"sales": found, "stores": STORES, "regions": REGIONS})


def table_of(
    connection: duckdb.DuckDBPyConnection, name: str, kinds: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> exp.Query:
    """Rows in a temporary table; what a row leaves out is null."""
    columns = [exp.ColumnDef(this=identifier(column), kind=exp.DataType.build(kind)) for column, kind in kinds.items()]
    schema = exp.Schema(this=table(name), expressions=columns)
    connection.execute(exp.Create(this=schema, kind="TABLE", replace=True).sql(DIALECT))
    if rows:
        holes = exp.Tuple(expressions=[exp.Placeholder() for _ in kinds])
        insert = exp.Insert(this=table(name), expression=exp.Values(expressions=[holes]))
        connection.executemany(insert.sql(DIALECT), [[row.get(column) for column in kinds] for row in rows])
    found: exp.Query = query("SELECT * FROM $t AS t", t=name)
    return found


def run(
    compiled_rules: CompiledRules,
    stage: Stage,
    rows: Sequence[Mapping[str, Any]],
    hubs: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """The rows with all columns of the stage, in order of s_row_id (which is a row's place in `rows`)."""
    kinds = {name: kind for name, kind in compiled_rules.hub_columns.items() if name not in stage.rules}
    given = [{"s_input_id": "i", "s_row_id": place, **row} for place, row in enumerate(rows)]
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def related(lookup: Lookup) -> exp.Query:
            return table_of(connection, f"s_{lookup.name}", lookup.columns, (hubs or {}).get(lookup.source, ()))

        result = evaluate(stage, table_of(connection, "s_given", kinds, given), related)
        ordered = query("SELECT * FROM $rows AS r ORDER BY s_row_id", rows=result)
        found: list[dict[str, Any]] = connection.execute(ordered.sql(DIALECT)).to_arrow_table().to_pylist()
    return found


def value_of(expression: str, row: Mapping[str, Any] | None = None, **declared: Any) -> Any:
    """What a snapshot rule gives for one row."""
    rules = compiled(rule(expression, **declared))
    return run(rules, rules.snapshot, [row or {}])[0]["r"]
