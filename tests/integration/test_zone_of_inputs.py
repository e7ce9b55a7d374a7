"""The time zone in which extract times of inputs were read stays; any other can change, as in a fresh home."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
from code_location import standalone
from declared_home import declare, does, running

DAY = {"name": "day", "type": "date", "expression": "cast(s_extract_time as date)"}


def dated(name: str, pattern: str, zone: str) -> dict[str, Any]:
    connection = {
        "type": "files",
        "path": f"{name}/*",
        "extract_time": {"pattern": pattern},
        "settle_seconds": 0,
    }
    columns = [{"name": "id", "type": "integer", "nullable": False}, DAY]
    return standalone() | {"name": name, "connection": connection, "columns": columns, "discovery": {"timezone": zone}}


def test_the_zone_of_extract_times_stays_and_another_zone_is_refused(
    home: Path, instance_of_commands: dg.DagsterInstance
) -> None:
    before, now = ([dated("local", "local_%Y-%m-%d.csv", zone)] for zone in ("UTC", "America/New_York"))
    declare(home, *before)
    with running(home, instance_of_commands, *before) as here:
        here.land("local", "local_2024-03-31.csv", "id\n1\n")
        assert does(here, before, "apply", "--now").code == 0
    declare(home, *now)
    with running(home, instance_of_commands, *now) as here:
        planned = does(here, now, "plan")
        assert planned.code == 2
        assert "set discovery.timezone to UTC again" in planned.err
        here.land("local", "local_2024-04-01.csv", "id\n2\n")
        assert does(here, now, "run").code != 0
        assert here.rows("hub/local", "id", "day") == [(1, dt.date(2024, 3, 31))]
    declare(home, *before)
    with running(home, instance_of_commands, *before) as here:
        assert does(here, before, "run").code == 0
        assert here.rows("hub/local", "id", "day") == [(1, dt.date(2024, 3, 31)), (2, dt.date(2024, 4, 1))]


def test_a_zone_that_no_extract_time_was_read_in_changes_the_days_of_all_rows(
    home: Path, instance_of_commands: dg.DagsterInstance
) -> None:
    before, now = ([dated("zoned", "zoned_%Y-%m-%dT%H%z.csv", zone)] for zone in ("UTC", "America/New_York"))
    declare(home, *before)
    with running(home, instance_of_commands, *before) as here:
        here.land("zoned", "zoned_2024-03-31T02+0000.csv", "id\n1\n")
        assert does(here, before, "apply", "--now").code == 0
        assert here.rows("hub/zoned", "id", "day") == [(1, dt.date(2024, 3, 31))]
    declare(home, *now)
    with running(home, instance_of_commands, *now) as here:
        planned = does(here, now, "plan", "--json")
        assert [item["weight"] for item in planned.data["changes"]] == ["breaking"]
        assert does(here, now, "apply", "--now").code == 0
        assert here.rows("hub/zoned", "id", "day") == [(1, dt.date(2024, 3, 30))]
