"""Rows from PostgreSQL to a hub and from the hub to PostgreSQL, beside dlt and plain COPY. `make benchmark-databases`.

Grain of the output: one line a way, with elapsed seconds, CPU seconds of the process (not the server), rows a second,
and the most memory of the process. ROWS (1,000,000) rows of 20 columns are loaded at first; then 1 % of them
change, and are loaded again. Each way runs in a process of its own; imports are not counted. The rows that arrived are
compared with the table afterwards.

* *plain COPY*: the same rows by `COPY ... TO STDOUT`, thrown away; a CSV file by `COPY ... FROM STDIN`.
* *ours*: a look at the table and the steps from raw to hub, all checks included; the output of the hub.
* *a look*: at ROWS and at five times as many rows, to compare its memory.
* *several connections*: a look at the table by one, two and four connections, by turns; medians of RUNS (5).
* *dlt*: a table of DuckDB in place of the hub; connectorx reads and COPY of CSV files writes, its fastest ways.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2

ROWS = int(os.environ.get("ROWS", "1000000"))
RUNS = int(os.environ.get("RUNS", "5"))
PEERS = os.environ.get("PEERS_PYTHON", "")
_TABLE = """
CREATE TABLE t AS SELECT n AS id, {columns}, timestamptz '2024-01-01 00:00:00+00' + n * interval '1 ms' AS changed_at
FROM generate_series(1, {rows}) AS n
"""
KINDS = {
    "integer": ("integer", "((n * 31::bigint + {n}) % 100000)::integer", 5),
    "double": ("double", "((n * 17::bigint + {n}) % 10000000) / 1000.0::double precision", 4),
    "decimal": ("decimal(14,2)", "(((n * 13::bigint + {n}) % 100000000) / 100.0)::numeric(14,2)", 2),
    "text": ("text", "'item-' || ((n * 7::bigint + {n}) % 5000)", 4),
    "day": ("date", "date '2020-01-01' + ((n + {n}) % 1000)", 1),
    "moment": ("timestamp", "timestamp '2020-01-01' + ((n * 3::bigint + {n}) % 80000000) * interval '1 s'", 2),
}
_CHANGE = "UPDATE t SET integer_0 = integer_0 + 1, changed_at = changed_at + interval '1 year' WHERE id % 100 = 7"
_SUMS = "SELECT count(*), sum(id), sum(integer_0), sum(decimal_0) FROM {table}"
_DLT = """
import json, os, resource, sys, time
import dlt, duckdb
from dlt.sources.sql_database import sql_table
way, url, home = sys.argv[1:]
hub = f"{home}/hub.duckdb"
where = dict(pipelines_dir=f"{home}/pipelines", dataset_name="d")
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
before, began = time.process_time(), time.perf_counter()
since = dlt.sources.incremental("changed_at")
disposition = "replace" if way.endswith("first") else "merge"
if way.startswith("in"):
    pipeline = dlt.pipeline("t_in", destination=dlt.destinations.duckdb(hub), **where)
    table = sql_table(credentials=url, table="t", backend="connectorx", incremental=since)
    pipeline.run(table, write_disposition=disposition, primary_key="id")
else:
    @dlt.resource(name="out", primary_key="id", write_disposition=disposition)
    def rows(since=dlt.sources.incremental("changed_at")):
        condition = "" if since.last_value is None else f" WHERE changed_at >= TIMESTAMPTZ '{since.last_value}'"
        with duckdb.connect(hub, read_only=True) as opened:
            yield opened.execute(f"SELECT * FROM d.t{condition}").to_arrow_table()
    pipeline = dlt.pipeline("t_out", destination=dlt.destinations.postgres(url), **where)
    pipeline.run(rows(), loader_file_format="csv")
pipeline.last_trace.last_normalize_info and pipeline.last_trace.last_load_info.raise_on_failed_jobs()
spent = time.process_time() - before, time.perf_counter() - began
with duckdb.connect(hub, read_only=True) as opened:
    sums = opened.execute(sys.stdin.read().format(table="d.t")).fetchone() if way.startswith("in") else None
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"cpu": spent[0], "elapsed": spent[1], "peak": peak, "sums": [str(v) for v in sums or ()]}))
"""


def columns() -> list[tuple[str, str, str]]:
    """The columns beside the key and the time of change: name, declared type, and SQL that makes the values."""
    return [
        (f"{name}_{n}", kind, made.format(n=n)) for name, (kind, made, number) in KINDS.items() for n in range(number)
    ]


def declared(way: str) -> dict[str, object]:
    """The source as a person would declare it, for a way to read it.

    'look-N' is a query that has the rows of the table N times, 'by-N' the whole table by N connections.
    """
    kind, _, number = way.partition("-")
    reads: dict[str, object] = {"table": "public.t", "incremental": {"cursor": "xmin"}}
    if kind == "look":
        reads = {"query": f"SELECT t.* FROM t, generate_series(1, {int(number)})"}
    elif kind == "by":
        reads = {"table": "public.t", "parallel": int(number)}
    given = [("id", "integer"), *((name, kind) for name, kind, _ in columns()), ("changed_at", "timestamptz")]
    return {
        "name": "t",
        "area": "shop",
        "connection": {"type": "database", "database": "shop", "every": "PT0S", **reads},
        "columns": [{"name": name, "type": kind, "nullable": name != "id"} for name, kind in given],
        "refresh": {"type": "key", "key": ["id"]},
    }


def ours(way: str, url: str, home: Path) -> dict[str, object]:
    """Do one way in this process, and return what it took."""
    from dataops_assets.components.graph import nodes
    from dataops_assets.components.platform import Platform
    from dataops_assets.config.databases import Connections
    from dataops_assets.config.environment import environment_from
    from dataops_assets.config.outputs import Output
    from dataops_assets.config.source import Source
    from dataops_assets.connections.discovery import discover
    from dataops_assets.outputs.context import OutputContext
    from dataops_assets.outputs.deliver import deliver
    from dataops_assets.report import PER_INPUT
    from dataops_assets.rules.compiler import compile_rules
    from dataops_assets.sql import query
    from dataops_assets.steps.recording import run_recorded

    parts = urlsplit(url)
    os.environ["SHOP_DB_PASSWORD"] = unquote(parts.password or "")
    server = {"type": "postgres", "host": "127.0.0.1", "port": parts.port, "user": parts.username}
    known = {"shop": {**server, "database": "postgres", "password": {"env": "SHOP_DB_PASSWORD"}}}
    databases = Connections.model_validate({"connections": known}).connections
    environment = environment_from({**os.environ, "DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
    source = Source.model_validate(declared(way))
    platform = Platform(environment)
    context = platform.source_context(source, {"t": source})
    steps = {node.name: node.as_step for node in nodes(source, compile_rules(source, {"t": source}))}
    seconds: dict[str, float] = {}
    look_peak = 0
    before, began = time.process_time(), time.perf_counter()
    if not way.startswith("out"):
        new = discover(source, environment, platform.metadata, now=dt.datetime.now(dt.UTC), databases=databases).new
        seconds["look"] = time.process_time() - before
        look_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in PER_INPUT if way.startswith("in") else ():
            step_began = time.process_time()
            report = run_recorded(context, steps[name], new, [item.input_id for item in new], "benchmark")
            assert not report.failures, report.failures[0].error
            seconds[name] = time.process_time() - step_began
    else:
        to = {"type": "table", "database": "shop", "table": "public.out", "structure": "create"}
        output = Output.model_validate({"name": "t", "area": "shop", "from": "hub/t", "mode": "incremental", "to": to})
        done = deliver(OutputContext(environment, output, {"t": source}, databases, platform.engine, platform.metadata))
        assert not done.failures, done.failures[0].error
    cpu, elapsed = time.process_time() - before, time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hub = context.hub.snapshot()
    sums: dict[str, object] = {}
    if hub is not None:
        with platform.engine.session() as session:
            rows = session.scan(hub)
            sums = session.fetch(query(_SUMS.format(table="$rows"), rows=rows)).to_pylist()[0]
    return {
        "cpu": cpu,
        "elapsed": elapsed,
        "peak": peak,
        "parts": seconds,
        "look_peak": look_peak,
        "sums": [str(value) for value in sums.values()],
    }


class _Nowhere:
    def write(self, text: bytes) -> int:
        return len(text)


def _show(way: str, took: dict[str, Any], rows: int) -> None:
    speed = f"{rows / took['elapsed']:10,.0f} rows/s"
    memory = f"{took['peak'] / 1e6:6.2f} GB" if took.get("peak") else ""
    print(f"{way:24} {took['elapsed']:7.2f} s {took['cpu']:7.2f} CPU s {speed} {memory}", flush=True)
    if parts := took.get("parts"):
        print("  CPU s: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items()), end="")
        print(f"; {took['look_peak'] / 1e6:.2f} GB after the look", flush=True)


def _plain(work: Callable[[], object]) -> dict[str, float]:
    before, began = time.process_time(), time.perf_counter()
    work()
    return {"cpu": time.process_time() - before, "elapsed": time.perf_counter() - began}


def test_rows_of_postgres_to_a_hub_and_back(postgres_url: str, tmp_path: Path) -> None:
    opened = psycopg2.connect(postgres_url)
    opened.autocommit = True
    server = opened.cursor()
    made = ", ".join(f"{sql} AS {name}" for name, _, sql in columns())
    server.execute(_TABLE.format(columns=made, rows=ROWS))
    server.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    server.execute("ANALYZE t")

    def sums(table: str) -> list[str]:
        server.execute(_SUMS.format(table=table))
        return [str(value) for value in server.fetchone() or ()]

    def way(tool: str, name: str) -> dict[str, Any]:
        home = tmp_path / tool
        home.mkdir(exist_ok=True)
        given = [PEERS, "-c", _DLT] if tool == "dlt" else [sys.executable, __file__]
        done = subprocess.run(
            [*given, name, postgres_url, str(home)], input=_SUMS, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        took = json.loads(done.stdout.splitlines()[-1])
        if took.pop("sums") not in ([], expected) or (
            name.startswith("out") and sums("d.out" if tool == "dlt" else "public.out") != expected
        ):
            raise AssertionError(f"{tool} {name}: other rows than in the table")
        return dict(took)

    tools = ["ours", *(["dlt"] if PEERS else [])]
    csv = tmp_path / "t.csv"
    for moment, number in (("first", ROWS), ("changes", ROWS // 100)):
        expected = sums("t")
        print(f"\n{moment}: {number:,} of {ROWS:,} rows")
        if moment == "first":
            _show("plain COPY TO", _plain(lambda: server.copy_expert("COPY t TO STDOUT", _Nowhere())), ROWS)
        for tool in tools:
            _show(f"to the hub: {tool}", way(tool, f"in-{moment}"), number)
        if moment == "first":
            with csv.open("wb") as file:
                server.copy_expert("COPY t TO STDOUT (FORMAT csv)", file)
            server.execute("CREATE TABLE plain (LIKE t INCLUDING ALL)")
            with csv.open("rb") as file:
                _show(
                    "plain COPY FROM",
                    _plain(lambda: server.copy_expert("COPY plain FROM STDIN (FORMAT csv)", file)),
                    ROWS,
                )
        for tool in tools:
            _show(f"to PostgreSQL: {tool}", way(tool, f"out-{moment}"), number)
        server.execute(_CHANGE)
    opened.close()


def test_memory_of_a_look_at_a_whole_table(postgres_url: str, tmp_path: Path) -> None:
    opened = psycopg2.connect(postgres_url)
    opened.autocommit = True
    made = ", ".join(f"{sql} AS {name}" for name, _, sql in columns())
    with opened.cursor() as server:
        server.execute(f"DROP TABLE IF EXISTS t; {_TABLE.format(columns=made, rows=ROWS)}")
    print("\na look at a query, which writes one raw file")
    for times in (1, 5):
        home = tmp_path / str(times)
        home.mkdir()
        command = [sys.executable, __file__, f"look-{times}", postgres_url, str(home)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        took = json.loads(done.stdout.splitlines()[-1])
        _show(f"{times * ROWS:,} rows", took | {"parts": {}}, times * ROWS)
    opened.close()


def test_a_look_by_several_connections(postgres_url: str, tmp_path: Path) -> None:
    opened = psycopg2.connect(postgres_url)
    opened.autocommit = True
    made = ", ".join(f"{sql} AS {name}" for name, _, sql in columns())
    with opened.cursor() as server:
        server.execute(f"DROP TABLE IF EXISTS t; {_TABLE.format(columns=made, rows=ROWS)}")
        server.execute("VACUUM ANALYZE t")
    took: dict[int, list[dict[str, Any]]] = {1: [], 2: [], 4: []}
    for run in range(RUNS):
        for connections, found in took.items():
            home = tmp_path / f"{connections}-{run}"
            home.mkdir()
            command = [sys.executable, __file__, f"by-{connections}", postgres_url, str(home)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
            found.append(json.loads(done.stdout.splitlines()[-1]))
    print("\na look at the whole table, medians")
    for connections, found in took.items():
        _show(
            f"{connections} connections",
            {name: statistics.median(item[name] for item in found) for name in ("elapsed", "cpu", "peak")},
            ROWS,
        )
        print(f"  elapsed: {', '.join(format(item['elapsed'], '.2f') for item in found)}")
    opened.close()


if __name__ == "__main__":
    print(json.dumps(ours(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
