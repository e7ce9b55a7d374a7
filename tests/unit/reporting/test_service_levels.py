"""Service levels and scores, against what is counted by hand."""

from __future__ import annotations

import datetime as dt
from random import Random
from typing import Any

import pytest

from dataops_assets.config.data_products import DataProduct
from dataops_assets.config.incidents import Hours
from dataops_assets.reporting.facts import Facts, WarehouseTable
from dataops_assets.reporting.scores import area_score, mean_score, table_scores
from dataops_assets.reporting.service_levels import CountedDay, counted_days, open_time, service_levels

# a Wednesday
NOW = dt.datetime(2024, 5, 8, 12, tzinfo=dt.UTC)
OFFICE = Hours.model_validate(
    {"timezone": "Europe/Berlin", "days": ["monday", "tuesday", "wednesday", "thursday", "friday"], "begin": "08:00"}
    | {"end": "18:00"}
)


def ago(**before: float) -> dt.datetime:
    return NOW - dt.timedelta(**before)


def product(**objectives: Any) -> DataProduct:
    return DataProduct.model_validate({"sources": ["orders"], "objectives": objectives})


def level(facts: Facts, **objectives: Any) -> Any:
    (found,) = service_levels(product(**objectives), facts)
    return found


def result(passed: bool, kind: str = "volume", **more: Any) -> dict[str, Any]:
    found = {"source": "orders", "asset": "lake/orders", "kind": kind, "input_id": "1", "severity": "warn"}
    return found | {"passed": passed, "explanation": "", "numbers": {}, "checked_at": ago(hours=3)} | more


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        (ago(hours=2), NOW, 2),
        # 14:00 of Berlin back to 17:00 of the day before: one hour of that day, six of this one
        (ago(hours=21), NOW, 7),
        # since Friday 17:00 of Berlin: the weekend is closed
        (dt.datetime(2024, 5, 3, 15, tzinfo=dt.UTC), dt.datetime(2024, 5, 6, 7, tzinfo=dt.UTC), 2),
        (NOW, NOW, 0),
        (dt.datetime(2024, 5, 4, tzinfo=dt.UTC), dt.datetime(2024, 5, 5, tzinfo=dt.UTC), 0),
    ],
)
def test_only_business_hours_count(start: dt.datetime, end: dt.datetime, hours: float) -> None:
    assert open_time(OFFICE, start, end) == dt.timedelta(hours=hours)
    assert open_time(None, start, end) == end - start
    night = Hours.model_validate({"begin": "00:00", "end": "24:00"})
    assert open_time(night, start, end) == end - start


def test_freshness_is_the_share_of_time_with_data_that_are_new_enough() -> None:
    # ten days: new data each day, but none on two of them
    times = [ago(days=days) for days in (10, 9, 8, 7, 4, 3, 2, 1)]
    facts = Facts(NOW, {"orders": times})
    found = level(facts, freshness={"within": "1 day", "target": 0.9})
    assert found.good == pytest.approx(0.8)
    assert found.budget_left == pytest.approx(-1)
    assert not found.is_met
    assert found.burn_rate == 0
    assert level(Facts(NOW), freshness={"within": "1 day"}).good is None
    late = level(Facts(NOW, {"orders": [ago(days=3)]}), freshness={"within": "1 day", "target": 0.9})
    assert late.burn_rate == pytest.approx(10), "all of the last day was bad, and a tenth may be"


def test_completeness_and_correctness_are_shares_of_rows_and_results() -> None:
    def loaded(days: float, rows: int, kept_out: int) -> dict[str, Any]:
        return {"source": "orders", "input_id": "1", "at": ago(days=days), "rows": rows, "kept_out": kept_out}

    facts = Facts(NOW, loaded=[loaded(40, 10, 10), loaded(5, 900, 0), loaded(0.5, 100, 2)])
    found = level(facts, completeness={"target": 0.99})
    assert (found.good, found.budget_left) == (pytest.approx(0.998), pytest.approx(0.8))
    assert found.burn_rate == pytest.approx(2)
    again = [result(False), result(True), result(False, "schema"), result(True, input_id="2")]
    other = [result(False, source="others")]
    assert level(Facts(NOW, results=[*again, *other]), correctness={"target": 0.5}).good == pytest.approx(2 / 3)


def test_an_incident_that_may_still_be_resolved_in_time_says_nothing() -> None:
    def incident(opened: float, resolved: float | None) -> dict[str, Any]:
        ended = None if resolved is None else ago(hours=resolved)
        return {"source": "orders", "opened_at": ago(hours=opened), "resolved_at": ended}

    some = [incident(100, 99), incident(50, 10), incident(60, None), incident(1, None), incident(2000, 1999)]
    found = level(Facts(NOW, incidents=some), incidents={"within": "8 hours"})
    assert found.good == pytest.approx(1 / 3)


def test_what_days_counted_adds_up_to_the_window() -> None:
    random = Random(3)
    times = {name: sorted(ago(hours=random.uniform(0, 900)) for _ in range(60)) for name in ("orders", "customers")}
    facts = Facts(
        NOW,
        times,
        [
            {"source": name, "input_id": str(at), "at": at, "rows": 50, "kept_out": random.randrange(3)}
            for name, some in times.items()
            for at in some
        ],
        [
            result(random.random() < 0.9, source=random.choice(["orders", "customers"]), input_id=str(n % 70))
            | {"checked_at": ago(hours=800 - 8 * n)}
            for n in range(100)
        ],
        incidents=[
            {"source": "orders", "asset": "hub/orders", "opened_at": opened, "resolved_at": ended}
            for opened, ended in [(ago(hours=90), ago(hours=70)), (ago(hours=40), None), (ago(hours=1), None)]
        ],
    )
    # the window begins with a day, so its days are whole
    objectives = {"window": "660 hours", "freshness": {"within": "8 hours", "hours": OFFICE.model_dump()}}
    objectives |= {"completeness": {}, "correctness": {}, "incidents": {"within": "1 day"}}
    declared = DataProduct.model_validate({"sources": ["orders", "customers"], "objectives": objectives})
    found: dict[tuple[str, str], list[CountedDay]] = {}
    for item in counted_days(declared, facts):
        found.setdefault((item.objective, item.part if item.objective == "freshness" else ""), []).append(item)
    shares: dict[str, list[float]] = {}
    for (objective, _), days in found.items():
        good, counted = sum(day.counted_good for day in days), sum(day.counted for day in days)
        shares.setdefault(objective, []).append(good / counted)
    assert {level.name: level.good for level in service_levels(declared, facts)} == {
        name: pytest.approx(min(some)) for name, some in shares.items()
    }
    assert {day.day.weekday() for day in found["freshness", "orders"]} == {0, 1, 2, 3, 4}, "closed days do not count"
    assert sum(day.counted for day in found["incidents", ""]) == 2, "one may still be resolved in time"


def test_a_score_says_what_it_lost_points_for_to_the_row() -> None:
    validation = result(
        False, "validation", severity="fail", explanation="amount_not_negative", numbers={"amount": 5, "rows": 100}
    )
    facts = Facts(NOW, in_force=[result(True), validation, result(False, "schema", explanation="a is missing")])
    (plain,) = table_scores(facts)
    # weights 1 (volume), 3 (validation, 5 % of it lost), 1 (schema, all of it)
    assert plain.score == pytest.approx(100 * (1 - (0.15 + 1) / 5))
    assert [(loss.points, loss.rows) for loss in plain.losses] == [
        (pytest.approx(20), None),
        (pytest.approx(3), 5),
    ]
    (weighted,) = table_scores(facts, {"orders.a": 3.0})
    assert weighted.score == pytest.approx(100 * (1 - (0.15 + 3) / 5))
    kept_out = [{"source": "orders", "input_id": "1", "at": NOW, "rows": 200, "kept_out": 20}]
    of_warehouse = result(False, "amount_is_known", numbers={"rows": 50, "failing rows": 10}, columns=["orders.a"])
    table = WarehouseTable("shop", frozenset({"orders"}), [result(True, "schema"), of_warehouse | {"severity": "fail"}])
    mixed = WarehouseTable("shop", frozenset({"orders", "others"}), [result(False)])
    below = Facts(NOW, warehouse={"warehouse/facts": table, "warehouse/mixed": mixed})
    critical, both = table_scores(below, {"orders.a": 3.0})
    assert (critical.score, both.score) == (pytest.approx(100 * (1 - 3 * 0.2 * 3 / 4)), 0)
    assert critical.losses[0].rows == 10
    assert mean_score([critical, both], {"orders"}) == critical.score, "the other table needs another source, too"
    assert area_score([critical, both], "shop") == critical.score / 2
    (with_rows,) = table_scores(Facts(NOW, in_force=[result(True)], loaded=kept_out))
    assert with_rows.score == pytest.approx(100 * (1 - 0.3 / 4))
    assert "20 of 200 rows are kept out" in with_rows.losses[0].why
    assert mean_score([plain, with_rows], {"orders"}) == pytest.approx((plain.score + with_rows.score) / 2)
    assert mean_score([plain], {"others"}) is None
