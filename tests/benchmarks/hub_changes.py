"""What changing a hub costs, beside other ways of changing a table by key, on the same data in the same run.

Run by hand: `make benchmark ROWS=1000000`. Grain of the output: one line a way and kind of input, median seconds of
some inputs, reading the whole table afterwards included, and the ratio to the floor. Machines are noisy: compare
ratios, not seconds.

Inputs on a hub of ROWS rows and 20 columns: `recent` (1 % of the rows, the highest keys), `random` (1 %, keys
anywhere), `full` (all rows, 1 % changed, 0.1 % new, 0.1 % missing).

The floor is hand-written for this one table: DuckDB compares a hash of the content by key, writes the changed rows to
one Parquet file and the positions they replace to another, and keeps no order, no history of inputs and no protocol.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.publish import replace_inputs

NUMBERS = [f"n{i}" for i in range(6)]
AMOUNTS = [f"m{i}" for i in range(4)]
CODES = [f"c{i}" for i in range(4)]
TEXTS = [f"t{i}" for i in range(5)]
COLUMNS = ["id", "n0", "t0", *NUMBERS[1:], *AMOUNTS, *CODES, *TEXTS[1:]]
TYPES = {
    **dict.fromkeys(["id", *NUMBERS], "integer"),
    **dict.fromkeys(AMOUNTS, "double"),
    **dict.fromkeys([*CODES, *TEXTS], "text"),
}
KINDS = ("recent", "random", "full")


def rows(ids: str, version: str) -> str:
    """A query of 20 columns over the query `ids` of one column `id`; `version` changes two of them.

    Values are those of business data, which compress by half and not to nothing: numbers and amounts of many values,
    codes of a few hundred, texts that are almost all different.
    """

    def drawn(name: str, values: int) -> str:
        return f"hash(id, '{name}') % {values}"

    changed = [f"CAST((hash(id) + ({version})) % 1000000 AS BIGINT) AS n0", f"'text ' || (id + ({version})) AS t0"]
    numbers = [f"CAST({drawn(name, 10**9)} AS BIGINT) AS {name}" for name in NUMBERS[1:]]
    amounts = [f"CAST({drawn(name, 10**7)} AS DOUBLE) / 100 AS {name}" for name in AMOUNTS]
    codes = [f"'code ' || {drawn(name, 300)} AS {name}" for name in CODES]
    texts = [f"substr(md5(concat(id, '{name}')), 1, 16) AS {name}" for name in TEXTS[1:]]
    return f"SELECT id, {', '.join([*changed, *numbers, *amounts, *codes, *texts])} FROM ({ids})"


def delivery(kind: str, size: int, number: int) -> str:
    """The query of the `number`-th input of a kind."""
    part = size // 100
    if kind == "recent":
        return rows(f"SELECT id FROM range({size - part}, {size}) AS r(id)", str(number))
    if kind == "random":
        step = 97 + 2 * number
        return rows(
            f"SELECT DISTINCT (id * {step} + {number}) % {size} AS id FROM range(0, {size}, {100}) AS r(id)",
            str(number),
        )
    few = size // 1000
    ids = f"SELECT id FROM range({few * number}, {size + few * number}) AS r(id)"
    return rows(ids, f"CASE WHEN id % 100 = {number} THEN {number} ELSE 0 END")


def deliveries(kind: str, size: int, rounds: int, folder: Path) -> list[Path]:
    """Parquet files below `folder`: the first table, then `rounds` inputs of a kind."""
    files = [folder / f"{number}.parquet" for number in range(rounds + 1)]
    for number, parquet in enumerate(files):
        ids = f"SELECT id FROM range({size}) AS r(id)"
        duckdb.sql(delivery(kind, size, number) if number else rows(ids, "0")).write_parquet(str(parquet))
    return files


class Way(Protocol):
    """One way of changing a table by key."""

    name: str

    def load(self, parquet: Path) -> None:
        """Make the table of these rows."""

    def change(self, parquet: Path, number: int) -> None:
        """Put an input into the table; of a full extract also what is missing."""

    def read(self) -> tuple[int, int]:
        """Rows, and the sum of a column, of the whole table."""


class Ours:
    """Change capture, enrichment and refresh, each publishing its table."""

    name = "dataops"
    settings: Mapping[str, Any] = {}

    def __init__(self, home: Path, kind: str) -> None:
        variables = {"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home), "DATAOPS_MEMORY": "1GB"}
        environment = environment_from(variables, home)
        columns = [{"name": name, "type": TYPES[name]} for name in COLUMNS]
        source = Source.model_validate(
            {
                "name": "things",
                "area": "benchmarks",
                "connection": {"type": "files", "path": "things_*.parquet"},
                "columns": columns,
                "refresh": {"type": "full" if kind == "full" else "key", "key": ["id"], **self.settings},
            }
        )
        metadata = MetadataStore(environment.metadata_url)
        metadata.migrate()
        metadata.contracts.register(source)
        self._context = SourceContext(environment, source, {"things": source}, DuckDBEngine(environment), metadata)
        self._parsed: dict[int, Input] = {}

    def parse(self, parquet: Path, number: int) -> None:
        """What precedes a change of the hub: the input's rows in the lake. Not timed."""
        when = dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=number)
        item = Input(when, when, f"{number:04}", f"{number:064}", str(parquet), 1, f"{number:064}")
        self._context.metadata.register_inputs("things", [item])
        with self._context.engine.session() as session:
            landed = session.create(query("SELECT * FROM read_parquet($path)", path=str(parquet)))
            numbered = query(
                "SELECT l.*, $i AS s_input_id, row_number() OVER () - 1 AS s_row_id FROM $landed AS l",
                landed=landed,
                i=item.input_id,
            )
            replace_inputs(session, self._context.lake, numbered, [item.input_id])
        self._parsed[number] = item

    def load(self, parquet: Path) -> None:
        self.parse(parquet, 0)
        self.change(parquet, 0)

    def change(self, _parquet: Path, number: int) -> None:
        for step in (cdc, enrich, refresh):
            report = step(self._context, [self._parsed[number]])
            if report.failures:
                raise SystemExit(str(report.failures[0].error))

    def read(self) -> tuple[int, int]:
        snapshot = self._context.hub.snapshot()
        if snapshot is None:
            raise SystemExit("no hub")
        with self._context.engine.session() as session:
            found = session.fetch(
                query("SELECT count(*) AS n, sum(n0) AS s FROM $hub AS h", hub=session.scan(snapshot))
            )
        return found.column("n")[0].as_py(), int(found.column("s")[0].as_py())


class OursPartial(Ours):
    """The same where a null means 'unchanged', for all columns."""

    name = "partial updates"
    settings: Mapping[str, Any] = {"merge": {"*": "last"}}


class OursMerged(Ours):
    """The same with columns that are made of several rows, each in its own way."""

    name = "merged columns"
    settings: Mapping[str, Any] = {
        "merge": {"n1": "sum", "n2": "greatest", "m0": "least", "c0": "first", "t1": {"take": "last", "when": "n2 > 0"}}
    }


class OursInPlace(Ours):
    """The same with a column that is updated in place."""

    name = "updated in place"
    settings: Mapping[str, Any] = {"update_in_place": ["t0"]}


class Floor:
    """Hand-written DuckDB: compare a content hash by key, write changed rows and replaced positions."""

    name = "floor"

    def __init__(self, home: Path, kind: str) -> None:
        self._home = home
        self._is_full = kind == "full"
        self._connection = duckdb.connect()
        self._content = f"CAST('0x' || left(md5(concat_ws('|', {', '.join(COLUMNS[1:])})), 15) AS BIGINT)"

    def _live(self) -> str:
        gone = self._home / "gone"
        files = f"read_parquet('{self._home}/data/*.parquet', filename=true, file_row_number=true)"
        if not any(gone.glob("*.parquet")):
            return f"SELECT * FROM {files}"
        replaced = f"read_parquet('{gone}/*.parquet')"
        return f"SELECT d.* FROM {files} AS d ANTI JOIN {replaced} AS g USING (filename, file_row_number)"

    def load(self, parquet: Path) -> None:
        for folder in ("data", "gone"):
            (self._home / folder).mkdir()
        self._write("data/0", f"SELECT *, {self._content} AS h FROM read_parquet('{parquet}')")

    def _write(self, name: str, rows: str) -> None:
        self._connection.execute(f"COPY ({rows}) TO '{self._home}/{name}.parquet' (COMPRESSION zstd)")

    def change(self, parquet: Path, number: int) -> None:
        run = self._connection.execute
        run(f"CREATE OR REPLACE TEMP TABLE new AS SELECT *, {self._content} AS h FROM read_parquet('{parquet}')")
        run(f"CREATE OR REPLACE TEMP TABLE live AS SELECT id, h, filename, file_row_number FROM ({self._live()})")
        absent = " OR n.id IS NULL" if self._is_full else ""
        join = "LEFT JOIN" if self._is_full else "JOIN"
        replaced = (
            f"SELECT l.filename, l.file_row_number FROM live AS l {join} new AS n USING (id) WHERE n.h <> l.h{absent}"
        )
        self._write(f"data/{number}", "SELECT n.* FROM new AS n ANTI JOIN live AS l ON l.id = n.id AND l.h = n.h")
        self._write(f"gone/{number}", replaced)

    def read(self) -> tuple[int, int]:
        found = self._connection.execute(f"SELECT count(*), sum(n0) FROM ({self._live()})").fetchone()
        return found or (0, 0)


class DeltaMerge:
    """delta-rs `merge`."""

    name = "delta-rs merge"

    def __init__(self, home: Path, kind: str) -> None:
        self._uri = str(home / "table")
        self._is_full = kind == "full"

    def load(self, parquet: Path) -> None:
        write_deltalake(self._uri, duckdb.sql(f"SELECT * FROM read_parquet('{parquet}')").to_arrow_table())

    def change(self, parquet: Path, _number: int) -> None:
        new = duckdb.sql(f"SELECT * FROM read_parquet('{parquet}')").to_arrow_table()
        merge = DeltaTable(self._uri).merge(new, "t.id = s.id", source_alias="s", target_alias="t")
        differs = " OR ".join(f"t.{name} <> s.{name}" for name in COLUMNS[1:])
        merge = merge.when_matched_update_all(predicate=differs).when_not_matched_insert_all()
        (merge.when_not_matched_by_source_delete() if self._is_full else merge).execute()

    def read(self) -> tuple[int, int]:
        found = (
            QueryBuilder().register("t", DeltaTable(self._uri)).execute("SELECT count(*), sum(n0) FROM t").read_all()
        )
        return found.column(0)[0].as_py(), found.column(1)[0].as_py()


class DuckDBMerge:
    """DuckDB's own MERGE INTO, on a database file."""

    name = "DuckDB MERGE INTO"

    def __init__(self, home: Path, kind: str) -> None:
        self._connection = duckdb.connect(str(home / "table.duckdb"))
        self._is_full = kind == "full"

    def load(self, parquet: Path) -> None:
        self._connection.execute(f"CREATE TABLE t AS SELECT * FROM read_parquet('{parquet}')")

    def change(self, parquet: Path, _number: int) -> None:
        differs = " OR ".join(f"t.{name} <> s.{name}" for name in COLUMNS[1:])
        absent = "WHEN NOT MATCHED BY SOURCE THEN DELETE" if self._is_full else ""
        self._connection.execute(
            f"MERGE INTO t USING read_parquet('{parquet}') AS s ON t.id = s.id "
            f"WHEN MATCHED AND ({differs}) THEN UPDATE WHEN NOT MATCHED THEN INSERT {absent}"
        )
        self._connection.execute("CHECKPOINT")

    def read(self) -> tuple[int, int]:
        found = self._connection.execute("SELECT count(*), sum(n0) FROM t").fetchone()
        return found or (0, 0)


class Peer:
    """Another tool, in a process of its own: see peers.py."""

    def __init__(self, name: str, home: Path, kind: str) -> None:
        self.name = name
        command = [str(PEERS), str(Path(__file__).with_name("peers.py")), name, str(home), kind]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=home
        )

    def _ask(self, request: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise SystemExit(f"{self.name}: no pipes")
        print(request, file=self._process.stdin, flush=True)
        if not (answer := self._process.stdout.readline()):
            raise SystemExit(f"{self.name} ended with status {self._process.wait()} at: {request}")
        return answer

    def load(self, parquet: Path) -> None:
        self._ask(f"load {parquet}")

    def change(self, parquet: Path, _number: int) -> None:
        self._ask(f"change {parquet}")

    def read(self) -> tuple[int, int]:
        count, total = self._ask("read").split()
        return int(count), int(total)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


PEERS = Path(os.environ.get("PEERS_PYTHON", "python"))
WAYS: dict[str, Callable[[Path, str], Way]] = {
    **{way.name: way for way in (Floor, Ours, OursPartial, OursMerged, OursInPlace, DuckDBMerge, DeltaMerge)},
    **{name: functools.partial(Peer, name) for name in ("dbt snapshot", "SQLMesh", "dlt merge")},
}


class Measured(NamedTuple):
    """What one way took: seconds and CPU seconds a change, rows and sum it ended with, peak memory in GiB.

    CPU seconds are not known of a peer, which is another process.
    """

    seconds: float
    cpu: float
    result: tuple[int, int]
    memory: float


def measured(name: str, kind: str, home: Path, files: list[Path]) -> Measured:
    """Load the first of `files` and change by each other one, in a process that did nothing else before."""
    way = WAYS[name](home, kind)
    way.load(files[0])
    seconds, cpu, result = [], [], (0, 0)
    for number, parquet in enumerate(files[1:], 1):
        if isinstance(way, Ours):
            way.parse(parquet, number)
        started, used = time.perf_counter(), time.process_time()
        way.change(parquet, number)
        result = way.read()
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    if isinstance(way, Peer):
        way.close()
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Measured(statistics.median(seconds), statistics.median(cpu), result, max(peaks) / 1024 / 1024)


def compared(kind: str, size: int, rounds: int, ways: list[str]) -> Iterator[tuple[str, Measured]]:
    """Each way on the same inputs; all must end with the same table."""
    with tempfile.TemporaryDirectory() as folder:
        files = deliveries(kind, size, rounds, Path(folder))
        results: dict[str, tuple[int, int]] = {}
        for name in ways or WAYS:
            place = Path(folder, "way")
            place.mkdir()
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                found = process.submit(measured, name, kind, place, files).result()
            shutil.rmtree(place)
            results[name] = found.result
            yield name, found
        if len(set(results.values())) > 1:
            raise SystemExit(f"{kind}: the ways disagree: {results}")


def main() -> int:
    """Print a table of seconds, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--ways", nargs="*", default=[], choices=list(WAYS))
    given = parser.parse_args()
    duckdb.execute("SET enable_progress_bar = false")
    print(f"{given.rows:,} rows, {len(COLUMNS)} columns, median of {given.rounds}; memory with loading")
    for kind in given.kinds:
        floor = None
        for name, found in compared(kind, given.rows, given.rounds, given.ways):
            floor = found.seconds if name == Floor.name else floor
            ratio = f"{found.seconds / floor:7.2f} of the floor" if floor else ""
            print(
                f"{kind:8} {name:20} {found.seconds:8.2f} s {found.cpu:8.2f} CPU s {ratio} {found.memory:6.1f} GiB",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
