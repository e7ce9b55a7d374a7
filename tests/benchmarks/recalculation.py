"""What recalculating keep-current rules costs, by the number of rows that changed, beside computing all of them.

Run by hand: `make benchmark-recalculation ROWS=10000000`. Grain of the output: one line a kind and number of changed
rows: rows computed again, rows changed, seconds, and the ratio to the first, full computation of the same table.
Machines are noisy: compare ratios, not seconds.

Sales of ROWS rows (a store has a thousand days) have a look-up, an aggregate over the orders of their store and day, a
window over the store's last week, and what depends on these. Changed are sales, stores (each is pointed to by a
thousand sales) and orders.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlglot import exp

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import StepReport
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import DIALECT, alias, column, query
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish

DAYS = 1000
KINDS = ("sales", "orders", "stores")
COUNTS = (1, 100, 10_000)
RULES = {
    "kind": "store.kind",
    "ordered": "sum(orders.amount)",
    "orders_paid": "count(*) filter (where orders.paid)",
    "share": "sales / nullif(ordered, 0)",
    "week": "sum(sales) over (partition by store_id order by day range between 7 preceding and 1 preceding)",
}
SALES = "SELECT i // 1000 AS store_id, i % 1000 AS day, (i * 7919) % 997 AS sales, 'note ' || (i % 89) AS note, i AS id"
STORES = "SELECT i AS id, 'kind ' || (i % 5) AS kind"
ORDERS = "SELECT i // 1000 AS store_id, i % 1000 AS day, (i * 31) % 101 AS amount, i % 3 = 0 AS paid, i AS id"


def source(name: str, kinds: Mapping[str, str], **declared: Any) -> Source:
    """A source without checks."""
    off = {kind: {"enabled": False} for kind in ("volume", "schema", "distribution")}
    return Source.model_validate(
        {
            "name": name,
            "area": "benchmarks",
            "connection": {"type": "files", "path": f"{name}_*.parquet"},
            "columns": [{"name": column, "type": kind} for column, kind in kinds.items()],
            "refresh": {"type": "key", "key": ["id"]},
            "checks": off,
            **declared,
        }
    )


def context(home: Path) -> SourceContext:
    """Sales with their rules, stores and orders."""
    relations = {
        "store": {"source": "stores", "on": {"store_id": "id"}},
        "orders": {"source": "orders", "on": {"store_id": "store_id", "day": "day"}, "cardinality": "to_many"},
    }
    rules = [{"name": name, "expression": text, "mode": "keep_current"} for name, text in RULES.items()]
    numbers = {"store_id": "integer", "day": "integer"}
    declared = (
        source(
            "sales", {**numbers, "sales": "integer", "note": "text", "id": "integer"}, relations=relations, rules=rules
        ),
        source("stores", {"id": "integer", "kind": "text"}),
        source("orders", {**numbers, "amount": "integer", "paid": "boolean", "id": "integer"}),
    )
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
    sources = {item.name: item for item in declared}
    metadata = MetadataStore(environment.metadata_url)
    return SourceContext(environment, sources["sales"], sources, DuckDBEngine(environment), metadata)


def hub_rows(space: SourceContext, name: str, rows: exp.Expr, version: str) -> exp.Query:
    """Rows of `rows` as a hub has them."""
    kinds = compile_rules(space.sources[name], space.sources).hub_columns
    system = {"s_key": "CAST(r.id AS VARCHAR)", "s_input_id": f"'{version}'", "s_row_id": "r.id", "s_status": "'pass'"}
    own = space.sources[name].column_names
    selected = [
        alias(
            exp.cast(column(item, "r") if item in own else query(system.get(item, "NULL")), kind, dialect=DIALECT),
            item,
        )
        for item, kind in kinds.items()
    ]
    found: exp.Query = query("SELECT $selected FROM $rows AS r", selected=selected, rows=rows)
    return found


def load(space: SourceContext, name: str, values: str, size: int) -> None:
    """Make a hub of `size` rows."""
    rows = query(values).from_(query("SELECT t.range AS i FROM range($n) AS t", n=size).subquery("numbers"))
    with space.engine.session() as session:
        kinds = compile_rules(space.sources[name], space.sources).hub_columns
        publish.apply(
            session,
            space.table(f"hub/{name}"),
            None,
            publish.RowChange(columns=kinds, insert=hub_rows(space, name, rows, "first")),
        )


CHANGES = {"sales": "sales + 1", "stores": "kind || '!'", "orders": "amount + 1"}


def change(space: SourceContext, name: str, count: int, version: str) -> None:
    """Change a column of `count` rows of a hub that lie far apart, as a refresh does: masked, and written anew."""
    table = space.table(f"hub/{name}")
    base = table.snapshot()
    if base is None:
        raise SystemExit(f"no hub/{name}")
    step = max(base.rows // count, 1)
    target = CHANGES[name].split(" ")[0]
    with space.engine.session() as session:
        scan = session.scan(base, positions=True)
        picked = session.create(
            query("SELECT r.* FROM $r AS r WHERE r.id % $step = 3 % $step LIMIT $n", r=scan, step=step, n=count)
        )
        own = [
            alias(query(CHANGES[name]), item) if item == target else column(item)
            for item in space.sources[name].column_names
        ]
        changed = query("SELECT $own FROM $picked AS p", own=own, picked=picked)
        publish.apply(
            session,
            table,
            base,
            publish.RowChange(
                columns=base.columns,
                remove=query("SELECT p.s_file, p.s_position FROM $picked AS p", picked=picked),
                insert=hub_rows(space, name, changed, version),
            ),
        )


def timed(space: SourceContext) -> tuple[float, StepReport]:
    """Seconds of a recalculation, and its report."""
    started = time.perf_counter()
    report = recalculate(space)
    if report.failures:
        raise SystemExit(str(report.failures[0].error))
    return time.perf_counter() - started, report


def main() -> int:
    """Print a table of seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        space = context(Path(folder))
        load(space, "sales", SALES, given.rows)
        load(space, "orders", ORDERS, given.rows)
        load(space, "stores", STORES, max(given.rows // DAYS, 1))
        full, report = timed(space)
        print(f"{given.rows:,} rows, {len(RULES)} rules; all of them: {full:.1f} s")
        print(f"{'changed':>16} {'seen':>12} {'written':>12} {'seconds':>9} {'of all':>7}")
        for kind in given.kinds:
            for count in given.counts:
                if kind == "stores" and count * DAYS > given.rows // 10:
                    continue
                change(space, kind, count, f"{kind}-{count}")
                seconds, report = timed(space)
                counts = report.inputs[0].counts
                told = f"{counts['rows_seen']:12,} {counts['rows_changed']:12,} {seconds:9.2f} {seconds / full:7.1%}"
                print(f"{count:7,} {kind:8} {told}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024
    print(f"peak memory of this process: {peak:.1f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
