"""What a contract may say, and how its failures are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import duckdb
import pytest
from pandera.pandas import Check, Column, DataFrameModel, DataFrameSchema, Field, Index
from pandera.typing import Series

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError
from dataops_assets.quality.contracts import evaluate, load_contract, validate_contract
from dataops_assets.quality.pandera_checks import row_count_between, share_in_range
from dataops_assets.sql import query

good = DataFrameSchema({"n": Column(int, Check.ge(0))})


class Model(DataFrameModel):
    n: Series[int] = Field(ge=0)


custom = DataFrameSchema({"n": Column(int, Check(lambda values: values > 0, name="positive"))})
by_group = DataFrameSchema({"n": Column(int, Check(bool, name="isin", groupby="g")), "g": Column(int)})
table_wide = DataFrameSchema({"n": Column(int)}, checks=Check.ge(0))
wrong_pattern = DataFrameSchema({"t": Column(str, Check.str_matches("(?=a)"))})
coercing = DataFrameSchema({"n": Column(int, coerce=True, default=1)}, strict="filter", index=Index(int))
complex_type = DataFrameSchema({"n": Column(complex)})
no_contract = 7


@pytest.fixture(scope="module")
def session() -> Iterator[DuckDBSession]:
    with duckdb.connect() as connection:
        yield DuckDBSession(connection)


@pytest.mark.parametrize("name", ["good", "Model"])
def test_a_schema_or_a_model_is_a_contract(name: str) -> None:
    assert list(load_contract(f"{__name__}:{name}").columns) == ["n"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no_colon", "write it as 'module:attribute'"),
        (":good", "write it as 'module:attribute'"),
        ("no.such.module:good", "no module 'no'"),
        (f"{__name__}:goood", "did you mean 'good'?"),
        (f"{__name__}:no_contract", "no contract 'no_contract'; known: Model, by_group, coercing"),
        (f"{__name__}:custom", "'positive', which the engine cannot evaluate"),
        (f"{__name__}:by_group", "which the engine cannot evaluate"),
        (f"{__name__}:table_wide", "of the whole table; received: greater_than_or_equal_to; known: row_count_between"),
        (f"{__name__}:coercing", "index, strict='filter', n.coerce, n.default, but a gate changes no values"),
        (f"{__name__}:wrong_pattern", "regular expression"),
        (f"{__name__}:complex_type", "type complex128"),
    ],
)
def test_what_cannot_be_a_contract_says_why(reference: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_contract(reference)
    assert words in str(error.value)


def test_a_module_that_a_contract_lacks_is_told_as_python_tells_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacking_contract.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        load_contract("lacking_contract:good")


@pytest.mark.parametrize(
    ("check", "kind", "words"),
    [
        (Check.isin([0, 1]), "VARCHAR", "0 for a column of type text"),
        (Check.gt("a"), "BIGINT", "'a' for a column of type integer"),
        (Check.str_length(1), "BIGINT", "a column of type integer; known: text"),
        (Check.gt("no time"), "DATE", "'no time' for a column of type date"),
        (Check.str_matches("(?=a)"), "VARCHAR", "regular expression"),
        (row_count_between(0, 1), "BIGINT", "a check of a whole table"),
    ],
)
def test_a_check_must_fit_its_column(check: Check, kind: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        validate_contract(DataFrameSchema({"c": Column(None, check)}), {"c": kind})
    assert words in str(error.value)


def messages(session: DuckDBSession, schema: DataFrameSchema, rows: str, **given: Any) -> list[str]:
    session.connection.execute(f"CREATE OR REPLACE TEMP TABLE rows AS {rows}")
    found = evaluate(session, schema, query("SELECT * FROM rows"), **{"per_input": False, **given})
    return [failure.message for failure in found]


def test_failures_are_told_with_numbers_and_rows(session: DuckDBSession) -> None:
    schema = DataFrameSchema(
        {
            "n": Column(int, [Check.le(1), share_in_range(0, 1, 0.9)], unique=True),
            "t": Column(str, Check.isin(["a"])),
        },
        unique=["n", "t"],
        checks=row_count_between(1, 2),
    )
    rows = "SELECT * FROM (VALUES (0, 'a', 10), (5, NULL, 11), (5, NULL, 12), (0, 'b', 13)) r(n, t, s_row_id)"
    assert messages(session, schema, rows) == [
        "n: field_uniqueness fails for 2 of 4 rows; for example 0 (row 10), 5 (row 11)",
        "n: less_than_or_equal_to(1) fails for 2 of 4 rows; for example 5 (row 11), 5 (row 12)",
        "n: share_in_range(0, 1, 0.9) fails for 2 of 4 rows, at most 0.1 of them may; "
        "for example 5 (row 11), 5 (row 12)",
        "t: not_nullable fails for 2 of 4 rows; for example null (row 11), null (row 12)",
        "t: isin(['a']) fails for 1 of 4 rows; for example b (row 13)",
        "unique(n, t) fails for 1 of 4 rows; for example 5, null (row 11)",
        "row_count_between(1, 2) fails for 4 rows, expected between 1 and 2",
    ]


def test_what_is_wrong_with_columns_is_told_once_and_nothing_else_of_them(session: DuckDBSession) -> None:
    schema = DataFrameSchema(
        {"a": Column(int), "b": Column(str), "c": Column(float), "x.*": Column(int, regex=True)},
        ordered=True,
        strict=True,
    )
    assert messages(session, schema, "SELECT 'p' AS b, 1 AS a, 2 AS d, 3 AS s_row_id") == [
        "column c is missing; known: b, a, d",
        "no column matches x.*; known: b, a, d",
        "column d is not in the contract",
        "columns are out of order: place 1 has b, the contract has a",
    ]


def test_a_header_stands_for_the_order_of_an_input(session: DuckDBSession) -> None:
    schema = DataFrameSchema({"a": Column(), "b": Column()}, ordered=True, strict=True)
    rows = "SELECT 1 AS a, 2 AS b, unnest(['x', 'y', 'z']) AS s_input_id"
    headers = {"x": ["b", "a"], "y": ["a", "b", "new"], "z": ["a", "b"]}
    assert messages(session, schema, rows, per_input=True, input_ids=["x", "y", "z"], headers=headers) == [
        "columns are out of order: place 1 has b, the contract has a",
        "column new is not in the contract",
    ]


def test_a_check_may_only_warn(session: DuckDBSession) -> None:
    schema = DataFrameSchema({"n": Column(int, Check.gt(0, raise_warning=True))})
    session.connection.execute("CREATE OR REPLACE TEMP TABLE rows AS SELECT 0 AS n")
    (failure,) = evaluate(session, schema, query("SELECT * FROM rows"), per_input=False)
    assert (failure.severity, failure.failing_rows) == ("warn", 1)


def test_a_contract_that_holds_takes_one_query(session: DuckDBSession) -> None:
    schema = DataFrameSchema({"n": Column(int, [Check.gt(0), Check.isin([1])], unique=True)}, unique=["n"])
    session.connection.execute("CREATE OR REPLACE TEMP TABLE rows AS SELECT 1 AS n")
    with mock.patch.object(session, "fetch", wraps=session.fetch) as fetch:
        assert evaluate(session, schema, query("SELECT * FROM rows"), per_input=False) == []
        assert fetch.call_count == 1
        session.connection.execute("INSERT INTO rows VALUES (1), (0)")
        assert len(evaluate(session, schema, query("SELECT * FROM rows"), per_input=False)) == 4
        assert fetch.call_count == 3
