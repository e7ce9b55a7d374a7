"""Windows depend on nothing but the set of rows, whatever their order and the engine's arithmetic."""

from __future__ import annotations

import datetime as dt
import random
import statistics
from collections.abc import Sequence
from typing import Any

import duckdb
import pytest
from rule_cases import compiled, current, run
from sqlglot import exp

from dataops_assets.rules.compiler import CompiledRules

pytestmark = pytest.mark.slow

DAY = dt.date(2015, 1, 1)


def days(rows: Sequence[tuple[int, int | None, int | None]]) -> list[dict[str, Any]]:
    """(store, day number, sales) as rows."""
    return [
        {
            "Store": store,
            "Date": None if day is None else DAY + dt.timedelta(days=day),
            "Sales": sales,
            "s_row_id": place,
        }
        for place, (store, day, sales) in enumerate(rows)
    ]


def column_of(rules: CompiledRules, rows: list[dict[str, Any]], name: str = "r") -> list[Any]:
    return [row[name] for row in run(rules, rules.current, rows)]


def over(frame: str, function: str = "sum(Sales)") -> str:
    return f"{function} over (partition by Store order by Date {frame})"


def test_a_range_in_days_counts_days_and_not_rows() -> None:
    rules = compiled(
        current(over("range between interval 7 day preceding and interval 7 day preceding", "max(Sales)"), "lag_7"),
        current(over("range between interval 7 day preceding and interval 1 day preceding"), "week"),
        current(over("range between interval '1 week' preceding and interval 1 day preceding"), "same"),
    )
    rows = days([(1, 0, 10), (1, 1, 20), (1, 7, 30), (1, 8, 40), (1, 20, 50), (2, 7, 99)])
    assert column_of(rules, rows, "lag_7") == [None, None, 10, 20, None, None]
    assert column_of(rules, rows, "week") == [None, 10, 30, 50, None, None]
    assert column_of(rules, rows, "same") == column_of(rules, rows, "week")


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "range between interval 3 day preceding and interval 1 day preceding",
        "range between interval 3 day preceding and current row",
        "range between current row and interval 2 days following",
        "range between interval 1 day following and interval 3 day following",
        "range between unbounded preceding and interval 1 day preceding",
        "range between interval 1 week preceding and unbounded following",
        "range between interval 1 month preceding and interval 1 day preceding",
        "range between interval 25 hour preceding and current row",
        "range between unbounded preceding and unbounded following",
    ],
)
@pytest.mark.parametrize("function", ["sum(Sales)", "count(*)", "min(Sales)", "avg(Sales)", "count(distinct Sales)"])
def test_day_numbers_give_what_the_engine_gives_for_dates(frame: str, function: str) -> None:
    chance = random.Random(frame + function)
    rows = days(
        [(chance.randint(1, 2), chance.choice([None, *range(40)]), chance.choice([None, *range(9)])) for _ in range(60)]
    )
    expected = duckdb_window(rows, over(frame, function))
    assert column_of(compiled(current(over(frame, function))), rows) == expected


def duckdb_window(rows: list[dict[str, Any]], expression: str) -> list[Any]:
    with duckdb.connect() as connection:
        connection.execute("create table t (Store bigint, Date date, Sales bigint, place bigint)")
        connection.executemany(
            "insert into t values (?, ?, ?, ?)", [[r["Store"], r["Date"], r["Sales"], r["s_row_id"]] for r in rows]
        )
        ordered = f"select {expression} from t order by place"  # noqa: S608
        return [row[0] for row in connection.execute(ordered).fetchall()]


# with rows that are equal in Date, what they give hangs on an order that is not written
UNDECIDED = [
    "row_number() over (partition by Store order by Date)",
    "lag(Sales) over (partition by Store order by Date)",
    "lead(Sales, 2, -1) over (partition by Store order by Date desc)",
    "first_value(Sales) over (partition by Store order by Date)",
    "last_value(Sales ignore nulls) over (partition by Store order by Date)",
    "nth_value(Sales, 2) over (order by Date)",
    "ntile(3) over (order by Date)",
    "sum(Sales) over (partition by Store order by Date rows between 2 preceding and current row)",
    "sum(Sales) filter (where Sales > 3) over (order by Date rows 2 preceding)",
]


@pytest.mark.parametrize(
    "expression",
    [*UNDECIDED, "rank() over (partition by Store order by Date)", "avg(Sales) over (partition by Store)"],
)
def test_equal_rows_come_in_one_order_whatever_the_order_of_the_table(expression: str) -> None:
    chance = random.Random(expression)
    rows = days([(chance.randint(1, 2), chance.randint(0, 3), chance.choice([None, *range(9)])) for _ in range(40)])
    rules = compiled(current(expression))
    expected = column_of(rules, rows)
    for _ in range(3):
        chance.shuffle(rows)
        assert column_of(rules, rows) == expected


def test_ties_are_broken_by_input_then_position() -> None:
    rules = compiled(current("lag(Sales) over (order by Date)"))
    rows = [
        {"Date": DAY, "Sales": 1, "s_input_id": "b", "s_row_id": 0},
        {"Date": DAY, "Sales": 2, "s_input_id": "a", "s_row_id": 2},
        {"Date": DAY, "Sales": 3, "s_input_id": "a", "s_row_id": 1},
    ]
    found = {row["Sales"]: row["r"] for row in run(rules, rules.current, rows)}
    assert found == {3: None, 2: 3, 1: 2}


@pytest.mark.parametrize(
    ("function", "reference"),
    [
        ("stddev_samp", statistics.stdev),
        ("stddev", statistics.stdev),
        ("var_samp", statistics.variance),
        ("stddev_pop", statistics.pstdev),
        ("var_pop", statistics.pvariance),
    ],
)
def test_spread_of_integers_is_exact(function: str, reference: Any) -> None:
    chance = random.Random(function)
    values = [chance.randint(-(10**6), 10**6) for _ in range(60)]
    rules = compiled(current(over("rows between 30 preceding and current row", f"{function}(Sales)")))
    found = column_of(rules, days([(1, day, value) for day, value in enumerate(values)]))
    for place, value in enumerate(found):
        window = values[max(0, place - 30) : place + 1]
        if len(window) == 1 and reference in (statistics.stdev, statistics.variance):
            assert value is None
        else:
            assert value == pytest.approx(float(reference(window)), rel=3e-16, abs=0)


@pytest.mark.parametrize("offset", [0, 10**6, 10**9])
def test_spread_of_large_numbers_close_together_does_not_cancel(offset: int) -> None:
    rules = compiled(current("stddev_samp(Sales) over ()"))
    found = column_of(rules, days([(1, day, offset + day % 3) for day in range(30)]))
    assert found == pytest.approx([statistics.stdev([0, 1, 2] * 10)] * 30, rel=1e-9)


def test_spread_of_one_value_and_of_equal_values() -> None:
    rules = compiled(current(over("", "stddev_samp(Sales)"), "s"), current(over("", "var_pop(Sales)"), "p"))
    rows = days([(1, 0, 5), (1, 1, 5), (1, 2, None), (2, 0, None)])
    assert column_of(rules, rows, "s") == [None, 0.0, 0.0, None]
    assert column_of(rules, rows, "p") == [0.0, 0.0, 0.0, None]


def test_hostile_values_do_not_stop_a_window() -> None:
    big = 2**63 - 1
    rules = compiled(
        current("sum(Sales * Sales) over ()", "overflowing"),
        current("stddev_samp(Sales) over ()", "spread"),
        current("sum(ln(Sales)) over (partition by Sales / Customers)", "logarithm"),
        current("sum(Sales) over (order by Note::integer)", "badly_ordered"),
        current("max(Sales / Customers) over (partition by Note)", "divided"),
    )
    rows = [{"Sales": big, "Note": "x"}, {"Sales": -big, "Note": "1"}, {"Sales": 0, "Customers": 0}, {"Sales": None}]
    found = run(rules, rules.current, rows)
    assert {row["overflowing"] for row in found} == {0}
    assert [row["divided"] for row in found] == [None] * 4
    assert found[1]["badly_ordered"] == -big


def test_windows_share_sorts_and_equal_windows_are_computed_once() -> None:
    rules = compiled(
        current(over("range between interval 7 day preceding and interval 1 day preceding", "avg(Sales)"), "mean"),
        current(
            over("range between interval 7 day preceding and interval 1 day preceding", "avg(Sales)") + " + 1", "next"
        ),
        current(over("range between interval 9 day preceding and interval 9 day preceding", "max(Sales)"), "lag"),
        current(over("", "rank()"), "place"),
    )
    (level,) = rules.current.levels
    assert len(level.windows) == 3
    sorts = {
        (str(window.args.get("partition_by")), window.args["order"].sql("duckdb")) for window in level.windows.values()
    }
    assert len(sorts) == 1


def test_windows_may_use_windows_through_rules() -> None:
    rules = compiled(
        current("sum(Sales) over (partition by Store)", "total"),
        current("Sales / total", "share"),
        current("rank() over (order by share desc)", "place"),
    )
    rows = days([(1, 0, 1), (1, 1, 3), (2, 0, 5)])
    assert column_of(rules, rows, "share") == [0.25, 0.75, 1.0]
    assert column_of(rules, rows, "place") == [3, 2, 1]


@pytest.mark.parametrize(
    ("expressions", "partition", "back", "forward"),
    [
        ([over("range between interval 7 day preceding and interval 1 day preceding")], ["Store"], 7, 0),
        ([over("range between interval 1 day following and interval 3 day following")], ["Store"], 0, 3),
        ([over("range between interval 2 day preceding and interval 3 day following")], ["Store"], 2, 3),
        (["sum(Sales) over (order by Store range between 5 preceding and current row)"], [], 5, 0),
        (
            [
                over("range between interval 7 day preceding and interval 1 day preceding"),
                over("range between interval 28 day preceding and current row", "stddev_samp(Sales)"),
            ],
            ["Store"],
            28,
            0,
        ),
    ],
)
def test_reach_of_bounded_frames(expressions: list[str], partition: list[str], back: int, forward: int) -> None:
    reach = compiled(*(current(item, f"r{n}") for n, item in enumerate(expressions))).current.reach
    assert reach is not None
    assert [part.name for part in reach.partition] == partition
    assert (reach.back, reach.forward) == (back, forward)
    assert reach.order is not None


@pytest.mark.parametrize(
    "expression",
    [
        "lag(Sales) over (partition by Store order by Date)",
        "sum(Sales) over (partition by Store)",
        "sum(Sales) over (partition by Store order by Date)",
        "sum(Sales) over (partition by Store order by Date desc range between 1 preceding and current row)",
        "sum(Sales) over (partition by Store order by Ratio range between 1 preceding and current row)",
        over("range between unbounded preceding and interval 1 day preceding"),
        over("range between interval 1 month preceding and current row"),
    ],
)
def test_reach_of_unbounded_frames_is_the_partition(expression: str) -> None:
    reach = compiled(current(expression)).current.reach
    assert reach is not None
    assert (reach.order, [part.name for part in reach.partition]) == (None, ["Store"])


@pytest.mark.parametrize(
    "rules",
    [
        [current("Sales + 1")],
        [current("sum(Sales) over ()")],
        [current("sum(Sales) over (partition by Store)"), current("sum(Sales) over (partition by Date)", "x")],
        [current("sum(Sales) over (partition by Store)"), current("sum(r) over (partition by Store)", "x")],
        [current("sum(Sales) over (partition by store.Assortment)")],
        [
            current("sum(Sales) over (partition by Store)"),
            current("r + 1", "next"),
            current("sum(next) over (partition by Store)", "x"),
        ],
    ],
)
def test_reach_is_unknown_where_a_change_may_be_seen_anywhere(rules: list[dict[str, str]]) -> None:
    assert compiled(*rules).current.reach is None


def test_windows_over_rules_that_see_one_row_reach_as_far_as_others() -> None:
    first = current(over("range between interval 2 day preceding and current row"))
    second = current(
        "sum(plain) " + over("range between current row and interval 1 day following").partition(" ")[2], "x"
    )
    reach = compiled(first, current("Sales + 1", "plain"), second).current.reach
    assert reach is not None
    assert (reach.back, reach.forward) == (2, 1)


def test_sources_that_windows_see() -> None:
    direct = compiled(current("count_if(store.region.country = 'N') over (partition by Store)"))
    assert direct.current.seen_by_windows == {"stores", "regions"}
    stored = compiled(current("store.IsBig", "big"), current("count_if(big) over (partition by Store)"))
    assert stored.current.seen_by_windows == set()
    assert stored.current.row_rules == ("big",)
    assert [lookup.name for lookup in stored.current.only(["big"]).lookups] == ["store"]
    assert stored.current.only(["Store"]).lookups == ()
    assert isinstance(next(iter(direct.current.levels[0].windows.values())), exp.Window)
