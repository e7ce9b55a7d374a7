"""What happens to inputs whose columns are not the contract's: every policy, over the formats."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import InputError
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.sql import query
from dataops_assets.steps.parse import parse
from dataops_assets.steps.report import Input, InputReport
from dataops_assets.steps.workspace import Workspace
from dataops_assets.storage.delta import Table

Rows = Sequence[Mapping[str, Any]]

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "nullable": False},
    {"name": "amount", "type": "double"},
]


def _csv(rows: Rows) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join("" if row.get(name) is None else str(row[name]) for name in names) for row in rows]
    return "\n".join([",".join(names), *lines, ""]).encode()


def _parquet(rows: Rows) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), out)
    return out.getvalue()


def _excel(rows: Rows) -> bytes:
    workbook, out = openpyxl.Workbook(), io.BytesIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    workbook.active.append(names)
    for row in rows:
        workbook.active.append([row.get(name) for name in names])
    workbook.save(out)
    return out.getvalue()


FORMATS: dict[str, Callable[[Rows], bytes]] = {
    "csv": _csv,
    "json": lambda rows: json.dumps([dict(row) for row in rows]).encode(),
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode(),
    "parquet": _parquet,
    "excel": _excel,
}
over_formats = pytest.mark.parametrize("form", FORMATS)


class Feed:
    """A source of one format; inputs are written in the test and come one a day."""

    def __init__(self, home: Path, engine: DuckDBEngine, form: str) -> None:
        self.home, self.engine, self.form = home, engine, form
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        self.metadata = MetadataStore(environment.metadata_url)
        self.metadata.migrate()
        self._environment = environment

    def declared(self, columns: Sequence[Mapping[str, Any]] = COLUMNS, **fields: Any) -> Workspace:
        """The workspace under a declaration; a later one takes the place of an earlier."""
        source = Source.model_validate(
            {
                "name": "sales",
                "area": "shop",
                "connection": {"type": "files", "path": "sales", "format": {"type": self.form}},
                "columns": columns,
                "refresh": {"type": "append"},
                **fields,
            }
        )
        self.metadata.register_source(source)
        return Workspace(self._environment, source, {"sales": source}, self.engine, self.metadata)

    def delivered(self, workspace: Workspace, *contents: Rows) -> list[Input]:
        """Inputs with these rows in the raw area."""
        inputs = []
        first = len(self.metadata.inputs("sales"))
        for day, rows in enumerate(contents, start=first):
            content = FORMATS[self.form](rows)
            digest, time = hashlib.sha256(content).hexdigest(), START + dt.timedelta(days=day)
            item = Input(time, f"{time:%Y%m%dT%H%M%SZ}-{digest[:12]}", digest, f"/in/{day}.{self.form}", len(content))
            workspace.raw.add(item, [content], None)
            inputs.append(item)
        self.metadata.register_inputs("sales", inputs)
        return inputs

    def parsed(self, workspace: Workspace, *contents: Rows) -> list[InputReport]:
        """What parsing inputs with these rows together tells of each."""
        return list(parse(workspace, self.delivered(workspace, *contents)).inputs)

    def rows(self, workspace: Workspace, table: Table, *names: str) -> list[tuple[Any, ...]]:
        """These columns of a table's rows, in order of inputs and rows."""
        snapshot = table.snapshot()
        assert snapshot is not None
        with workspace.engine.session() as session:
            rows = query("SELECT * FROM $t AS t ORDER BY s_input_id, s_row_id", t=session.scan(snapshot))
            found = session.fetch(rows).to_pylist()
        return [tuple(row[name] for name in names) for row in found]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    """One for all tests: opening it takes longer than they do."""
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.fixture
def feed(tmp_path: Path, engine: DuckDBEngine) -> Callable[[str], Feed]:
    return lambda form: Feed(tmp_path, engine, form)


def schema_note(report: InputReport) -> str:
    return next(check.explanation for check in report.checks if check.check == "schema")


def error_of(report: InputReport) -> str:
    assert isinstance(report.error, InputError)
    return str(report.error)


# --- new columns -----------------------------------------------------------------------------------------------------


@over_formats
def test_a_new_column_is_left_out_and_told_or_fails_its_input_alone(feed: Callable[[str], Feed], form: str) -> None:
    made = feed(form)
    known, more = [{"id": 1, "amount": 1.5}], [{"id": 2, "amount": 2.5, "Extra": "x"}]
    ignoring = made.declared(drift={"new_column": "ignore"})
    reports = made.parsed(ignoring, known, more)
    assert made.rows(ignoring, ignoring.lake, "id", "amount") == [(1, 1.5), (2, 2.5)]
    assert "in the input and not declared: Extra" in schema_note(reports[1])
    failing = made.declared(drift={"new_column": "fail"})
    good, bad = made.parsed(failing, [{"id": 3, "amount": 3.5}], [{"id": 4, "amount": 1.5, "Extra": "x"}])
    assert good.error is None
    assert "columns that are not declared: Extra" in error_of(bad)
    assert [row[0] for row in made.rows(failing, failing.lake, "id")] == [1, 2, 3]


# --- missing columns -------------------------------------------------------------------------------------------------


@over_formats
def test_a_missing_column_fails_its_input_alone_unless_declared_otherwise(
    feed: Callable[[str], Feed], form: str
) -> None:
    made = feed(form)
    workspace = made.declared()
    good, bad = made.parsed(workspace, [{"id": 1, "amount": 1.5}], [{"id": 2}])
    assert good.error is None
    assert "no column amount" in error_of(bad)
    assert made.rows(workspace, workspace.lake, "id") == [(1,)]


@over_formats
def test_a_missing_column_that_is_ignored_is_null(feed: Callable[[str], Feed], form: str) -> None:
    made = feed(form)
    ignoring = made.declared(drift={"missing_column": "ignore"})
    reports = made.parsed(ignoring, [{"id": 1, "amount": 1.5}], [{"id": 2}], [{"amount": 3.5}])
    assert [report.counts for report in reports] == [
        {"rows": 1, "rejected": 0},
        {"rows": 1, "rejected": 0},
        {"rows": 0, "rejected": 1},
    ]
    assert made.rows(ignoring, ignoring.lake, "id", "amount") == [(1, 1.5), (2, None)]
    assert "missing in the input, so null: amount" in schema_note(reports[1])
    # a null where none may be rejects the row
    assert made.rows(ignoring, ignoring.quarantine, "s_column", "s_reason") == [("id", "null where a value must be")]


@over_formats
def test_a_missing_column_that_evolves_may_be_null_in_that_input_only(feed: Callable[[str], Feed], form: str) -> None:
    made = feed(form)
    columns = [COLUMNS[0], {**COLUMNS[1], "nullable": False}]
    evolving = made.declared(columns, drift={"missing_column": "evolve"})
    with_nulls: Rows = [{"id": 2, "amount": None}, {"id": 3, "amount": 3.5}]
    reports = made.parsed(evolving, [{"id": 1}], with_nulls)
    assert [report.counts["rejected"] for report in reports] == [0, 1]
    assert made.rows(evolving, evolving.lake, "id", "amount") == [(1, None), (3, 3.5)]


# --- changed types ---------------------------------------------------------------------------------------------------

AMOUNTS: Rows = [{"id": 1, "amount": 1}, {"id": 2, "amount": 2**53 + 1}, {"id": 3, "amount": None}]


@over_formats
def test_a_value_that_stays_the_same_is_widened_and_a_row_that_would_lose_is_quarantined(
    feed: Callable[[str], Feed], form: str
) -> None:
    made = feed(form)
    workspace = made.declared()
    # a workbook holds no such number
    rows = [{**row, "amount": str(row["amount"])} if form == "excel" and row["amount"] else row for row in AMOUNTS]
    (report,) = made.parsed(workspace, rows)
    assert report.counts == {"rows": 2, "rejected": 1}
    assert made.rows(workspace, workspace.lake, "id", "amount") == [(1, 1.0), (3, None)]
    assert made.rows(workspace, workspace.quarantine, "s_row_id", "s_column", "s_value", "s_reason") == [
        (1, "amount", str(2**53 + 1), "not a number")
    ]


@over_formats
def test_values_of_another_type_are_left_out_and_counted_where_that_is_declared(
    feed: Callable[[str], Feed], form: str
) -> None:
    made = feed(form)
    ignoring = made.declared(drift={"changed_type": "ignore"})
    # a column of Parquet has one type, so there all are texts
    rows = [{"id": "1", "amount": "1.5"}, {"id": "2", "amount": "cheap"}, {"id": "two", "amount": "2.5"}]
    (report,) = made.parsed(ignoring, rows)
    assert report.counts == {"rows": 2, "rejected": 1, "left_out": 1}
    assert made.rows(ignoring, ignoring.lake, "id", "amount") == [(1, 1.5), (2, None)]
    assert "values left out because of their type: amount (1)" in schema_note(report)
    # where a null may not be, there is nothing to leave out
    assert made.rows(ignoring, ignoring.quarantine, "s_column", "s_value") == [("id", "two")]


@over_formats
def test_an_input_with_values_of_another_type_fails_alone_where_that_is_declared(
    feed: Callable[[str], Feed], form: str
) -> None:
    made = feed(form)
    failing = made.declared(drift={"changed_type": "fail"})
    texts = [{"id": 1, "amount": "1.5"}, {"id": 2, "amount": "cheap"}, {"id": 3, "amount": "dear"}]
    good, bad = made.parsed(failing, [{"id": 4, "amount": 1.5}], texts)
    assert good.error is None
    # of Parquet the type of the field decides, of text each value
    expected = (
        "amount: varchar, not a number in 3 rows, e.g. '1.5', 'cheap', 'dear'"
        if form == "parquet"
        else "amount: not a number in 2 rows, e.g. 'cheap', 'dear'"
    )
    assert expected in error_of(bad)
    assert made.rows(failing, failing.lake, "id") == [(4,)]
    assert made.rows(failing, failing.quarantine, "s_row_id") == []


def test_examples_of_personal_values_are_not_shown(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    columns = [COLUMNS[0], {**COLUMNS[1], "tags": {"pii": "salary"}}]
    (bad,) = made.parsed(made.declared(columns, drift={"changed_type": "fail"}), [{"id": 1, "amount": "secret"}])
    assert "e.g. ***" in error_of(bad)
    assert "secret" not in error_of(bad)


@pytest.mark.parametrize(
    ("declared", "given", "is_same"),
    [
        ("integer", pa.array([1], pa.int16()), True),
        ("integer", pa.array([1.0]), False),
        ("double", pa.array([1.0], pa.float32()), True),
        ("double", pa.array([1]), False),
        ("decimal(10,2)", pa.array([1], pa.decimal128(9, 1)), True),
        ("decimal(10,2)", pa.array([1], pa.decimal128(10, 3)), False),
        ("timestamp", pa.array([dt.date(2024, 1, 1)]), False),
        ("timestamp", pa.array([START]), False),
        ("timestamptz", pa.array([START]), True),
        # of a column without values nothing can be lost
        ("integer", pa.array([None], pa.float64()), True),
    ],
)
def test_what_parquet_says_of_a_type_decides(
    feed: Callable[[str], Feed], declared: str, given: pa.Array, is_same: bool
) -> None:
    made = feed("parquet")
    failing = made.declared([{"name": "v", "type": declared}], drift={"changed_type": "fail"})
    out = io.BytesIO()
    pq.write_table(pa.table({"v": given}), out)
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    item = Input(START, digest[:12], digest, "/in/v.parquet", len(out.getvalue()))
    failing.raw.add(item, [out.getvalue()], None)
    made.metadata.register_inputs("sales", [item])
    assert (parse(failing, [item]).inputs[0].error is None) == is_same


# --- renamed columns -------------------------------------------------------------------------------------------------

RENAMED = [COLUMNS[0], {**COLUMNS[1], "source_name": "Amount", "renamed_from": ["betrag", "montant"]}]


@over_formats
def test_a_column_is_found_under_each_of_its_names(feed: Callable[[str], Feed], form: str) -> None:
    made = feed(form)
    workspace = made.declared(RENAMED)
    names = ("montant", "Amount", "betrag")
    reports = made.parsed(workspace, *([{"id": n, name: n + 0.5}] for n, name in enumerate(names)))
    assert [report.error for report in reports] == [None] * 3
    assert made.rows(workspace, workspace.lake, "id", "amount") == [(0, 0.5), (1, 1.5), (2, 2.5)]
    assert schema_note(reports[0]) == "2 columns as declared"
    (bad,) = made.parsed(workspace, [{"id": 1, "betrag": "much"}])
    assert bad.counts["rejected"] == 1
    assert made.rows(workspace, workspace.quarantine, "s_column", "s_value") == [("amount", "much")]


@over_formats
def test_two_names_of_a_column_in_one_input_are_an_error(feed: Callable[[str], Feed], form: str) -> None:
    made = feed(form)
    (bad,) = made.parsed(made.declared(RENAMED), [{"id": 1, "Amount": 1.5, "betrag": 2.5}])
    assert "Amount and betrag, which are names of one column" in error_of(bad)


@pytest.mark.parametrize("earlier", [["id"], ["Amount"], ["betrag", "betrag"]])
def test_an_earlier_name_belongs_to_one_column_once(feed: Callable[[str], Feed], earlier: list[str]) -> None:
    with pytest.raises(ValidationError, match="is the raw name of another column"):
        feed("csv").declared([COLUMNS[0], {**RENAMED[1], "renamed_from": earlier}])
