"""A function in Python makes the records of a file, with the accounting and the quarantine of any format."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from declared import unchecked_source
from parsed_inputs import parsed_inputs

from dataops_assets.config.environment import environment_from
from dataops_assets.connections.formats.own_records import Rejected
from dataops_assets.engines.duckdb import DuckDBEngine

AT = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
RECORD = '{"name":"z","amount":1.999,"at":"2024-01-01T12:00:00+00:00","more":{"tags":["a",1.5]}}'
HERE = f"{__name__}:"


def records(path: Path, mark: str) -> Iterator[Any]:
    """A format of blocks that end with a mark; a block is a name and an amount."""
    for block in path.read_text().split(mark)[:-1]:
        name, _, amount = block.partition("=")
        if name == "raise":
            raise LookupError("no such table: prices")
        if name == "odd":
            yield {"name": object()}
        elif not amount:
            yield Rejected("a block without an amount", block)
        else:
            yield {"name": name, "amount": decimal.Decimal(amount), "at": AT, "more": {"tags": ["a", 1.5]}}


def count(path: Path, mark: str) -> int:
    """The blocks, counted otherwise."""
    return path.read_text().count(mark)


def lost(path: Path, mark: str) -> int:
    """One block more."""
    return count(path, mark) + 1


def feed(**layout: Any) -> dict[str, Any]:
    made = {"type": "python", "function": HERE + "records", "arguments": {"mark": "|"}, "count": HERE + "count"}
    columns = [
        {"name": "name", "nullable": False},
        {"name": "amount", "type": "decimal(20,2)"},
        {"name": "at", "type": "timestamptz"},
        {"name": "tags", "source_name": "more.tags"},
    ]
    connection = {"type": "files", "path": "x/*", "format": {**made, **layout}}
    refresh = {"type": "append"}
    return {"connection": connection, "columns": columns, "drift": {"missing_column": "ignore"}, "refresh": refresh}


def test_a_function_makes_records_that_are_accounted_for(tmp_path: Path) -> None:
    environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(tmp_path)}, tmp_path)
    engine = DuckDBEngine(environment)
    files = {
        "a.txt": b"x=90071992547409.93|y|z=1.999|w=2|",
        "b.txt": b"x=1|raise=1|",
        "c.txt": b"odd|",
        "d.txt": b"v=3|",
    }
    made = parsed_inputs(engine, tmp_path / "good", unchecked_source("things", {}, **feed()), files)
    assert made.rows("name", "amount", "at", "tags") == [
        ("x", decimal.Decimal("90071992547409.93"), AT, '["a",1.5]'),
        ("w", decimal.Decimal("2.00"), AT, '["a",1.5]'),
        ("v", decimal.Decimal("3.00"), AT, '["a",1.5]'),
    ]
    assert made.rejected("s_row_id", "s_reason", "s_value", "s_record") == [
        (1, "a block without an amount", None, "y"),
        (2, "not decimal(20,2)", "1.999", RECORD),
    ]
    assert made.counts["a.txt"] == {"rows": 2, "rejected": 2, "records": 4}
    # an error stops its input alone
    assert "LookupError: no such table: prices" in made.errors["b.txt"]
    assert "record 1: a object inside a nested value" in made.errors["c.txt"]
    assert (made.errors["a.txt"], made.errors["d.txt"]) == ("", "")
    again = unchecked_source("things", {}, **feed(count=HERE + "lost"))
    made = parsed_inputs(engine, tmp_path / "lost", again, {"d.txt": b"v=3|"})
    assert "2 records" in made.errors["d.txt"]
