"""Files with a header, a trailer with totals, and records of several types: nothing is lost, a wrong total stops."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from declared import unchecked_source
from parsed_inputs import parsed_inputs
from pydantic import ValidationError

from dataops_assets.config.environment import environment_from
from dataops_assets.engines.duckdb import DuckDBEngine

CSV = {"type": "csv", "delimiter": ";", "header": False, "thousands_mark": ",", "encoding": "utf-16"}
TRAILER = {"pattern": r"TRAILER;(?P<rows>[\d,.]+);(?P<amount>-?[\d,.]+)"}
LINES = {"header_lines": [{"pattern": r"HEADER;\d{8};(?P<all_rows>\d+)"}], "trailer_lines": [TRAILER]}
ORDERS = {"kind": "text", "id": "integer", "amount": "decimal(12,2)", "note": "text"}
RECORDS = [
    "DTL;1;1,100.25;x",
    'CUS;A1;"Ann; of\nOslo"',
    "DTL;key;-20;no number",
    "",
    '"DTL";3;7,020.50;"TRAILER;9;9"',
    "DTL;4;cut",
    "CUS;A2;Bob",
    "CUS",
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def written(*records: str, header: str = "HEADER;20240101;7", trailer: str = "TRAILER;4;8,100.75") -> bytes:
    return ("\r\n".join([header, *records, trailer]) + "\r\n\r\n").encode("utf-16")


FILES = {
    "good": (written(*RECORDS), ""),
    "rows": (written(*RECORDS, trailer="TRAILER;1,204;8,100.75"), "tells 1,204 records (rows), and there are 4"),
    "sum": (written(*RECORDS, trailer="TRAILER;4;88,120.50"), "88,120.50 as the sum of amount, and it is 8,100.75"),
    "cut": (written(*RECORDS, trailer="DTL;5;1;y"), "'DTL;5;1;y' as the last line, which is declared as 'TRAILER;"),
    "header": (written(*RECORDS, header="HEADER;x;7"), "'HEADER;x;7' as the first line"),
    "nothing": (written(header="HEADER;20240106;0", trailer="TRAILER;0;0"), ""),
    "only a trailer": ("TRAILER;0;0".encode("utf-16"), "'TRAILER;0;0' as the first line"),
    "text": (
        written("DTL;1;many;x", header="HEADER;20240107;1", trailer="TRAILER;1;0"),
        "tells 0 as the sum of amount, and it is 0 without 1 values that are no numbers",
    ),
    "grouped": (written(*RECORDS, trailer="TRAILER;4;81,00.75"), "'81,00.75' as amount in the last line, which is no"),
}


def test_totals_are_checked_and_other_types_are_counted(engine: DuckDBEngine, tmp_path: Path) -> None:
    layout = CSV | LINES | {"record_type": {"values": ["DTL"]}}
    declared = unchecked_source("orders", ORDERS, connection={"type": "files", "path": "x/*", "format": layout})
    made = parsed_inputs(engine, tmp_path, declared, {name: content for name, (content, _) in FILES.items()})
    assert {name: error for name, error in made.errors.items() if not FILES[name][1]} == {"good": "", "nothing": ""}
    assert [name for name, (_, reason) in FILES.items() if reason not in made.errors[name]] == []
    assert made.counts["good"] == {"rows": 2, "rejected": 2, "filtered": 3, "records": 7}
    assert made.counts["nothing"]["records"] == 0
    assert made.rows("id", "amount", "note") == [(1, Decimal("1100.25"), "x"), (3, Decimal("7020.50"), "TRAILER;9;9")]
    # the second one has no fourth field
    assert made.rejected("s_row_id", "s_line") == [(1, 5), (3, 8)]


def test_another_source_takes_the_other_type(engine: DuckDBEngine, tmp_path: Path) -> None:
    layout = CSV | {"header_lines": [{"pattern": "HEADER.*"}], "trailer_lines": [{"pattern": "TRAILER;.*"}]}
    layout |= {"record_type": {"values": ["CUS", "ADR"]}}
    kinds = {"kind": "text", "no": "text", "name": "text"}
    declared = unchecked_source("customers", kinds, connection={"type": "files", "path": "x/*", "format": layout})
    made = parsed_inputs(engine, tmp_path, declared, {"good": FILES["good"][0]})
    assert made.counts["good"] == {"rows": 2, "rejected": 1, "filtered": 4, "records": 7}
    assert made.rows("no", "name") == [("A1", "Ann; of\nOslo"), ("A2", "Bob")]


FIXED = {
    "type": "fixed_width",
    "encoding": "cp037",
    "fields": [{"name": "id", "start": 3, "width": 4}, {"name": "amount", "start": 7, "width": 6}],
    "record_type": {"width": 2, "values": ["D1"]},
    "trailer_lines": [{"pattern": "END(?P<rows>[0-9]+) (?P<amount>[-0-9,]+)", "decimal_mark": ","}],
}


def test_lines_with_places_have_types_and_a_trailer(engine: DuckDBEngine, tmp_path: Path) -> None:
    kinds = {"id": "integer", "amount": "decimal(8,2)"}
    declared = unchecked_source("orders", kinds, connection={"type": "files", "path": "x/*", "format": FIXED})
    lines = "D1   1  1.50\nA9 an address\n\nD1   2 -0.25\nD\n"
    files = {name: (lines + end).encode("cp037") for name, end in [("good", "END3 1,25"), ("wrong", "END3 1.25")]}
    made = parsed_inputs(engine, tmp_path, declared, files)
    assert made.rows("id", "amount") == [(1, Decimal("1.50")), (2, Decimal("-0.25"))]
    assert made.rejected("s_row_id", "s_line") == [(2, 5)]
    assert made.counts["good"] == {"rows": 2, "rejected": 1, "filtered": 1, "records": 4}
    assert "'END3 1.25' as the last line" in made.errors["wrong"]


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ({"trailer_lines": [{"pattern": "T(?P<total>.*)"}]}, "group 'total' of the pattern is no column of whole or"),
        ({"trailer_lines": [{"pattern": "T(?P<note>.*)"}]}, "known: rows, all_rows, id, amount"),
        ({"header_lines": [{"pattern": "T("}]}, "is no regular expression of Python: missing"),
        ({"record_type": {"values": ["D"]}}, "a header names the fields of one type of records"),
    ],
)
def test_a_pattern_that_cannot_be_checked_is_refused(layout: dict[str, Any], reason: str) -> None:
    connection = {"type": "files", "path": "x/*", "format": {"type": "csv", **layout}}
    with pytest.raises(ValidationError, match=reason):
        unchecked_source("orders", ORDERS, connection=connection)
