"""The engine's verdict on a contract is pandera's own verdict on the same rows in pandas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pandera.errors
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.pandas import Check, Column, DataFrameSchema

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.quality.contracts import evaluate
from dataops_assets.quality.pandera_checks import row_count_between, share_in_range
from dataops_assets.sql import query

pytestmark = pytest.mark.slow

TEXTS = st.one_of(
    st.sampled_from(["", "a", "A", "ab", "a'b", 'a"b', "é", "日本", "٣", "a\nb", "b\n", " ", "\u2003", "0", "%", "\\"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
)
INTEGERS = st.one_of(st.integers(-3, 5), st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, -(2**63)]))
FLOATS = st.one_of(
    st.integers(-3, 5).map(float), st.sampled_from([0.1, 0.5, -0.0, 1e308, math.inf, -math.inf, math.nan, 2.0**53])
)
TIMES = st.integers(0, 4).map(lambda day: pd.Timestamp("2013-01-01") + pd.Timedelta(days=day, hours=day % 2))
PATTERNS = st.sampled_from(
    [
        r"a",
        r"^a$",
        r"\d",
        r"\w+$",
        r"\W",
        r"\s",
        r"\S$",
        r"[\w']",
        r"[^\d]",
        r"a.b",
        r"(?i)a",
        r"[]a]",
        r"\Ab\Z",
        "é|日",
    ]
)


@st.composite
def checks_of(draw: Any, values: Any) -> Check:
    """A check that pandas can evaluate on the values."""
    comparable = values.filter(lambda value: value == value)
    one, other = draw(comparable), draw(comparable)
    some = draw(st.lists(values, max_size=4))
    ignore_na = draw(st.booleans())
    low, high = sorted((one, other))
    edges = [draw(st.booleans()) if low < high else True for _ in range(2)]
    kinds = [
        lambda: Check.eq(one, ignore_na=ignore_na),
        lambda: Check.ne(one, ignore_na=ignore_na),
        lambda: Check.isin(some, ignore_na=ignore_na),
        lambda: Check.notin(some, ignore_na=ignore_na),
        lambda: Check.gt(one, ignore_na=ignore_na),
        lambda: Check.ge(one, ignore_na=ignore_na),
        lambda: Check.lt(one, ignore_na=ignore_na),
        lambda: Check.le(one, ignore_na=ignore_na),
        lambda: Check.in_range(low, high, include_min=edges[0], include_max=edges[1], ignore_na=ignore_na),
        lambda: Check.unique_values_eq({value for value in some if value == value}, ignore_na=ignore_na),
    ]
    if values is TEXTS:
        shortest = draw(st.integers(0, 2))
        kinds += [
            lambda: Check.str_matches(draw(PATTERNS), ignore_na=ignore_na),
            lambda: Check.str_contains(draw(PATTERNS), ignore_na=ignore_na),
            lambda: Check.str_startswith(one, ignore_na=ignore_na),
            lambda: Check.str_endswith(one, ignore_na=ignore_na),
            lambda: Check.str_length(shortest, draw(st.integers(shortest, 3)), ignore_na=ignore_na),
            lambda: Check.str_length(exact_value=shortest, ignore_na=ignore_na),
        ]
    if values in (INTEGERS, FLOATS):
        kinds.append(lambda: share_in_range(low, high, draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))))
    return draw(st.sampled_from(kinds))()


@st.composite
def cases(draw: Any) -> tuple[pd.DataFrame, DataFrameSchema]:
    """A frame of four columns, and a schema over them."""
    size = draw(st.integers(0, 8))

    def column(values: Any, has_nulls: bool = True) -> list[Any]:
        choices = st.one_of(values, values, st.none()) if has_nulls else values
        return draw(st.lists(choices, min_size=size, max_size=size))

    frame = pd.DataFrame(
        {
            "text": pd.Series(column(TEXTS), dtype=object),
            "whole": pd.Series(column(INTEGERS, has_nulls=False), dtype="int64"),
            "real": pd.Series([np.nan if value is None else value for value in column(FLOATS)], dtype="float64"),
            "time": pd.Series(column(TIMES), dtype="datetime64[ns]"),
        }
    )
    kinds = {"text": (str, TEXTS), "whole": (int, INTEGERS), "real": (float, FLOATS), "time": ("datetime64[ns]", TIMES)}
    columns = {
        name: Column(
            kind,
            [draw(checks_of(values))] if draw(st.booleans()) else [],
            nullable=draw(st.sampled_from([True, True, False])),
            unique=draw(st.sampled_from([False, False, True])),
        )
        for name, (kind, values) in kinds.items()
        if draw(st.booleans())
    }
    columns = {name: columns[name] for name in draw(st.permutations(list(columns)))}
    if draw(st.sampled_from([False, False, False, True])):
        columns["absent"] = Column(int, required=draw(st.booleans()))
    schema = DataFrameSchema(
        columns,
        checks=[row_count_between(*sorted((draw(st.integers(0, 8)), 8)))] if draw(st.booleans()) else [],
        unique=draw(st.sampled_from([None, ["text"], ["text", "real"], ["whole", "time"]])),
        ordered=draw(st.sampled_from([False, False, True])),
        strict=draw(st.sampled_from([False, False, False, True])),
    )
    return frame, schema


def verdict_of_pandera(frame: pd.DataFrame, schema: DataFrameSchema) -> set[str]:
    """The columns that fail; '' for the table."""
    try:
        schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        failed = set()
        for error in errors.schema_errors:
            name = error.schema.name if isinstance(error.schema, Column) else None
            about_table = error.reason_code.name in ("COLUMN_NOT_IN_DATAFRAME", "COLUMN_NOT_IN_SCHEMA")
            failed.add(str(error.failure_cases) if about_table else name or "")
        return failed
    return set()


@pytest.fixture(scope="module")
def session() -> Iterator[DuckDBSession]:
    with duckdb.connect() as connection:
        yield DuckDBSession(connection)


def table_of(frame: pd.DataFrame) -> pa.Table:
    types = {"text": pa.string(), "whole": pa.int64(), "real": pa.float64(), "time": pa.timestamp("us")}
    return pa.table({name: pa.array(frame[name], kind, from_pandas=name != "real") for name, kind in types.items()})


@settings(max_examples=120, deadline=None)
@given(case=cases())
def test_engine_and_pandas_agree(session: DuckDBSession, case: tuple[pd.DataFrame, DataFrameSchema]) -> None:
    frame, schema = case
    rows = query("SELECT f.* FROM $f AS f", f=session.register(table_of(frame)))
    failures = evaluate(session, schema, rows, per_input=False)
    # where columns are out of order, pandera names every one from there on and we the first
    found = {"" if failure.check == "column_ordered" else failure.column for failure in failures}
    assert found == verdict_of_pandera(frame, schema), [failure.message for failure in failures]


# --- nulls, for every check and type by itself -----------------------------------------------------------------------

# by type: two values of it in order, a greater one that no table here has, and how pandas says that there is none
# (nullable types, whose comparisons with NA are unknown, have no counterpart: nulls make whole numbers float64)
VALUES: dict[str, tuple[Any, Any, Any, Any]] = {
    "float64": (1.0, 2.0, 9.0, np.nan),
    "str": ("a", "b", "z", None),
    "datetime64[ns]": (pd.Timestamp("2013-01-01"), pd.Timestamp("2013-01-02"), pd.Timestamp("2013-01-09"), pd.NaT),
}
ENGINE_TYPES = {"float64": pa.float64(), "str": pa.string(), "datetime64[ns]": pa.timestamp("us")}


def null_checks(kind: str, ignore_na: bool) -> dict[str, Check]:
    """Every check that a column of this type can have, such that its values pass."""
    one, two, other, missing = VALUES[kind]
    na = {"ignore_na": ignore_na}
    checks = {
        "eq": Check.eq(one, **na),
        "ne": Check.ne(other, **na),
        "gt": Check.gt(one, **na),
        "ge": Check.ge(one, **na),
        "lt": Check.lt(other, **na),
        "le": Check.le(two, **na),
        "in_range": Check.in_range(one, two, **na),
        "isin": Check.isin([one, two], **na),
        "isin, missing too": Check.isin([one, two, missing], **na),
        "notin": Check.notin([other], **na),
        "notin, missing too": Check.notin([other, missing], **na),
        "unique_values_eq": Check.unique_values_eq([one, two], **na),
    }
    if kind == "float64":
        checks["share_in_range"] = share_in_range(one, two, 1.0)
    if kind == "str":
        checks |= {
            "unique_values_eq, missing too": Check.unique_values_eq([one, two, missing], **na),
            "str_matches": Check.str_matches("[ab]", **na),
            "str_contains": Check.str_contains("a|b", **na),
            "str_startswith": Check.str_startswith("a", **na),
            "str_endswith": Check.str_endswith("a", **na),
            "str_length": Check.str_length(1, 2, **na),
            "str_length, exactly": Check.str_length(exact_value=1, **na),
        }
    return checks


NULL_CASES = [(kind, name, na) for kind in VALUES for na in (True, False) for name in null_checks(kind, na)]


@pytest.mark.parametrize(("kind", "name", "ignore_na"), NULL_CASES)
def test_nulls_are_judged_as_pandera_judges_them(session: DuckDBSession, kind: str, name: str, ignore_na: bool) -> None:
    check = null_checks(kind, ignore_na)[name]
    one, two, _, missing = VALUES[kind]
    for values in ([], [missing], [one, missing], [one, two], [one, two, missing]):
        # text is of type object: only there does None stay what it is
        frame = pd.DataFrame({"c": pd.Series(values, dtype=object if kind == "str" else kind)})
        column = pa.array(frame["c"], ENGINE_TYPES[kind], from_pandas=kind == "str")
        rows = query("SELECT f.* FROM $f AS f", f=session.register(pa.table({"c": column})))
        for nullable in (True, False) if len(values) == 3 else (True,):
            schema = DataFrameSchema({"c": Column(kind, check, nullable=nullable)})
            failures = evaluate(session, schema, rows, per_input=False)
            assert {failure.check for failure in failures} == failed_checks(frame, schema), (values, nullable)


def failed_checks(frame: pd.DataFrame, schema: DataFrameSchema) -> set[str]:
    """The checks of a column that pandera finds to fail."""
    try:
        schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        return {str(getattr(error.check, "error", error.check)) for error in errors.schema_errors}
    return set()


@pytest.mark.parametrize("missing", [None, np.nan, pd.NaT, pd.NA])
@pytest.mark.parametrize("kind", VALUES)
def test_a_missing_member_is_null_in_whatever_way_it_is_written(
    session: DuckDBSession, kind: str, missing: Any
) -> None:
    one, two, other, _ = VALUES[kind]
    given = session.register(pa.table({"c": pa.array([one, two, None], ENGINE_TYPES[kind])}))
    rows = query("SELECT g.* FROM $given AS g", given=given)

    def failing(check: Check) -> list[int]:
        schema = DataFrameSchema({"c": Column(None, check, nullable=True)})
        return [item.failing_rows for item in evaluate(session, schema, rows, per_input=False)]

    assert failing(Check.isin([one, two, missing], ignore_na=False)) == []
    assert failing(Check.notin([other, missing], ignore_na=False)) == [1]
    assert failing(Check.unique_values_eq([one, two, missing], ignore_na=False)) == []


@settings(max_examples=60, deadline=None)
@given(case=cases(), halves=st.lists(st.sampled_from(["a", "b"]), min_size=8, max_size=8))
def test_inputs_are_judged_as_if_each_were_alone(
    session: DuckDBSession, case: tuple[pd.DataFrame, DataFrameSchema], halves: list[str]
) -> None:
    frame, schema = case
    ids = pa.array(halves[: len(frame)], pa.string())
    given = session.register(table_of(frame).append_column("s_input_id", ids))
    rows = query("SELECT g.* FROM $given AS g", given=given)
    together = evaluate(session, schema, rows, per_input=True, input_ids=["a", "b"])
    for half in ("a", "b"):
        own = query("SELECT g.* FROM $given AS g WHERE g.s_input_id = $half", given=given, half=half)
        alone = evaluate(session, schema, own, per_input=False)
        assert [(item.column, item.check, item.failing_rows) for item in together if item.input_id == half] == [
            (item.column, item.check, item.failing_rows) for item in alone
        ]
