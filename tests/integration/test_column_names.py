"""A column can have any name, or the declaration is refused; what data brings gets a name that works."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import refresh_scenarios
from declared import arrived
from pydantic import ValidationError

from dataops_assets.config.contract import Column
from dataops_assets.config.source import Source
from dataops_assets.sql import query
from dataops_assets.steps.evolved_columns import evolved, evolved_name
from dataops_assets.steps.parse import parse

REFUSED = [
    "filename",
    "FILE_ROW_NUMBER",
    "file_index",
    "rowid",
    "_metadata",
    "_change_type",
    "_commit_version",
    "_commit_timestamp",
    "s_key",
    "S_x",
    "",
    " ",
    " x",
    "x ",
    "x\ny",
    "x\0",
    "z" * 256,
]
# words of SQL, names that queries of ours use, and signs that mean something to one of the parts
WORDS = (
    "select from where order group table null true all rowids input_file_name current_date key value count hash file "
    "path v0 t0 f0 t v p u m g r i k q e s b c d n w0 h0 given made line position version kind rank 1 1st "
    "dot.ted quo\"te apo'strophe back`tick semi;colon com,ma (x) {y} [z] =eq %s $x :y ?q *all a-b a/b a\\b #h @i a&b "
    "_corrupt_record _c0 _rescued_data __index_level_0__ spark_partition_id monotonically_increasing_id struct "
    "\u043a\u043b\u044e\u0447 \u540d \u00df \u0130 \u00e9 e\u0301 \U0001f600"
)
WORKS = [*WORDS.split(), "two words", "z" * 255]


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_work_is_refused_when_it_is_declared(name: str) -> None:
    with pytest.raises(ValidationError, match="set source_name and another name"):
        Column(name=name)


@pytest.mark.parametrize("history", [False, True])
def test_columns_of_any_other_name_go_through_all_steps(tmp_path: Path, history: bool) -> None:
    names = list(dict.fromkeys(WORKS))
    columns = {"id": "integer", **dict.fromkeys(names, "text")}
    settings = {"type": "key", "key": ["dot.ted", "id"], "history": history}
    scenario = refresh_scenarios.Scenario(tmp_path, settings, columns)
    texts = {number: [f"{number} {name}" for name in names] for number in (1, 2)}
    for row in texts.values():
        row[names.index("dot.ted")] = "the key"
    first = [(1, *texts[1]), (2, *texts[1]), (3, *texts[1])]
    assert scenario.arrives(1, first) == []
    # keys beside the one that changes stay
    assert scenario.arrives(2, [(2, *texts[2])]) == []
    shown = scenario.rows("id", *names)
    changed = [(1, *texts[1]), (2, *texts[2]), (3, *texts[1])]
    assert shown == sorted([*changed, *([(2, *texts[1])] if history else [])], key=repr)


def as_csv(row: Mapping[str, str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([list(row), list(row.values())])
    return text.getvalue().encode()


def as_workbook(row: Mapping[str, str]) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    sheet = book.active
    assert sheet is not None
    for line, texts in enumerate((list(row), list(row.values())), 1):
        for place, text in enumerate(texts, 1):
            cell = sheet.cell(line, place, text)
            # `=eq` is a text, not a formula
            cell.data_type = "s"
    book.save(content)
    return content.getvalue()


def as_parquet(row: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({name: [text] for name, text in row.items()}), content)
    return content.getvalue()


FORMATS: Mapping[str, Callable[[Mapping[str, str]], bytes]] = {
    "csv": as_csv,
    "json": lambda row: json.dumps([row]).encode(),
    "jsonl": lambda row: json.dumps(row).encode(),
    "parquet": as_parquet,
    "excel": as_workbook,
}


@pytest.mark.parametrize("kind", FORMATS)
def test_columns_of_any_other_name_are_parsed_from_every_format(tmp_path: Path, kind: str) -> None:
    names = list(dict.fromkeys(WORKS))
    connection = {"type": "files", "path": f"things_*.{kind}", "format": {"type": kind}}
    columns = dict.fromkeys(names, "text")
    scenario = refresh_scenarios.Scenario(tmp_path, {"type": "append"}, columns, connection=connection)
    row = {name: f"in {name}" for name in names}
    content = FORMATS[kind](row)
    digest = hashlib.sha256(content).hexdigest()
    day = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    item = arrived(day, f"{day:%Y%m%dT%H%M%SZ}-{digest[:12]}", digest, f"things_1.{kind}", len(content))
    context = scenario.context
    context.raw.add(item, [content], None)
    context.metadata.register_inputs("things", [item])
    assert [str(found.error) for found in parse(context, [item]).failures] == []
    lake = context.lake.snapshot()
    assert lake is not None
    with context.engine.session() as session:
        (found,) = session.fetch(query("SELECT * FROM $t AS t", t=session.scan(lake))).to_pylist()
    assert {name: found[name] for name in names} == row


def source(**fields: Any) -> Source:
    return Source.model_validate(
        {
            "name": "things",
            "area": "tests",
            "connection": {"type": "files", "path": "things_*.csv"},
            "columns": [{"name": "id"}],
            "refresh": {"type": "append"},
            "drift": {"new_column": "evolve"},
            **fields,
        }
    )


@pytest.mark.parametrize("raw_name", [*filter(None, REFUSED), *WORKS, "ID", "--", "new_id"])
def test_a_column_that_data_brings_gets_a_name_that_works(raw_name: str) -> None:
    declared = source()
    name = evolved_name(declared, raw_name)
    assert Column(name=name).name == name
    assert name.lower() != "id"
    assert evolved(declared, None, [raw_name]).columns[-1].raw_name == raw_name
