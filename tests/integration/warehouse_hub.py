"""Small hub tables for the warehouse's tests: Delta tables with the columns that the dbt project declares."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from deltalake import write_deltalake

from dataops_assets.config.environment import Environment, environment_from

PROJECT = Path(__file__).resolve().parents[2]
DBT_PROJECT = PROJECT / "dbt_project"
_ARROW = {
    "varchar": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", "UTC"),
}


def environment(home: Path) -> Environment:
    return environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, PROJECT)


def hub_tables() -> dict[str, dict[str, str]]:
    """Declared columns of every hub table that models read."""
    [hub] = yaml.safe_load((DBT_PROJECT / "models" / "sources.yml").read_text())["sources"]
    return {
        table["name"]: {column["name"]: column["data_type"] for column in table["columns"]} for table in hub["tables"]
    }


def write_hub(deployment: Environment, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The next version of a hub table: exactly these rows, null where a column is not given."""
    columns = hub_tables()[table]
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in columns.items()])
    unknown = {name for row in rows for name in row} - set(columns)
    assert not unknown, f"{table} has no {unknown}"
    arrays = [
        pa.array([row.get(name) for row in rows], kind) for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    write_deltalake(f"{deployment.storage}/hub/{table}", pa.table(arrays, schema), mode="overwrite")


def weather(*hours: int, at: str = "JFK", source: str = "one", wind: float | None = 10.0) -> list[dict[str, Any]]:
    start = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    return [
        {
            "origin": at,
            "time_hour": start + dt.timedelta(hours=hour),
            "wind_speed": wind,
            "visib": 10.0,
            "s_input_id": source,
            "s_row_id": hour,
        }
        for hour in hours
    ]


def flights(*numbers: int, source: str = "one", delay: int | None = 5) -> list[dict[str, Any]]:
    return [
        {
            "year": 2013,
            "month": 1,
            "day": 1,
            "hour": 7,
            "time_hour": dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC),
            "carrier": "AA",
            "flight": number,
            "origin": "JFK",
            "dest": "LAX",
            "arr_delay": delay,
            "delay_category": "unknown" if delay is None else "late" if delay >= 15 else "on time",
            "s_input_id": source,
            "s_row_id": number,
        }
        for number in numbers
    ]


def sales(*stores: int, day: int = 1, source: str = "one", amount: int = 100) -> list[dict[str, Any]]:
    return [
        {
            "Store": store,
            "Date": dt.date(2015, 6, day),
            "Sales": amount,
            "Customers": 10,
            "Open": 1,
            "Promo": 0,
            "StateHoliday": "0",
            "SchoolHoliday": 0,
            "s_input_id": source,
            "s_row_id": store * 100 + day,
        }
        for store in stores
    ]
