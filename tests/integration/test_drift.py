"""What happens to inputs whose columns are not the contract's: every policy, over the formats."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import yaml
from declared import arrived
from deltalake import DeltaTable, QueryBuilder
from pydantic import ValidationError

from dataops_assets.config.contract import Drift
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.metadata import tables
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import Input, InputReport
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.parse import parse
from dataops_assets.steps.recalculate import recalculate
from dataops_assets.steps.refresh import rebuild, refresh
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import Table, delta_type

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

    def __init__(self, home: Path, engine: DuckDBEngine, form: str, migrated: Path) -> None:
        self.home, self.engine, self.form, self.migrated = home, engine, form, migrated
        shutil.copytree(migrated, home, dirs_exist_ok=True)
        environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        self.metadata = MetadataStore(environment.metadata_url)
        self._environment = environment

    def declared(self, columns: Sequence[Mapping[str, Any]] = COLUMNS, **fields: Any) -> SourceContext:
        """The context under a declaration; a later one takes the place of an earlier."""
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
        self.metadata.contracts.register(source)
        return SourceContext(self._environment, source, {"sales": source}, self.engine, self.metadata)

    def delivered(self, context: SourceContext, *contents: Rows) -> list[Input]:
        """Inputs with these rows in the raw area."""
        inputs = []
        first = len(self.metadata.inputs("sales"))
        for day, rows in enumerate(contents, start=first):
            content = FORMATS[self.form](rows)
            digest, time = hashlib.sha256(content).hexdigest(), START + dt.timedelta(days=day)
            item = arrived(time, f"{time:%Y%m%dT%H%M%SZ}-{digest[:12]}", digest, f"/in/{day}.{self.form}", len(content))
            context.raw.add(item, [content], None)
            inputs.append(item)
        self.metadata.register_inputs("sales", inputs)
        return inputs

    def parsed(self, context: SourceContext, *contents: Rows) -> list[InputReport]:
        """What parsing inputs with these rows together tells of each."""
        return list(parse(context, self.delivered(context, *contents)).inputs)

    def taken(self, context: SourceContext, inputs: Sequence[Input]) -> None:
        """Take parsed inputs into the hub."""
        cdc(context, inputs)
        enrich(context, inputs)
        refresh(context, inputs)

    def contracts(self) -> list[dict[str, Any]]:
        """The source's contract versions, oldest first."""
        database = sa.create_engine(self._environment.metadata_url)
        with database.connect() as connection:
            found = connection.execute(sa.select(tables.contracts).order_by(tables.contracts.c.version)).mappings()
            definitions = [row["definition"] for row in found]
        database.dispose()
        return definitions

    def rows(self, context: SourceContext, table: Table, *names: str) -> list[tuple[Any, ...]]:
        """These columns of a table's rows, in order of inputs and rows."""
        snapshot = table.snapshot()
        assert snapshot is not None
        with context.engine.session() as session:
            rows = query("SELECT * FROM $t AS t ORDER BY s_input_id, s_row_id", t=session.scan(snapshot))
            found = session.fetch(rows).to_pylist()
        return [tuple(row[name] for name in names) for row in found]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    """One for all tests: opening it takes longer than they do."""
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with empty metadata; a copy of it is faster than making it."""
    home = tmp_path_factory.mktemp("migrated")
    MetadataStore(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home).metadata_url).migrate()
    return home


@pytest.fixture
def feed(tmp_path: Path, engine: DuckDBEngine, migrated: Path) -> Callable[[str], Feed]:
    return lambda form: Feed(tmp_path, engine, form, migrated)


def schema_note(report: InputReport) -> str:
    return next(check.explanation for check in report.checks if check.check == "schema")


def error_of(report: InputReport) -> str:
    assert isinstance(report.error, InputError)
    return str(report.error)


def test_the_page_shows_the_defaults() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "drift.md"
    block = page.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert Drift.model_validate(yaml.safe_load(block)["drift"]) == Drift()


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


@over_formats
def test_a_new_column_that_evolves_is_kept_as_text_and_older_rows_read_null(
    feed: Callable[[str], Feed], form: str
) -> None:
    made = feed(form)
    evolving = made.declared(drift={"new_column": "evolve"}, refresh={"type": "key", "key": ["id"]})
    inputs = made.delivered(evolving, [{"id": 1, "amount": 1.5}], [{"id": 2, "amount": 2.5, "Unit Price": 7}])
    for item in inputs:
        (report,) = parse(evolving, [item]).inputs
        made.taken(evolving, [item])
    assert "not declared, so kept as text: Unit Price" in schema_note(report)
    for table in (evolving.lake, evolving.changes, evolving.enriched, evolving.hub):
        assert made.rows(evolving, table, "id", "amount", "unit_price") == [(1, 1.5, None), (2, 2.5, "7")]
    assert read_by_others(evolving.hub, "unit_price") == {1: None, 2: "7"}
    assert made.contracts()[-1]["evolved"]["columns"] == [
        {"name": "unit_price", "type": "text", "raw_names": ["Unit Price"]}
    ]


def test_the_name_of_a_kept_column_follows_from_its_raw_name_and_the_declaration(
    feed: Callable[[str], Feed],
) -> None:
    made = feed("csv")
    evolving = made.declared(
        [*COLUMNS, {"name": "price", "source_name": "PRIX"}],
        drift={"new_column": "evolve", "missing_column": "ignore"},
        rules=[{"name": "total", "expression": "amount"}],
    )
    row = {"id": 1, "amount": 1, "PRIX": "p", "Price": "a", "Total": "b", "s_id": "c", "Größe (cm)": "d", "%": "e"}
    made.parsed(evolving, [row])
    names = ("price", "new_price", "new_total", "new_s_id", "größe_cm", "column")
    assert made.rows(evolving, evolving.lake, *names) == [("p", "a", "b", "c", "d", "e")]
    # in two inputs two spellings are one column, in one input they are an error
    one, other, both = made.parsed(
        evolving,
        [{"id": 2, "amount": 1, "Note": "x"}],
        [{"id": 3, "amount": 1, "note": "y"}],
        [{"id": 4, "amount": 1, "Note": "x", "note": "y"}],
    )
    assert (one.error, other.error) == (None, None)
    assert "undeclared columns that become one: Note and note" in error_of(both)
    assert made.rows(evolving, evolving.lake, "id", "note") == [(1, None), (2, "x"), (3, "y")]


def test_typed_values_of_a_kept_column_are_its_text(feed: Callable[[str], Feed]) -> None:
    made = feed("parquet")
    evolving = made.declared([COLUMNS[0]], drift={"new_column": "evolve", "changed_type": "fail"})
    values = {"i": 2**62 + 1, "d": Decimal("1.20"), "t": START, "day": START.date(), "b": b"\xff", "n": [{"x": 1}]}
    (report,) = made.parsed(evolving, [{"id": 1, "f": 0.1, **values}])
    assert report.error is None
    assert made.rows(evolving, evolving.lake, "i", "d", "t", "day", "b", "n", "f") == [
        (str(2**62 + 1), "1.20", "2024-01-01 00:00:00+00", "2024-01-01", "FF", '[{"x":1}]', "0.1")
    ]


def test_a_change_of_a_kept_column_is_a_change_of_the_row(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    evolving = made.declared(drift={"new_column": "evolve"}, refresh={"type": "key", "key": ["id"], "history": True})
    for extra in ({}, {"extra": None}, {"extra": "x"}, {"extra": "x", "other": None}, {"extra": "y"}):
        inputs = made.delivered(evolving, [{"id": 1, "amount": 1.5, **extra}])
        parse(evolving, inputs)
        made.taken(evolving, inputs)
    # to be there without a value is no change
    assert made.rows(evolving, evolving.hub, "extra") == [(None,), ("x",), ("y",)]


def test_a_kept_column_that_is_declared_gets_its_type_from_the_bytes_and_the_lake(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    keyed: dict[str, Any] = {
        "drift": {"new_column": "evolve", "missing_column": "ignore"},
        "refresh": {"type": "key", "key": ["id"]},
    }
    evolving = made.declared(**keyed)
    inputs = made.delivered(evolving, [{"id": 1, "amount": 1.5, "size": "3"}], [{"id": 2, "amount": 1.5}])
    parse(evolving, inputs)
    made.taken(evolving, inputs)
    assert made.rows(evolving, evolving.hub, "size") == [("3",), (None,)]
    declared = made.declared([*COLUMNS, {"name": "size", "type": "integer"}], **keyed)
    with pytest.raises(ConfigError, match="dataops rebuild sales"):
        cdc(declared, inputs)
    rebuild(declared)
    assert made.rows(declared, declared.hub, "size") == [(3,), (None,)]
    assert "evolved" not in made.contracts()[-1]


def test_a_kept_text_that_is_not_the_declared_types_own_form_is_read_from_the_bytes_again(
    feed: Callable[[str], Feed],
) -> None:
    made = feed("csv")
    keyed: dict[str, Any] = {"drift": {"new_column": "evolve"}, "refresh": {"type": "key", "key": ["id"]}}
    evolving = made.declared(**keyed)
    inputs = made.delivered(evolving, [{"id": 1, "amount": 1.5, "size": "01"}])
    parse(evolving, inputs)
    made.taken(evolving, inputs)
    declared = made.declared([*COLUMNS, {"name": "size", "type": "integer"}], **keyed)
    with pytest.raises(ConfigError, match=f"size: 1 of type VARCHAR that are no BIGINT; in input {inputs[0].input_id}"):
        rebuild(declared)
    parse(declared, inputs)
    rebuild(declared)
    assert made.rows(declared, declared.hub, "size") == [(1,)]
    made.taken(declared, inputs)
    for table in (declared.changes, declared.enriched, declared.hub):
        assert read_by_others(table, "size") in ({1: 1}, {})


def test_a_policy_that_lets_columns_in_no_longer_asks_for_a_rebuild(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    evolving = made.declared(drift={"new_column": "evolve"})
    inputs = made.delivered(evolving, [{"id": 1, "amount": 1.5, "extra": "x"}])
    parse(evolving, inputs)
    made.taken(evolving, inputs)
    closed = made.declared()
    with pytest.raises(ConfigError, match="dataops rebuild sales"):
        cdc(closed, inputs)
    rebuild(closed)
    hub = closed.hub.snapshot()
    assert hub is not None
    assert "extra" not in hub.columns
    with pytest.raises(ConfigError, match="dataops rebuild sales"):
        cdc(evolving, inputs)


def test_a_kept_column_is_in_the_recalculated_table(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    evolving = made.declared(
        drift={"new_column": "evolve"},
        rules=[{"name": "share", "expression": "amount / sum(amount) over ()", "mode": "keep_current"}],
    )
    inputs = made.delivered(evolving, [{"id": 1, "amount": 2, "extra": "x"}])
    parse(evolving, inputs)
    made.taken(evolving, inputs)
    recalculate(evolving)
    assert made.rows(evolving, evolving.current, "extra", "share") == [("x", 1.0)]


# --- contract versions -----------------------------------------------------------------------------------------------


def test_every_difference_that_evolves_the_contract_makes_a_version_of_it(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    columns = [COLUMNS[0], {**COLUMNS[1], "nullable": False}]
    drift = {"new_column": "evolve", "missing_column": "evolve"}
    context = made.declared(columns, drift=drift)
    rows = {"id": 1, "amount": 1.5}

    def versions_after(row: Mapping[str, Any]) -> int:
        (report,) = made.parsed(context, [row])
        assert report.error is None
        return len(made.contracts())

    assert versions_after(rows) == 1
    assert versions_after({**rows, "A": "x"}) == 2
    assert versions_after({**rows, "A": "y"}) == 2
    assert versions_after({**rows, "a": "y", "B": "z"}) == 3
    assert versions_after({"id": 2}) == 4
    assert made.contracts()[-1]["evolved"] == {
        "columns": [
            {"name": "a", "type": "text", "raw_names": ["A", "a"]},
            {"name": "b", "type": "text", "raw_names": ["B"]},
        ],
        "nullable": ["amount"],
    }
    # the declaration that is loaded again is no new version, and what evolved stays
    made.declared(columns, drift=drift)
    assert len(made.contracts()) == 4
    # a declared type is a version, and what is declared has not evolved any more
    made.declared([COLUMNS[0], {"name": "amount", "type": "decimal(38,2)"}, {"name": "a"}], drift=drift)
    assert [len(made.contracts()), made.contracts()[-1]["evolved"]["nullable"]] == [5, []]
    assert [item["name"] for item in made.contracts()[-1]["evolved"]["columns"]] == ["b"]


# --- missing columns -------------------------------------------------------------------------------------------------


@over_formats
def test_a_missing_column_fails_its_input_alone_unless_declared_otherwise(
    feed: Callable[[str], Feed], form: str
) -> None:
    made = feed(form)
    context = made.declared()
    good, bad = made.parsed(context, [{"id": 1, "amount": 1.5}], [{"id": 2}])
    assert good.error is None
    assert "no column amount" in error_of(bad)
    assert made.rows(context, context.lake, "id") == [(1,)]


@over_formats
def test_a_missing_column_that_is_ignored_is_null(feed: Callable[[str], Feed], form: str) -> None:
    made = feed(form)
    ignoring = made.declared(drift={"missing_column": "ignore"})
    reports = made.parsed(ignoring, [{"id": 1, "amount": 1.5}], [{"id": 2}], [{"amount": 3.5}])
    assert [report.counts for report in reports] == [
        {"rows": 1, "rejected": 0, "records": 1},
        {"rows": 1, "rejected": 0, "records": 1},
        {"rows": 0, "rejected": 1, "records": 1},
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
    context = made.declared()
    # a workbook holds no such number
    rows = [{**row, "amount": str(row["amount"])} if form == "excel" and row["amount"] else row for row in AMOUNTS]
    (report,) = made.parsed(context, rows)
    assert report.counts == {"rows": 2, "rejected": 1, "records": 3}
    assert made.rows(context, context.lake, "id", "amount") == [(1, 1.0), (3, None)]
    assert made.rows(context, context.quarantine, "s_row_id", "s_column", "s_value", "s_reason") == [
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
    assert report.counts == {"rows": 2, "rejected": 1, "records": 3, "left_out": 1}
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
    item = arrived(START, digest[:12], digest, "/in/v.parquet", len(out.getvalue()))
    failing.raw.add(item, [out.getvalue()], None)
    made.metadata.register_inputs("sales", [item])
    assert (parse(failing, [item]).inputs[0].error is None) == is_same


# --- renamed columns -------------------------------------------------------------------------------------------------

RENAMED = [COLUMNS[0], {**COLUMNS[1], "source_name": "Amount", "renamed_from": ["betrag", "montant"]}]


@over_formats
def test_a_column_is_found_under_each_of_its_names(feed: Callable[[str], Feed], form: str) -> None:
    made = feed(form)
    context = made.declared(RENAMED)
    names = ("montant", "Amount", "betrag")
    reports = made.parsed(context, *([{"id": n, name: n + 0.5}] for n, name in enumerate(names)))
    assert [report.error for report in reports] == [None] * 3
    assert made.rows(context, context.lake, "id", "amount") == [(0, 0.5), (1, 1.5), (2, 2.5)]
    assert schema_note(reports[0]) == "2 columns as declared"
    (bad,) = made.parsed(context, [{"id": 1, "betrag": "much"}])
    assert bad.counts["rejected"] == 1
    assert made.rows(context, context.quarantine, "s_column", "s_value") == [("amount", "much")]


@over_formats
def test_two_names_of_a_column_in_one_input_are_an_error(feed: Callable[[str], Feed], form: str) -> None:
    made = feed(form)
    (bad,) = made.parsed(made.declared(RENAMED), [{"id": 1, "Amount": 1.5, "betrag": 2.5}])
    assert "Amount and betrag, which are names of one column" in error_of(bad)


@pytest.mark.parametrize("earlier", [["id"], ["Amount"], ["betrag", "betrag"]])
def test_an_earlier_name_belongs_to_one_column_once(feed: Callable[[str], Feed], earlier: list[str]) -> None:
    with pytest.raises(ValidationError, match="is the raw name of another column"):
        feed("csv").declared([COLUMNS[0], {**RENAMED[1], "renamed_from": earlier}])


# --- types that are declared wider -----------------------------------------------------------------------------------

KEYED: dict[str, Any] = {
    "refresh": {"type": "key", "key": ["id"], "history": True},
    "rules": [{"name": "twice", "expression": "amount"}],
}


def typed(kind: str) -> list[dict[str, Any]]:
    return [COLUMNS[0], {"name": "amount", "type": kind}]


def read_by_others(table: Table, name: str) -> dict[int, Any]:
    """A column's values by id as `deltalake` reads them; every data file has it in the table's type or lacks it."""
    snapshot = table.snapshot()
    assert snapshot is not None
    stored = {delta_type(snapshot.columns[name])}
    for file in snapshot.files:
        columns = pq.read_schema(f"{table.uri}/{file.path}")
        if name not in columns.names:
            continue
        found = columns.field(name).type
        stored.add(delta_type({"int64": "BIGINT", "double": "DOUBLE"}.get(str(found), _sql_type(found))))
    assert len(stored) == 1
    rows = QueryBuilder().register("t", DeltaTable(table.uri)).execute("select * from t").read_all()
    found_rows = pa.table(rows).to_pylist()
    return {row["id"]: row[name] for row in found_rows}


def _sql_type(found: pa.DataType) -> str:
    if pa.types.is_decimal(found):
        return f"DECIMAL({found.precision},{found.scale})"
    return {"date32[day]": "DATE", "string": "VARCHAR"}.get(str(found), "TIMESTAMP")


@pytest.mark.parametrize(
    ("narrow", "wide", "before", "after", "values"),
    [
        ("integer", "decimal(38,0)", 2**62 + 1, 10**30, [Decimal(2**62 + 1), Decimal(10) ** 30]),
        ("integer", "double", 7, 1.5, [7.0, 1.5]),
        ("decimal(10,2)", "decimal(20,4)", 1.25, 1.0625, [Decimal("1.2500"), Decimal("1.0625")]),
        (
            "date",
            "timestamp",
            "2024-01-05",
            "2024-01-06 12:00",
            [dt.datetime.fromisoformat("2024-01-05"), dt.datetime.fromisoformat("2024-01-06T12:00")],
        ),
    ],
)
def test_history_stays_readable_when_a_type_is_declared_wider(
    feed: Callable[[str], Feed], narrow: str, wide: str, before: Any, after: Any, values: list[Any]
) -> None:
    made = feed("csv")
    first = made.declared(typed(narrow), **KEYED)
    inputs = made.delivered(first, [{"id": 1, "amount": before}])
    parse(first, inputs)
    made.taken(first, inputs)
    widened = made.declared(typed(wide), **KEYED)
    inputs = made.delivered(widened, [{"id": 2, "amount": after}])
    parse(widened, inputs)
    # every older row is there in the wider type
    assert made.rows(widened, widened.lake, "amount") == [(value,) for value in values]
    with pytest.raises(ConfigError, match="dataops rebuild sales"):
        cdc(widened, inputs)
    rebuild(widened)
    made.taken(widened, inputs)
    for table in (widened.lake, widened.changes, widened.enriched, widened.hub):
        assert made.rows(widened, table, "id", "amount") == [(1, values[0]), (2, values[1])]
        assert read_by_others(table, "amount") == {1: values[0], 2: values[1]}
    assert made.rows(widened, widened.hub, "twice") == [(value,) for value in values]


def test_a_hub_is_rebuilt_in_the_wider_type_before_anything_new_is_parsed(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    first = made.declared(typed("integer"), **KEYED)
    inputs = made.delivered(first, [{"id": 1, "amount": 1}], [{"id": 1, "amount": 2}])
    parse(first, inputs)
    made.taken(first, inputs)
    widened = made.declared(typed("decimal(38,0)"), **KEYED)
    rebuild(widened)
    assert made.rows(widened, widened.hub, "amount") == [(Decimal(1),), (Decimal(2),)]
    # and is what it would be if it had always been that type
    made_anew = Feed(made.home / "anew", made.engine, "csv", made.migrated)
    anew = made_anew.declared(typed("decimal(38,0)"), **KEYED)
    inputs = made_anew.delivered(anew, [{"id": 1, "amount": 1}], [{"id": 1, "amount": 2}])
    parse(anew, inputs)
    made_anew.taken(anew, inputs)
    names = ("id", "amount", "s_input_id", "s_row_hash", "s_valid_from", "s_valid_to")
    assert made.rows(widened, widened.hub, *names) == made_anew.rows(anew, anew.hub, *names)


def test_a_column_without_comparison_that_is_declared_wider_asks_for_a_rebuild(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    loose = {"refresh": {"type": "key", "key": ["id"], "ignore_changes_in": ["amount"]}}
    first = made.declared(typed("integer"), **loose)
    inputs = made.delivered(first, [{"id": 1, "amount": 1}])
    parse(first, inputs)
    made.taken(first, inputs)
    widened = made.declared(typed("double"), **loose)
    inputs = made.delivered(widened, [{"id": 2, "amount": 1.5}])
    parse(widened, inputs)
    cdc(widened, inputs)
    enrich(widened, inputs)
    with pytest.raises(ConfigError, match=r"amount of type DOUBLE, in the hub BIGINT.*dataops rebuild sales"):
        refresh(widened, inputs)
    rebuild(widened)
    refresh(widened, inputs)
    assert read_by_others(widened.hub, "amount") == {1: 1.0, 2: 1.5}


def test_a_declared_type_that_would_lose_a_known_value_is_refused(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    first = made.declared(typed("integer"))
    known = made.delivered(first, [{"id": 1, "amount": 1}], [{"id": 2, "amount": 2**53 + 1}])
    parse(first, known)
    other = made.declared(typed("double"))
    new = made.delivered(other, [{"id": 3, "amount": 1.5}])
    lost = f"amount: 1 of type BIGINT that are no DOUBLE; in input {known[1].input_id}"
    for step, inputs in ((parse, new), (cdc, known)):
        with pytest.raises(ConfigError, match=lost):
            step(other, inputs)
    # nothing was changed by it, and from the bytes the row goes to the quarantine
    assert made.rows(first, first.lake, "amount") == [(1,), (2**53 + 1,)]
    parse(other, [known[1], *new])
    assert made.rows(other, other.lake, "amount") == [(1.0,), (1.5,)]
    assert made.rows(other, other.quarantine, "s_value") == [(str(2**53 + 1),)]


def test_a_column_that_is_declared_later_is_null_in_older_rows(feed: Callable[[str], Feed]) -> None:
    made = feed("csv")
    first = made.declared([COLUMNS[0]], **{**KEYED, "rules": []})
    inputs = made.delivered(first, [{"id": 1}])
    parse(first, inputs)
    made.taken(first, inputs)
    more = made.declared(typed("integer"), **{**KEYED, "rules": []})
    rebuild(more)
    assert made.rows(more, more.hub, "id", "amount") == [(1, None)]
