"""What one large CSV file costs from the landing area to the hub. Run by hand: `make benchmark-large-file`.

Grain of the output: one line a step with its CPU seconds, and as many times the CPU seconds of plain `read_csv` to
Parquet in DuckDB; then all steps, the bytes that were written beside the file's size, and the most memory beside its
limit. The file and the deployment are made here, in a temporary folder.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from dataops_assets.components.graph import nodes
from dataops_assets.components.platform import Platform
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import ReadingTime, discover
from dataops_assets.report import PER_INPUT
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.recording import run_recorded

KINDS = {"integer": 6, "double": 5, "text": 4, "date": 2, "timestamp": 2}
"""How many columns of each type the file has, beside its key."""
VALUES = {
    "integer": "(hash(i * 31 + {n}) % 100000)::INTEGER",
    "double": "round((hash(i * 17 + {n}) % 10000000) / 1000.0, 3)",
    "text": "'item-' || (hash(i * 13 + {n}) % 5000)",
    "date": "DATE '2020-01-01' + (hash(i + {n}) % 1000)::INTEGER",
    "timestamp": "TIMESTAMP '2020-01-01' + INTERVAL 1 SECOND * (hash(i + {n}) % 80000000)",
}
MINIMUM = """
import duckdb, sys, time
duckdb.sql("SET threads = 2; SET enable_progress_bar = false")
duckdb.sql(f"COPY (SELECT * FROM read_csv('{sys.argv[1]}')) TO '{sys.argv[2]}' (FORMAT parquet, COMPRESSION zstd)")
print(time.process_time())
"""


def columns() -> list[tuple[str, str]]:
    """The names and types of the columns, the key first."""
    return [("id", "integer"), *((f"{kind}_{n}", kind) for kind, number in KINDS.items() for n in range(number))]


def make_file(path: Path, rows: int) -> None:
    """Write the file."""
    made = [f"{VALUES[kind].format(n=place)} AS {name}" for place, (name, kind) in enumerate(columns()) if place]
    chosen = f"SELECT i AS id, {', '.join(made)} FROM range({rows}) AS r(i)"
    duckdb.sql("SET enable_progress_bar = false")
    duckdb.sql(f"COPY ({chosen}) TO '{path}' (FORMAT csv, HEADER)")


def declared() -> Source:
    """The declaration of the file, as a person would write it."""
    return Source.model_validate(
        {
            "name": "events",
            "area": "large",
            "connection": {
                "type": "files",
                "path": "events/*.csv",
                "extract_time": {"pattern": "events_%Y-%m-%d.csv"},
                "settle_seconds": 0,
            },
            "columns": [{"name": name, "type": kind, "nullable": name != "id"} for name, kind in columns()],
            "refresh": {"type": "key", "key": ["id"]},
        }
    )


def written() -> int:
    """The bytes that this process has written so far, whatever became of them."""
    told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(told["wchar"])


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--rows", type=int, default=10_000_000)
    given.add_argument("--memory", default="2GB")
    options = given.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-file-") as folder:
        home = Path(folder)
        landing = home / "landing" / "events"
        landing.mkdir(parents=True)
        path = landing / "events_2024-05-01.csv"
        # in a process of its own, so that its memory is not counted
        maker = "import sys; from pathlib import Path; sys.path[:0] = [sys.argv[1]]; import large_file; "
        maker += "large_file.make_file(Path(sys.argv[2]), int(sys.argv[3]))"
        subprocess.run([sys.executable, "-c", maker, str(Path(__file__).parent), path, str(options.rows)], check=True)
        size = path.stat().st_size
        command = [sys.executable, "-c", MINIMUM, str(path), str(home / "minimum.parquet")]
        minimum = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"{options.rows:,} rows, {size / 1e9:.2f} GB; read_csv to Parquet {minimum:.1f} CPU s", flush=True)
        measure(home, size, minimum, options.memory)


def measure(home: Path, size: int, minimum: float, memory: str) -> None:
    """Run the steps, and print what each took."""
    variables = {**os.environ, "DATAOPS_ENV": "test", "DATAOPS_HOME": str(home), "DATAOPS_MEMORY": memory}
    environment, source = environment_from(variables, home), declared()
    platform = Platform(environment)
    context = platform.source_context(source, {source.name: source})
    look = discover(source, environment, platform.metadata, now=dt.datetime.now(dt.UTC), limit=ReadingTime(3600))
    steps = {node.name: node.as_step for node in nodes(source, compile_rules(source, {source.name: source}))}
    before, began = written(), time.process_time()
    for name in PER_INPUT:
        started = time.process_time()
        report = run_recorded(context, steps[name], look.new, [item.input_id for item in look.new], "benchmark")
        assert not report.failures, report.failures[0].error
        seconds = time.process_time() - started
        print(f"  {name:<8} {seconds:>7.1f} CPU s, {seconds / minimum:.1f} times", flush=True)
    everything = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"  all      {everything:>7.1f} CPU s, {everything / minimum:.1f} times")
    print(f"  written {(written() - before) / size:.1f} times the file; at most {peak / 1e9:.2f} GB with {memory}")


if __name__ == "__main__":
    main()
