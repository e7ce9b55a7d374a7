"""The declared gates let every good file of the demonstration pass, and stop what they are there to stop."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pandera.errors
import pandera.pandas
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
from dataops_assets.sql import DIALECT, alias, column, literal, query

DEFS = Path(__file__).parents[2] / "dataops_assets" / "defs"
SOURCES = {
    source.name: source
    for area in ("flights", "rossmann")
    for path in sorted((DEFS / area).rglob("defs.yaml"))
    for source in [Source.model_validate(yaml.safe_load(path.read_text())["attributes"])]
}
GATES = [(name, layer) for name, source in SOURCES.items() for layer, gate in source.gates if isinstance(gate, Gate)]
SALES, STORES = SOURCES["sales"], SOURCES["stores"]
UNDATED, DATED = "2015-06-08_", "2015-07-31_"


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
        "SELECT $names, CASE WHEN parse_filename(filename) IN ('train.csv', 'store.csv') THEN $undated ELSE $dated END "
        "|| parse_filename(filename) AS s_input_id "
        "FROM read_csv($paths, columns = $types, nullstr = ['NA', ''], header = TRUE, filename = TRUE) AS r",
        names=names,
        paths=exp.Array(expressions=[exp.Literal.string(str(path)) for path in paths]),
        types=types,
        undated=literal(UNDATED),
        dated=literal(DATED),
    )


def _input_id(path: Path) -> str:
    """As the platform names an input: it starts with the extract time."""
    return (UNDATED if path.name in ("train.csv", "store.csv") else DATED) + path.name


def _gated(
    session: Session, source: Source, paths: list[Path], header: list[str] | None = None
) -> list[ContractFailure]:
    assert source.gates.lake is not None
    ids = [_input_id(path) for path in paths]
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
    assert "expected between 100,000 and 2,000,000 where extracted until 2015-06-08" in failure.message


def test_what_follows_the_history_may_be_a_week_a_month_or_corrections_of_many_days(session, written):
    assert _gated(session, SALES, written("train.csv", _history(100_000))) == []
    for days in (7, 14, 31):
        assert _gated(session, SALES, written("sales_2015-07-31.csv", _history(days * 1115))) == []
    corrections = rossmann.sales().slice(0, 40 * 1115).take(list(range(0, 40 * 1115, 1115)))
    assert len(set(corrections.column("Date").to_pylist())) == 40
    assert _gated(session, SALES, written("sales_2015-07-31.csv", rossmann.csv_bytes(corrections))) == []


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


def _stores() -> pd.DataFrame:
    return rossmann.stores().to_pandas()


@pytest.mark.parametrize(("rows", "passes"), [(999, False), (1000, True), (1115, True), (1200, True), (1201, False)])
def test_an_extract_of_stores_has_a_thousand_rows_or_somewhat_more(session, written, rows, passes):
    frame = _stores()
    more = pd.concat([frame, frame.head(max(rows - len(frame), 0))])[:rows].assign(Store=range(1, rows + 1))
    failures = _gated(session, STORES, written("store.csv", more.to_csv(index=False).encode()))
    # a store has a number up to 1200
    assert [failure.check for failure in failures if failure.column == ""] == (
        [] if passes else ["row_count_between(1000, 1200)"]
    )
    assert passes == (failures == [])


def test_an_extract_of_stores_has_exactly_the_columns_of_the_public_file(session, written):
    paths = written("store.csv", _stores().to_csv(index=False).encode())
    names = list(STORES.column_names)
    assert names == [
        *("Store", "StoreType", "Assortment", "CompetitionDistance", "CompetitionOpenSinceMonth"),
        *("CompetitionOpenSinceYear", "Promo2", "Promo2SinceWeek", "Promo2SinceYear", "PromoInterval"),
    ]
    assert _gated(session, STORES, paths, names) == []
    swapped = [names[0], names[2], names[1], *names[3:]]
    assert [failure.check for failure in _gated(session, STORES, paths, swapped)] == ["column_ordered"]
    assert [failure.check for failure in _gated(session, STORES, paths, [*names, "City"])] == ["column_in_schema"]


@pytest.mark.parametrize(("share", "passes"), [(0.29, True), (0.31, False)])
def test_three_in_ten_competitors_may_be_out_of_range(session, written, share, passes):
    frame = _stores()
    frame.loc[: int(len(frame) * share), "CompetitionDistance"] = 100_001
    failures = _gated(session, STORES, written("store.csv", frame.to_csv(index=False).encode()))
    assert [failure.column for failure in failures] == ([] if passes else ["CompetitionDistance"])


@pytest.mark.parametrize(("year", "passes"), [(2012, False), (2013, True), (2016, True), (2017, False)])
def test_features_are_of_the_years_2013_to_2016(session, year, passes):
    assert SALES.gates.current is not None
    features = load_contract(SALES.gates.current.contract)
    of_year = pandera.pandas.DataFrameSchema({"Year": features.columns["Year"]})
    rows = query("SELECT CAST($year AS BIGINT) AS Year", year=year)
    assert (evaluate(session, of_year, rows, per_input=False) == []) == passes


def test_pandera_judges_the_history_s_limits_alike():
    contract = load_contract(SALES.gates.lake.contract)
    frame = rossmann.sales().slice(0, 60_000).to_pandas().astype({"SchoolHoliday": int})
    # whose rows they are is a column of the platform, which the contract does not name
    assert len(contract.validate(frame)) == 60_000
    check = row_count_between(1, 5, extracted_until=dt.date(2015, 6, 8))
    for input_id, passes in (("2015-06-08T235959_a", False), ("2015-06-09_a", True)):
        assert check(pd.DataFrame({"s_input_id": [input_id] * 9})).check_passed == passes
        assert check(pd.DataFrame({"s_input_id": [input_id] * 5})).check_passed
