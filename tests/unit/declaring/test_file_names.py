"""What the names of files say: the glob that they share, and the pattern of their extract time."""

from __future__ import annotations

import datetime as dt

import pytest

from dataops_assets.connections.extract_time import extract_time
from dataops_assets.declaring.file_names import matches, read_names


@pytest.mark.parametrize(
    ("names", "glob", "pattern"),
    [
        (["orders_2024-01-31.csv"], "orders_*.csv", "orders_%Y-%m-%d.csv"),
        (["orders_2024-01-31.csv", "orders_2024-02-01.csv"], "orders_*.csv", "orders_%Y-%m-%d.csv"),
        (["20240131.json", "20240201.json"], "*.json", "%Y%m%d.json"),
        (["a_20240131T235959.csv", "a_20240201T000000.csv"], "a_*.csv", "a_%Y%m%dT%H%M%S.csv"),
        (["sales.2024_01.csv.gz", "sales.2024_02.csv.gz"], "sales.*.csv.gz", "sales.%Y_%m.csv.gz"),
        (["31.01.2024 bericht.xlsx", "01.02.2024 bericht.xlsx"], "* bericht.xlsx", "%d.%m.%Y bericht.xlsx"),
        (["x_2024-01-31_17.csv", "x_2024-02-01_18.csv"], "x_*_*.csv", "x_%Y-%m-%d_*.csv"),
        (["north_2024-01-31.csv", "south_2024-01-31.csv"], "*_*.csv", "*_%Y-%m-%d.csv"),
        (["titanic.csv"], "titanic.csv", ""),
        (["a.csv", "b.csv"], "*.csv", ""),
        (["part-00001.parquet", "part-00002.parquet"], "part-*.parquet", ""),
        # no day and no month of that number
        (["order_12345678.csv", "order_99999999.csv"], "order_*.csv", ""),
        (["a[1]_2024.csv", "a[1]_2023.csv"], "a[[]1]_*.csv", "a[1]_%Y.csv"),
    ],
)
def test_names_are_read(names: list[str], glob: str, pattern: str) -> None:
    found = read_names(names)
    assert (found.glob, found.pattern) == (glob, pattern)
    assert all(matches(name, found.glob) for name in names)
    modified = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    for name, time in found.times.items():
        assert extract_time(found.rule, name, modified, dt.UTC) == time


def test_a_history_without_a_date_comes_before_all_dated_files() -> None:
    found = read_names(["train.csv", "sales_2024-01-02.csv", "sales_2024-01-09.csv"])
    assert (found.glob, found.pattern, found.otherwise) == ("*.csv", "sales_%Y-%m-%d.csv", "2024-01-01")
    assert found.times["train.csv"] < min(found.times[name] for name in found.times if name != "train.csv")


def test_several_files_of_one_day_are_told_apart_by_nothing() -> None:
    """Both ways to read the days of these names fit: the first that fits all is taken."""
    found = read_names(["x_01-02-2024.csv", "x_13-02-2024.csv"])
    assert found.pattern == "x_%d-%m-%Y.csv"
