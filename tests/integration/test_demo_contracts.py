"""The declared gates let every good file of the demonstration pass, and stop what they are there to stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pandera.errors
import pytest
import sqlglot
import yaml
from sqlglot import exp

from dataops_assets.config.environment import environment_from
from dataops_assets.config.quality import Gate
from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.demo import bad_inputs, rossmann
from dataops_assets.demo.deliveries import deliver
from dataops_assets.demo.landing import STAGES
from dataops_assets.engines.base import Session
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.quality.contracts import ContractFailure, evaluate, load_contract, validate_contract
from dataops_assets.quality.pandera_checks import row_count_between
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import DIALECT, alias, column, query

DEFS = Path(__file__).parents[2] / "dataops_assets" / "defs"
SOURCES = {
    source.name: source
    for area in ("flights", "rossmann")
    for path in sorted((DEFS / area).rglob("defs.yaml"))
    for source in [Source.model_validate(yaml.safe_load(path.read_text())["attributes"])]
}
GATES = [(name, layer) for name, source in SOURCES.items() for layer, gate in source.gates if isinstance(gate, Gate)]
SALES = SOURCES["sales"]


@pytest.fixture(scope="module")
def landing(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    for stage in STAGES[:-1]:
        deliver(folder, stage)
    return folder


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)).session() as opened:
        yield opened


def _parsed(source: Source, paths: list[Path]) -> exp.Query:
    """The files as the lake holds them: typed, nulls replaced by declared defaults, the path as the input."""
    names = [
        alias(
            column(item.name)
            if item.default is None
            else exp.Coalesce(this=column(item.name), expressions=[sqlglot.parse_one(item.default, dialect=DIALECT)]),
            item.name,
        )
        for item in source.columns
    ]
    types = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.Literal.string(item.name), expression=exp.Literal.string(sql_type(item.type)))
            for item in source.columns
        ]
    )
    return query(
        "SELECT $names, parse_filename(filename) AS s_input_id "
        "FROM read_csv($paths, columns = $types, nullstr = ['NA', ''], header = TRUE, filename = TRUE) AS r",
        names=names,
        paths=exp.Array(expressions=[exp.Literal.string(str(path)) for path in paths]),
        types=types,
    )


def _gated(
    session: Session, source: Source, paths: list[Path], header: list[str] | None = None
) -> list[ContractFailure]:
    assert source.gates.lake is not None
    ids = [path.name for path in paths]
    headers = dict.fromkeys(ids, header) if header else None
    contract = load_contract(source.gates.lake.contract)
    return evaluate(session, contract, _parsed(source, paths), per_input=True, input_ids=ids, headers=headers)


@pytest.mark.parametrize(("name", "layer"), GATES)
def test_a_declared_gate_fits_the_table_it_guards(name, layer):
    source = SOURCES[name]
    compiled = compile_rules(source, SOURCES)
    types = {item.name: sql_type(item.type) for item in source.columns}
    if layer != "lake":
        types |= {rule.name: compiled.types[rule.name] for rule in source.snapshot_rules}
    if layer == "current":
        types |= {rule.name: compiled.types[rule.name] for rule in source.keep_current_rules}
    contract = load_contract(getattr(source.gates, layer).contract)
    validate_contract(contract, types)
    assert set(contract.columns) <= set(types)


def test_every_source_is_gated():
    assert (
        {name for name, layer in GATES if layer == "lake"}
        == set(SOURCES)
        == {
            *("airlines", "airports", "planes", "weather", "flights"),
            *("stores", "sales"),
        }
    )


@pytest.mark.parametrize("name", SOURCES)
def test_every_good_file_passes_its_gate(session, landing, name):
    source = SOURCES[name]
    paths = sorted((landing / source.area / name).glob("*.csv"))
    assert paths
    assert _gated(session, source, paths) == []


@pytest.fixture
def written(tmp_path):
    def write(name: str, content: bytes) -> list[Path]:
        (tmp_path / name).write_bytes(content)
        return [tmp_path / name]

    return write


def test_an_implausible_amount_is_stopped_and_shown(session, written):
    (failure,) = _gated(session, SALES, written("implausible.csv", bad_inputs.implausible()))
    assert (failure.column, failure.failing_rows) == ("Sales", 1)
    assert "1000000" in failure.examples[0]


def _history(rows: int) -> bytes:
    return rossmann.csv_bytes(rossmann.sales().slice(0, rows))


@pytest.mark.parametrize("rows", [16_000, 60_000, 99_999])
def test_a_history_cut_short_is_stopped(session, written, rows):
    (failure,) = _gated(session, SALES, written("train.csv", _history(rows)))
    assert failure.column == ""
    assert "expected between 100,000 and 2,000,000 where Date has more than 14 values" in failure.message


def test_a_whole_history_and_two_weeks_are_not_stopped(session, written):
    assert _gated(session, SALES, written("train.csv", _history(100_000))) == []
    assert _gated(session, SALES, written("sales.csv", _history(14 * 1115))) == []


def test_an_input_without_rows_is_stopped(session, written):
    failures = _gated(session, SALES, written("sales.csv", _history(0)))
    assert [failure.check for failure in failures] == ["row_count_between(1, 2000000)"]


@pytest.mark.parametrize("missing", ["Store", "DayOfWeek", "Date"])
def test_a_null_that_no_row_may_have_is_stopped(session, written, missing):
    frame = rossmann.week_rows(rossmann.LAST_DAY).to_pandas().astype({missing: object})
    frame.loc[3, missing] = None
    (failure,) = _gated(session, SALES, written("sales.csv", frame.to_csv(index=False).encode()))
    assert (failure.column, failure.check, failure.failing_rows) == (missing, "not_nullable", 1)


def test_customers_beyond_ten_thousand_may_be_one_in_twenty(session, written):
    frame = rossmann.week_rows(rossmann.LAST_DAY).to_pandas()
    few, many = int(len(frame) * 0.05), int(len(frame) * 0.05) + 1
    frame.loc[: few - 1, "Customers"] = 10_001
    assert _gated(session, SALES, written("few.csv", frame.to_csv(index=False).encode())) == []
    frame.loc[: many - 1, "Customers"] = 10_001
    (failure,) = _gated(session, SALES, written("many.csv", frame.to_csv(index=False).encode()))
    assert failure.column == "Customers"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("Store", 1201), ("Store", 0), ("DayOfWeek", 8), ("Sales", -1), ("Sales", 50_001)),
        *(("Open", 2), ("Promo", 2), ("StateHoliday", "d"), ("SchoolHoliday", 2)),
    ],
)
def test_a_value_outside_its_set_or_range_is_stopped(session, written, name, value):
    frame = rossmann.week_rows(rossmann.LAST_DAY).to_pandas()
    frame.loc[5, name] = value
    (failure,) = _gated(session, SALES, written("sales.csv", frame.to_csv(index=False).encode()))
    assert (failure.column, failure.failing_rows) == (name, 1)


def test_columns_in_another_order_or_one_more_are_stopped(session, written):
    paths = written("sales.csv", rossmann.csv_bytes(rossmann.week_rows(rossmann.LAST_DAY)))
    names = list(SALES.column_names)
    assert _gated(session, SALES, paths, names) == []
    swapped = [names[1], names[0], *names[2:]]
    assert [failure.check for failure in _gated(session, SALES, paths, swapped)] == ["column_ordered"]
    assert [failure.check for failure in _gated(session, SALES, paths, [*names, "Id"])] == ["column_in_schema"]


def test_pandera_judges_the_history_s_limits_alike():
    contract = load_contract(SALES.gates.lake.contract)
    frame = rossmann.sales().slice(0, 60_000).to_pandas().astype({"SchoolHoliday": int})
    with pytest.raises(pandera.errors.SchemaError, match="row_count_between"):
        contract.validate(frame)
    assert len(contract.validate(frame.head(14 * 1115))) == 14 * 1115
    check = row_count_between(1, 5, different="Date", of_more_than=1)
    assert check(pd.DataFrame({"Date": [1] * 9})).check_passed
    assert not check(pd.DataFrame({"Date": [1, 2] * 9})).check_passed
