"""The rules of flights, look-ups and window included, against pandas over the whole year."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.demo import flights
from dataops_assets.rules.compiler import Lookup, compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.sql import DIALECT, query

DEFS = Path(__file__).parents[2] / "dataops_assets" / "defs" / "flights"
SOURCES = {
    source.name: source
    for path in sorted(DEFS.rglob("defs.yaml"))
    for source in [Source.model_validate(yaml.safe_load(path.read_text())["attributes"])]
}


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    read = {}
    for name, source in SOURCES.items():
        content = flights.packaged("flights.csv.zip" if name == "flights" else f"{name}.csv")
        kinds = {item.name: "Int64" for item in source.columns if item.type == "integer"}
        times = [item.name for item in source.columns if item.type == "timestamptz"]
        read[name] = pd.read_csv(io.BytesIO(content), dtype=kinds, parse_dates=times, na_values=["NA"])
    return read


@pytest.fixture(scope="module")
def computed(tables) -> pd.DataFrame:
    compiled = compile_rules(SOURCES["flights"], SOURCES)

    def related(lookup: Lookup) -> exp.Query:
        return query("SELECT * FROM $related AS r", related=lookup.source)

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, rows in tables.items():
            own = pa.Table.from_pandas(rows, preserve_index=False)
            own = own.append_column("s_input_id", pa.repeat("input", len(own)))
            connection.register(name, own.append_column("s_row_id", pa.array(np.arange(len(own)))))
        snapshot = evaluate(compiled.snapshot, query("SELECT * FROM flights"), related)
        current = evaluate(compiled.current, snapshot, related)
        statement = query("SELECT * FROM $rows AS r ORDER BY s_row_id", rows=current)
        return connection.execute(statement.sql(DIALECT)).df()


@pytest.fixture(scope="module")
def joined(tables) -> pd.DataFrame:
    weather = tables["weather"][["origin", "time_hour", "wind_speed", "visib"]]
    planes = tables["planes"][["tailnum", "manufacturer", "year"]].rename(columns={"year": "built"})
    airports = tables["airports"].set_index("faa").name
    found = tables["flights"].merge(weather, on=["origin", "time_hour"], how="left", validate="m:1")
    found = found.merge(planes, on="tailnum", how="left", validate="m:1")
    found["airline"] = found.carrier.map(tables["airlines"].set_index("carrier").name)
    return found.assign(from_name=found.origin.map(airports), to_name=found.dest.map(airports))


def _assert_equal(actual: pd.Series, expected: pd.Series) -> None:
    assert (actual.isna() == expected.isna()).all()
    there = expected.notna()
    assert there.any()
    if pd.api.types.is_numeric_dtype(expected):
        np.testing.assert_allclose(actual[there].astype(float), expected[there].astype(float), rtol=1e-12)
    else:
        assert (actual[there].astype(object) == expected[there].astype(object)).all()


def test_every_row_is_there_once(computed):
    assert len(computed) == 336_776


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        ("carrier_name", "airline"),
        ("origin_name", "from_name"),
        ("destination_name", "to_name"),
        ("manufacturer", "manufacturer"),
        ("origin_wind_speed", "wind_speed"),
        ("origin_visibility", "visib"),
    ],
)
def test_look_ups_find_what_a_join_finds(computed, joined, rule, column):
    _assert_equal(computed[rule], joined[column])


def test_what_is_derived_from_them(computed, joined):
    _assert_equal(computed.plane_age, joined.year - joined.built)
    _assert_equal(computed.speed_mph, (60 * joined.distance / joined.air_time).astype("Float64"))
    bad = (joined.visib < 3) | (joined.wind_speed > 25)
    known = joined.visib.notna() & joined.wind_speed.notna()
    assert (computed.is_bad_weather[known].astype(bool) == bad[known]).all()
    assert 0 < bad.mean() < 0.2


def test_departures_in_the_hour_count_the_flight_itself(computed, joined):
    _assert_equal(computed.departures_in_hour, joined.groupby(["origin", "time_hour"]).flight.transform("size"))


def test_lateness(computed, joined):
    _assert_equal(computed.is_late, joined.arr_delay >= 15)
    _assert_equal(computed.is_cancelled, joined.dep_time.isna())
    kinds = computed.delay_category
    assert kinds.value_counts().to_dict() == {
        "on time": 247_246,
        "late": 51_783,
        "very late": 28_317,
        "cancelled": 8_255,
        "unknown": 1_175,
    }
    assert (computed[kinds == "late"].arr_delay.between(15, 59)).all()
    assert (computed[kinds == "very late"].arr_delay >= 60).all()
    assert computed[kinds == "unknown"].dep_time.notna().all()
