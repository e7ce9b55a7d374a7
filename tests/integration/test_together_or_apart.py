"""Odd files of each format: one run over all of them, and runs in another order, give the same tables and errors.

Files are dropped in a landing folder, discovered, and taken through all steps. Each format has another refresh type.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from declared import UNCHECKED

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.connections.discovery import discover
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input, StepReport
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.parse import parse
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import Table

NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
STEPS: tuple[Callable[[SourceContext, Sequence[Input]], StepReport], ...] = (ingest, parse, cdc, enrich, refresh)
NAMES = ("id", "v", "n", "day")
COLUMNS = [
    {"name": "id", "type": "integer", "nullable": False},
    {"name": "v"},
    {"name": "n", "type": "decimal(20,2)"},
    {"name": "day", "type": "date"},
]
DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]
# keys that come again, in one file and in several; a value that is none; numbers at the edge; a column of one file
ROWS: list[list[dict[str, Any]]] = [
    [
        {"id": 1, "v": "a", "n": "1", "day": DAYS[0]},
        {"id": 2, "v": "b", "n": "2", "day": DAYS[1]},
        {"id": 2, "v": "e", "n": "2", "day": DAYS[1]},
    ],
    [
        {"id": "x", "v": "c", "n": "3", "day": DAYS[2]},
        {"id": 1, "v": "l\r\nm", "n": "1.00", "day": DAYS[0]},
        {"id": 3, "v": " ", "n": "2.001", "day": DAYS[1]},
        {"id": 4, "v": "NA", "n": "90071992547409.93", "day": DAYS[2]},
    ],
    [{"id": 2, "v": None, "n": "2", "day": DAYS[1], "Extra": "p"}, {"id": 5, "v": "f", "n": "7", "day": DAYS[2]}],
]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names)]
    lines += [",".join("" if row.get(name) is None else f'"{row[name]}"' for name in names) for row in rows]
    return "\n".join(lines).encode()


def as_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    names, out = list(dict.fromkeys(name for row in rows for name in row)), io.BytesIO()
    texts = {name: [None if row.get(name) is None else str(row[name]) for row in rows] for name in names}
    table = pa.table({name: pa.array(values, pa.string()) for name, values in texts.items()})
    if all(text and text.isdigit() for text in texts["id"]):
        # the files do not agree in their types
        table = table.set_column(0, "id", table["id"].cast(pa.int64()))
    pq.write_table(table, out)
    return out.getvalue()


def as_workbook(rows: Sequence[Mapping[str, Any]]) -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    for line in (names, *([row.get(name) for name in names] for row in rows)):
        book.active.append(line)
    book.save(out)
    return out.getvalue()


CASES: dict[str, tuple[Callable[[Sequence[Mapping[str, Any]]], bytes], list[bytes], dict[str, Any]]] = {
    "csv": (
        as_csv,
        [
            b'\xef\xbb\xbfday,v,id,n\r\n2024-01-02,"q\rr",2,3\r2024-01-03,"open,9,9\n2024-01-01,z,1,1\n',
            gzip.compress(b"id,v,n,day\n"),
        ],
        {"type": "key", "key": ["id"], "order_by": "day", "delete_when": "v = 'e'", "history": True},
    ),
    "jsonl": (
        as_lines,
        [
            b'\xef\xbb\xbf{"id":2,"v":{"a":1.10},"n":1e1,"day":"2024-01-01"}\n{"id":1,"id":2}\n[1]\n{"id":7,"v":NaN}\n{',
            b"",
        ],
        {"type": "full", "key": ["id"], "history": True},
    ),
    "parquet": (
        as_parquet,
        [as_parquet(ROWS[0])[:-9], as_parquet([{"id": 9, "v": "filename", "n": "1", "day": DAYS[1], "rowid": "5"}])],
        {"type": "timestamp", "range_by": "day", "history": True},
    ),
    "excel": (
        as_workbook,
        [b"id,v,n,day\n1,a,1,2024-01-01\n", as_workbook([{"id": "=1+1", "v": "_x000D_", "n": 0.5, "day": None}])],
        {"type": "key", "key": ["id"], "merge": {"v": "last", "n": "greatest"}},
    ),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def rows_of(engine: DuckDBEngine, table: Table) -> list[tuple[tuple[str, str], ...]]:
    """The rows with their values as texts. The line of a record is known in some batches only."""
    snapshot = table.snapshot()
    if snapshot is None:
        return []
    with engine.session() as session:
        found = session.fetch(query("SELECT * FROM $t AS t", t=session.scan(snapshot))).to_pylist()
    return sorted(
        tuple(sorted((name, repr(value)) for name, value in row.items() if value is not None and name != "s_line"))
        for row in found
    )


def delivered(
    home: Path, engine: DuckDBEngine, kind: str, runs: Sequence[Sequence[tuple[str, bytes]]]
) -> dict[str, Any]:
    """Tables and errors after one look and one run for each group of files."""
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
    connection = {"path": "things", "extract_time": {"pattern": "%Y-%m-%d*"}, "format": {"type": kind}}
    source = Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", **connection},
            "columns": COLUMNS,
            "refresh": CASES[kind][2],
            "gates": {"deletes": {"max_share": 1}},
            "drift": {"new_column": "evolve", "missing_column": "ignore"},
            "checks": UNCHECKED,
        }
    )
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    metadata.contracts.register(source)
    context = SourceContext(environment, source, {"things": source}, engine, metadata)
    errors: dict[str, str] = {}
    for files in runs:
        for name, content in files:
            path = Path(environment.landing, "things", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (1_700_000_000, 1_700_000_000))
        inputs = discover(source, environment, metadata, now=NOW).new
        assert len(inputs) == len(files)
        for step in STEPS:
            report = step(context, inputs)
            errors |= {found.input_id: f"{step.__name__}: {found.error}" for found in report.failures}
            inputs = [item for item in inputs if item.input_id not in errors]
    tables = {"lake": context.lake, "quarantine": context.quarantine, "hub": context.hub}
    return {name: rows_of(engine, table) for name, table in tables.items()} | {"errors": errors}


@pytest.mark.parametrize("kind", CASES)
def test_odd_files_give_the_same_together_and_apart(kind: str, engine: DuckDBEngine, tmp_path: Path) -> None:
    write, odd, _ = CASES[kind]
    contents = [*map(write, ROWS), *odd]
    ending = {5: ".gz"} if kind == "csv" else {}
    files = [(f"2024-01-0{day}.{kind}{ending.get(day, '')}", content) for day, content in enumerate(contents, 1)]
    together = delivered(tmp_path / "together", engine, kind, [files])
    apart = delivered(tmp_path / "apart", engine, kind, [files[3:], [files[2], files[0]], [files[1]]])
    assert len(together["lake"]) >= 6
    assert together["quarantine"]
    assert len(together["errors"]) == (0 if kind == "csv" else 1)
    for name, found in together.items():
        assert apart[name] == found, name
