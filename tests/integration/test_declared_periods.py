"""Files whose name says which day they have: a day that comes again replaces the whole day, also without rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
from code_location import CodeLocation, loaded, standalone

FEED = standalone() | {
    "columns": [
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "sold_at", "type": "timestamptz"},
    ],
    "refresh": {"type": "timestamp", "range_by": "sold_at", "period": "day"},
    "discovery": {"timezone": "Asia/Tokyo"},
}
HEADER = "id,sold_at\n"
# 15:00 UTC is midnight in Tokyo
FIRST = HEADER + "1,2024-01-01T15:00:00Z\n2,2024-01-02T14:59:59.999999Z\n3,2024-01-02T15:00:00Z\n"
SECOND = HEADER + "3,2024-01-02T15:00:00Z\n4,2024-01-03T03:00:00Z\n"
DAYS = ("orders_2024-01-02.csv", "orders_2024-01-03.csv")


def hub(here: CodeLocation) -> list[int]:
    return [row[0] for row in here.rows("hub/orders", "id")]


def test_a_day_that_comes_again_replaces_the_whole_day(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with loaded(FEED) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)

        def delivered(name: str, content: str) -> list[int]:
            here.land("orders", name, content)
            assert all(result.success for result in here.settle("orders"))
            return hub(here)

        # the later day first; a row of another day is rejected, and stands once
        assert delivered(DAYS[1], SECOND) == [3, 4]
        assert delivered(DAYS[0], FIRST) == [1, 2, 3, 4]
        rejected = here.rows("lake/orders_quarantine", "s_row_id", "s_column", "s_reason", "s_value")
        assert rejected == [(2, "sold_at", "outside the period of its input", "2024-01-02T15:00:00Z")]
        # fewer rows: the ends of the day are not in the file
        assert delivered(DAYS[0], HEADER + "5,2024-01-02T00:00:00Z\n") == [3, 4, 5]
        # no rows at all
        assert delivered(DAYS[1], HEADER) == [5]
        assert delivered(DAYS[0], HEADER) == []


def test_an_input_without_rows_that_comes_first_still_decides(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Three extracts of a month, each its newest state; the last one has no rows."""
    month: dict[str, Any] = FEED | {"refresh": FEED["refresh"] | {"period": "month"}}
    files = [HEADER + "1,2024-01-01T00:00:00Z\n2,2024-01-30T00:00:00Z\n", HEADER + "1,2024-01-01T00:00:00Z\n", HEADER]
    with loaded(month) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for number in (2, 0, 1):
            here.land("orders", f"orders_2024-01-1{number}.csv", files[number])
            assert all(result.success for result in here.settle("orders"))
        here.land("orders", "orders_2024-02-01.csv", HEADER + "3,2024-02-01T00:00:00Z\n")
        assert all(result.success for result in here.settle("orders"))
        assert hub(here) == [3]


def test_the_name_of_the_day_can_be_the_only_one(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """The rows have no time: the day is computed from the name of the file."""
    feed = FEED | {
        "columns": [
            {"name": "id", "type": "integer", "nullable": False},
            {"name": "day", "type": "date", "nullable": False, "expression": "cast(s_extract_time as date)"},
        ],
        "refresh": {"type": "timestamp", "range_by": "day", "period": "day"},
    }
    with loaded(feed) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        for name, content in ((DAYS[0], "id\n1\n2\n"), (DAYS[1], "id\n1\n"), (DAYS[0], "id\n2\n")):
            here.land("orders", name, content)
            assert all(result.success for result in here.settle("orders"))
        first, second = dt.date(2024, 1, 2), dt.date(2024, 1, 3)
        assert here.rows("hub/orders", "day", "id") == [(first, 2), (second, 1)]


def test_a_name_that_tells_both_ends_is_enough_for_an_input_without_rows(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A week, two days of it without rows, and a file whose name tells no period, which fails alone."""
    name = r"orders_.*_(?P<from>\d{4}-\d\d-\d\d)_(?P<through>\d{4}-\d\d-\d\d)\.csv"
    feed: dict[str, Any] = FEED | {
        "connection": {**FEED["connection"], "extract_time": {"pattern": "orders_%Y-%m-%dT%H*"}},
        "refresh": FEED["refresh"] | {"period": {"pattern": name}},
    }
    week = HEADER + "".join(f"{day},2024-01-{day:02}T03:00:00Z\n" for day in range(1, 8))
    with loaded(feed) as definitions:
        here = CodeLocation(definitions, instance, tmp_path)
        here.land("orders", "orders_2024-02-01T05_2024-01-03_2024-01-04.csv", HEADER)
        here.land("orders", "orders_2024-02-01T04_2024-01-01_2024-01-08.csv", week)
        assert all(result.success for result in here.settle("orders"))
        assert hub(here) == [1, 2, 5, 6, 7]
        here.land("orders", "orders_2024-02-01T06_all.csv", HEADER)
        assert not all(result.success for result in here.settle("orders"))
        assert hub(here) == [1, 2, 5, 6, 7]
