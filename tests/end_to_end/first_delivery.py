"""Three days of flights, a week of weather, and what they look up: real files, few rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from dataops_assets.demo import flights

DAYS = ("2013-01-01", "2013-01-02", "2013-01-03")
# source to the number of its files
INPUTS = {"airlines": 1, "airports": 1, "planes": 1, "weather": 1, "flights": 3}


@functools.cache
def landing_files() -> Mapping[str, bytes]:
    """Path below the landing folder to content."""
    wanted = {f"flights/flights/flights_{day}.csv" for day in DAYS}
    wanted |= {f"flights/{table}/{table}_{DAYS[0]}.csv" for table in ("airlines", "airports", "planes", "weather")}
    files = {file.path: file.content() for file in flights.stage_files("history") if file.path in wanted}
    assert set(files) == wanted
    return files


def history_file(path: str) -> bytes:
    """One file of the demonstration's history."""
    return next(file.content() for file in flights.stage_files("history") if file.path == path)
