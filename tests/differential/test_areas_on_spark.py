"""Raw files become the same lake, quarantine, hubs and profiles on both engines: hostile ones, and both demo areas."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from both_engines import assert_same
from declared import arrived
from test_parse_conversion import ODD

from dataops_assets.config.environment import Environment, environment_from
from dataops_assets.config.source import Source
from dataops_assets.demo import flights, rossmann
from dataops_assets.engines.base import Engine
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.profiles import ColumnProfile
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.parse import parse
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext

DEFS = Path(__file__).parents[2] / "dataops_assets" / "defs"
Files = Mapping[str, bytes]


class Area:
    """The sources of an area, taken by one engine, or by two in turns."""

    def __init__(
        self, home: Path, sources: Sequence[Source], *engines: Engine, environment: Environment | None = None
    ) -> None:
        environment = environment or environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        self._sources = {source.name: source for source in sources}
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        for source in sources:
            metadata.contracts.register(source)
        self._engines = engines
        self._world = SourceContext(environment, sources[0], self._sources, engines[0], metadata)

    def source_context(self, name: str, turn: int = 0) -> SourceContext:
        engine = self._engines[turn % len(self._engines)]
        return dataclasses.replace(self._world, source=self._sources[name], engine=engine)

    def take(self, name: str, files: Files, turn: int = 0) -> None:
        """One run over some files, each an input of a day of its own."""
        context = self.source_context(name, turn)
        inputs = []
        for day, (file, content) in enumerate(files.items()):
            time = dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=10 * turn + day)
            digest = hashlib.sha256(content).hexdigest()
            item = arrived(time, f"{time:%Y%m%d}-{digest[:8]}", digest, f"/landing/{file}", len(content))
            context.raw.add(item, [content], None)
            inputs.append(item)
        context.metadata.register_inputs(name, inputs)
        for place, step in enumerate((parse, cdc, enrich, refresh)):
            report = step(self.source_context(name, turn + place), inputs)
            assert not report.failures, report.failures[0].error
        if any(rule.mode == "keep_current" for rule in context.source.rules):
            recalculate(self.source_context(name, turn))

    def profiles(self, name: str) -> list[object]:
        """What was measured of every table, without estimates; means to 12 digits."""
        assets = (f"lake/{name}", f"hub/{name}_enriched", f"hub/{name}")
        found = [item for asset in assets for item in self._world.metadata.profiles.newest(name, asset)]
        return [(item.asset, item.input_id, item.rows, [measured(column) for column in item.columns]) for item in found]


def measured(column: ColumnProfile) -> tuple[object, ...]:
    means = [None if value is None else f"{value:.12g}" for value in (column.mean, column.stddev)]
    return (column.name, column.type, column.nulls, column.min, column.max, *means)


def declared(area: str) -> list[Source]:
    return [
        Source.model_validate(yaml.safe_load(path.read_text())["attributes"])
        for path in sorted((DEFS / area).glob("*/defs.yaml"))
    ]


def assert_area_same(reader: DuckDBEngine, one: Area, other: Area, names: Sequence[str]) -> None:
    for name in names:
        assert_same(reader, one.source_context(name), other.source_context(name))
        assert one.profiles(name) == other.profiles(name)


def test_flights(spark: SparkEngine, duckdb: DuckDBEngine, tmp_path: Path) -> None:
    days = [dt.date(2013, 1, 1), dt.date(2013, 1, 2)]
    first = flights.file_bytes("flights", days[:1], preliminary=False)
    broken = first.replace(b"2013,1,1,", b"2013,one,1,", 3)
    deliveries: list[tuple[str, Files, int]] = [
        ("airlines", {"airlines.csv": flights.packaged("airlines.csv")}, 0),
        ("airports", {"airports.csv": flights.packaged("airports.csv")}, 0),
        ("planes", {"planes.csv": flights.planes_before_2013()}, 0),
        ("weather", {"weather.csv": flights.file_bytes("weather", days)}, 0),
        ("flights", {"late.csv": flights.file_bytes("flights", days[1:], preliminary=True), "first.csv": broken}, 0),
        ("flights", {"corrected.csv": flights.file_bytes("flights", days[1:])}, 1),
    ]
    sources = declared("flights")
    areas = []
    for name, engines in (("embedded", (duckdb,)), ("mixed", (spark, duckdb, spark))):
        area = Area(tmp_path / name, sources, *engines)
        # what flights look up; such plain sources on Spark are in the tests of refresh types and of Rossmann's area
        looked_up = Area(tmp_path / name, sources, duckdb)
        for source, files, turn in deliveries:
            (area if source == "flights" else looked_up).take(source, files, turn)
        areas.append(area)
    assert_area_same(duckdb, *areas, ["flights"])


def test_rossmann(spark: SparkEngine, duckdb: DuckDBEngine, tmp_path: Path) -> None:
    rows = rossmann.sales()
    days = sorted(set(rows["Date"].to_pylist()))[-14:]
    few = rows.filter(pc.and_(pc.is_in(rows["Date"], pa.array(days, rows["Date"].type)), pc.less(rows["Store"], 40)))
    week = few.filter(pc.is_in(few["Date"], pa.array(days[-7:], rows["Date"].type)))
    changed = week.set_column(week.schema.get_field_index("Sales"), "Sales", pc.add(week["Sales"], 1))
    deliveries: list[tuple[str, Files, int]] = [
        ("stores", {"store.csv": rossmann.csv_bytes(rossmann.stores())}, 0),
        ("sales", {"train.csv": rossmann.csv_bytes(few)}, 0),
        ("sales", {"week.csv": rossmann.csv_bytes(changed)}, 1),
    ]
    areas = []
    for name, engines in (("embedded", (duckdb,)), ("spark", (spark,))):
        area = Area(tmp_path / name, declared("rossmann"), *engines)
        for source, files, turn in deliveries:
            area.take(source, files, turn)
        areas.append(area)
    assert_area_same(duckdb, *areas, ["stores", "sales"])


KINDS = ("text", "integer", "double", "decimal(10,2)", "boolean", "date", "timestamp", "timestamptz")
TIMES = (
    "2013-01-05|2013/1/5|2013-01-05 12:30|2013-01-05T12:30:00.5|2013-01-05T12:30:00.1234567|2013-01-05T12:30:00Z|"
    "2013-01-05 12:30:00+05:30|2013-01-05 12:30:00-08|2013-02-30|0001-01-01|9999-12-31 23:59:59.999999|epoch| "
    "2013-01-05 |2013-03-31 02:30|2013-01-05 24:00|2013-01-05T24:00:00Z|2013-01-05 24:00:01|"
    "2013-01-05T25:00|t|no|1.0|\U0001f600|Ärger"
)


def hostile(**fields: object) -> Source:
    return Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things/*", **fields},
            "columns": [{"name": kind.partition("(")[0] + "_value", "type": kind} for kind in KINDS],
            "refresh": {"type": "append"},
        }
    )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_hostile_values(form: str, spark: SparkEngine, duckdb: DuckDBEngine, tmp_path: Path) -> None:
    """One value of a row is odd, so that it alone decides whether the row is rejected."""
    names = [item.name for item in hostile().columns]
    if form == "csv":
        texts = [text for text in (*ODD.split("|"), *TIMES.split("|")) if "\n" not in text and "," not in text]
        rows = [
            "|".join(text if place == odd else "" for place in range(len(names)))
            for odd in range(len(names))
            for text in texts
        ]
        content = "\n".join(["|".join(names), *rows]).encode()
        source = hostile(format={"type": "csv", "delimiter": "|", "null_words": [""]})
    else:
        times = [1_000, 1_001, None]
        columns = {
            "text_value": pa.array([{"a": 1}, None, {"a": 2}]),
            "integer_value": pa.array([1, 2**63, None], pa.uint64()),
            "double_value": pa.array([2**53 + 1, 5, None], pa.int64()),
            "decimal_value": pa.array([0.1, 1.239, 1e10]),
            "boolean_value": pa.array([0, 1, 2], pa.int8()),
            "date_value": pa.array([0, 86_400_000, 1], pa.timestamp("ms")),
            "timestamp_value": pa.array(times, pa.timestamp("ns")),
            "timestamptz_value": pa.array([dt.date(2013, 1, 5), None, dt.date(1, 1, 1)]),
        }
        table = pa.table(columns)
        parts = [
            pa.table({name: table[name] if name == odd else pa.nulls(3, table[name].type) for name in columns})
            for odd in columns
        ]
        out = io.BytesIO()
        pq.write_table(pa.concat_tables(parts), out)
        content, source = out.getvalue(), hostile(format={"type": "parquet"})
    areas = []
    for name, engine in (("embedded", duckdb), ("spark", spark)):
        area = Area(tmp_path / name, [source], engine)
        area.take("things", {f"things.{form}": content})
        areas.append(area)
    assert_area_same(duckdb, *areas, ["things"])
