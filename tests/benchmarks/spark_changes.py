"""What changing a hub costs on Spark, beside a hand-written MERGE of Delta Lake, on the same data in the same run.

Run by hand: `make benchmark-spark ROWS=1000000`, in local mode with Spark's default settings. Inputs, grain of the
output and the way of timing are those of `hub_changes.py`; the ratio is to the MERGE.

The MERGE compares all columns of the rows whose keys match and writes deletion vectors. It keeps no order, no history
of inputs, no change set and no look at the data, each of which is a table or a query of ours.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hub_changes import COLUMNS, KINDS, Ours, Way, deliveries
from pyspark.sql import SparkSession

from dataops_assets.components.platform import spark_session
from dataops_assets.config.environment import environment_from
from dataops_assets.engines.spark import SparkEngine


class OnSpark(Ours):
    """Change capture, enrichment and refresh by Spark. What precedes them, and is not timed, is done embedded."""

    name = "dataops on Spark"

    def __init__(self, home: Path, kind: str, spark: SparkEngine) -> None:
        super().__init__(home, kind)
        self._embedded = self._context
        self._distributed = dataclasses.replace(self._context, engine=spark)

    def parse(self, parquet: Path, number: int) -> None:
        self._context = self._embedded
        super().parse(parquet, number)
        self._context = self._distributed


class Merge:
    """One MERGE statement on a Delta table."""

    name = "MERGE by hand"

    def __init__(self, home: Path, kind: str, spark: SparkSession) -> None:
        self._table, self._kind, self._spark = f"delta.`{home / 'merged'}`", kind, spark

    def load(self, parquet: Path) -> None:
        self._spark.sql(
            f"CREATE TABLE {self._table} USING delta TBLPROPERTIES ('delta.enableDeletionVectors' = 'true') "
            f"AS SELECT * FROM parquet.`{parquet}`"
        )

    def change(self, parquet: Path, _number: int) -> None:
        same = " AND ".join(f"h.{name} <=> i.{name}" for name in COLUMNS if name != "id")
        gone = "WHEN NOT MATCHED BY SOURCE THEN DELETE" if self._kind == "full" else ""
        self._spark.sql(
            f"MERGE INTO {self._table} AS h USING parquet.`{parquet}` AS i ON h.id = i.id "
            f"WHEN MATCHED AND NOT ({same}) THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT * {gone}"
        )

    def read(self) -> tuple[int, int]:
        found = self._spark.sql(f"SELECT count(*) AS n, sum(n0) AS s FROM {self._table}").collect()[0]
        return int(found.n), int(found.s)


def measured(kind: str, size: int, rounds: int, spark: SparkEngine) -> Iterator[tuple[str, float]]:
    """Median seconds of each way after one change that is not counted; all must end with the same table.

    The ways take each change in turn, because a machine is not as fast at one time as at another.
    """
    with tempfile.TemporaryDirectory() as folder, spark.session() as session:
        home = Path(folder)
        files = deliveries(kind, size, rounds + 1, home)
        ours = OnSpark(_made(home / "ours"), kind, spark)
        ways: list[Way] = [Merge(_made(home / "merge"), kind, session.spark), ours]
        seconds: dict[str, list[float]] = {way.name: [] for way in ways}
        for way in ways:
            way.load(files[0])
        # the first change pays for what Java compiles
        for number in range(1, rounds + 2):
            ours.parse(files[number], number)
            results = {}
            for way in ways if number % 2 else reversed(ways):
                started = time.perf_counter()
                way.change(files[number], number)
                results[way.name] = way.read()
                seconds[way.name].append(time.perf_counter() - started)
            if len(set(results.values())) > 1:
                raise SystemExit(f"{kind}: the ways disagree: {results}")
        for way in ways:
            yield way.name, statistics.median(seconds[way.name][1:])


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> int:
    """Print a table of seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        settings = {"DATAOPS_ENV": "test", "DATAOPS_HOME": home}
        settings |= {name: value for name, value in os.environ.items() if name.startswith("DATAOPS_SPARK_")}
        spark = SparkEngine(environment_from(settings, Path(home)), spark_session)
        print(f"{given.rows:,} rows, {len(COLUMNS)} columns, median of {given.rounds}")
        for kind in given.kinds:
            floor = 0.0
            for name, seconds in measured(kind, given.rows, given.rounds, spark):
                floor = floor or seconds
                print(f"{kind:8} {name:20} {seconds:8.2f} s {seconds / floor:6.2f} of the MERGE", flush=True)
        spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
