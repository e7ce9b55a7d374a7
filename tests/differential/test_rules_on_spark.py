"""What a rule gives is the same value on both engines: the cases of the rules' own tests, in one query each."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import test_rule_relations
import test_rule_values
from both_engines import exact
from rule_cases import compiled, current, rule
from sqlglot import exp
from test_rule_relations import BOUGHT, TWO
from test_rule_relations import compiled as of_customers
from test_rule_values import ROW
from test_rule_windows import UNDECIDED, days, over

from dataops_assets.engines.base import Engine, Session
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.rules.query import evaluate
from dataops_assets.rules.stage import Lookup, Stage
from dataops_assets.sql import DIALECT, alias, column, columns, query

# no engine but DuckDB reads the number of a week
ONLY_EMBEDDED = {"strptime('2015-W05-1', '%Y-W%W-%w')"}
CASES = next(mark.args[1] for mark in test_rule_values.test_value.pytestmark if mark.name == "parametrize")
VALUES: list[str] = [case[0] for case in CASES]
MORE = [
    "Ratio::text || '|' || Price::text",
    "concat(Sales, '-', Ratio, '-', Seen, '-', At, '-', Date)",
    "(Ratio * 1e20)::text || ' ' || (Ratio / 3e7)::text || ' ' || (Ratio / 3)::text",
    "(Ratio / 7)::decimal(10,3)",
    "0.285::double::decimal(10,2) + Ratio::decimal(10,2)",
    "round(Ratio / 7, 3)",
    "round(-2.5 * Sales)",
    "(Sales + 0.5)::integer",
    "(Ratio * 5)::integer",
    "' 12 '::integer + Sales",
    "'1.5'::double * Ratio",
    "At at time zone 'Europe/Berlin'",
    "Seen at time zone 'America/New_York'",
    "make_timestamp(2024, 10, 27, 2, 30, Sales + 3.5) at time zone 'Europe/Berlin'",
    "make_timestamp(2024, 3, 31, 2, 30, 0.0) at time zone 'Europe/Berlin'",
    "date_diff('month', Date, date '2015-09-01')",
    "date_diff('hour', At, make_timestamp(2015, 8, 1, 0, 0, 0.0))",
    "date_trunc('week', At)",
    "extract('dow' from Date)",
    "epoch(At)",
    "dayofyear(Date) + week(Date) + quarter(Date) + year(Date)",
    "make_date(2015, 2, Sales)",
    "regexp_matches(Note, '^\\w')",
    "regexp_extract(Note, '([a-z]+)$', 1)",
    "regexp_replace(Note, 'r', 'R')",
    "regexp_replace(Note, '([rg])', '<\\1>', 'g')",
    "split_part('a|b|c', '|', 2)",
    "strpos(Note, 'ger')",
    "substr(Note, 2, 3) || left(Note, 1) || right(Note, 2)",
    "lpad(Sales::text, 3, '0') || rpad(Note, 7, '.')",
    "md5(Note) || sha256(Note)",
    "greatest(Sales, Ratio, null)",
    "log10(Sales * 100) + log2(Sales + 1) + sqrt(Sales + 2)",
    "acos(Sales)",
    "Sales::double / 3::text::double",
    "strptime('31.07.2015', '%d.%m.%Y')",
    "strftime(At, '%Y/%m/%d %H:%M:%S')",
    "strftime(Date::timestamp, '%Y%m') || coalesce(At::date::timestamp::text, Note)",
    "levenshtein(Note, 'Arger')",
    "translate(Note, 'rg', 'xy')",
    "Price * Sales",
    "Price * Price / 3",
    "Sales // 2 * 2 + Sales % 2",
]
WINDOWS = [
    over("range between interval 3 day preceding and interval 1 day preceding"),
    over("range between interval 3 day preceding and current row", "count(*)"),
    over("range between unbounded preceding and interval 1 day preceding", "max(Sales)"),
    over("range between interval 1 month preceding and current row"),
    over("range between interval 3 day preceding and current row", "count(distinct Sales)"),
    over("range between interval 28 day preceding and current row", "stddev_samp(Sales)"),
    over("", "avg(Sales)"),
    *UNDECIDED,
    "rank() over (partition by Store order by Date)",
    "dense_rank() over (order by Sales)",
    "cume_dist() over (order by Sales)",
    "count_if(Sales > 3) over (partition by Store)",
    "bool_or(Sales > 7) over (partition by Date)",
    "median(Sales) over (partition by Store)",
]


def computed(
    engine: Engine,
    rules: CompiledRules,
    stage: Stage,
    rows: Sequence[Mapping[str, Any]],
    hubs: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> list[Any]:
    """The stage's rules over literal rows, a row a list of exact values, in order of `s_row_id`."""
    kinds = {name: kind for name, kind in rules.hub_columns.items() if name not in stage.rules}
    given = [{"s_input_id": "i", "s_row_id": place, **row} for place, row in enumerate(rows)]
    with engine.session() as session:

        def related(lookup: Lookup) -> exp.Query:
            return _typed(session, (hubs or {})[lookup.source], lookup.columns)

        result = evaluate(stage, _typed(session, given, kinds), related)
        shown = query("SELECT $names FROM $rows AS r ORDER BY s_row_id", names=columns(stage.rules), rows=result)
        assert dict(session.schema(shown)) == dict(rules.types)
        return [{name: exact(value) for name, value in row.items()} for row in session.fetch(shown).to_pylist()]


def _typed(session: Session, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> exp.Query:
    given = session.register(pa.table({item: pa.array([row.get(item) for row in rows]) for item in kinds}))
    typed = [alias(exp.cast(column(item), kind, dialect=DIALECT), item) for item, kind in kinds.items()]
    found: exp.Query = query("SELECT $typed FROM $given AS g", typed=typed, given=given)
    return found


def differing(
    duckdb: Engine, spark: Engine, expressions: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[Any]:
    """Expressions that give something else on Spark, with both results."""
    make = current if " over " in expressions[0] else rule
    rules = compiled(*(make(expression, f"r{place}") for place, expression in enumerate(expressions)))
    stage = rules.current if " over " in expressions[0] else rules.snapshot
    ours, theirs = (computed(engine, rules, stage, rows) for engine in (duckdb, spark))
    return [
        (expression, one[f"r{place}"], other[f"r{place}"])
        for place, expression in enumerate(expressions)
        for one, other in zip(ours, theirs, strict=True)
        if one[f"r{place}"] != other[f"r{place}"]
    ]


@pytest.mark.parametrize("cases", [[case for case in VALUES if case not in ONLY_EMBEDDED], MORE], ids=["page", "more"])
def test_values(cases: list[str], duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    odd = {
        **ROW,
        "Sales": -3,
        "Ratio": 2.0**-44,
        "Price": Decimal("99999999.99"),
        "Note": "12.5",
        "At": dt.datetime.fromisoformat("1969-12-31 23:59:59.999999"),
        "Date": dt.date(1900, 2, 28),
    }
    assert differing(duckdb, spark, cases, [ROW, odd, {}]) == []


def test_windows(duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    chance = random.Random(5)
    rows = days(
        [(chance.randint(1, 2), chance.choice([None, *range(40)]), chance.choice([None, *range(9)])) for _ in range(60)]
    )
    assert differing(duckdb, spark, WINDOWS, rows) == []


def test_relations(duckdb: DuckDBEngine, spark: SparkEngine) -> None:
    """Aggregates over to-many relations, and comparisons as conditions of a join."""
    (mark,) = test_rule_relations.test_a_to_many_relation_is_aggregated_and_the_grain_stays.pytestmark
    expressions = [case[0] for case in mark.args[1]] + ["rate.Rate", "count(newer.Id)", "sum(earlier.Amount)"]
    first = dt.date(2024, 1, 1)
    rows = [{**row, "Since": first + dt.timedelta(days=place)} for place, row in enumerate([*TWO, *TWO])]
    hubs = {
        "orders": [{**row, "Amount": row["Amount"] and Decimal(row["Amount"]), "Day": first} for row in BOUGHT],
        "groups": [{"Code": "a"}, {"Code": "b"}],
        "customers": rows,
        "rates": [{"Code": "a", "Since": first, "Until": first + dt.timedelta(days=2), "Rate": 0.5}],
    }
    rules = of_customers(*(current(expression, f"r{place}") for place, expression in enumerate(expressions)))
    ours, theirs = (computed(engine, rules, rules.current, rows, hubs) for engine in (duckdb, spark))
    assert ours == theirs
    assert [row[f"r{len(expressions) - 3}"] for row in ours] == [exact(value) for value in (0.5, 0.5, *[None] * 4)]
