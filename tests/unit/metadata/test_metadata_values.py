"""How values become what both databases store, and what the tables tell about themselves."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sqlalchemy.dialects import postgresql, sqlite

from dataops_assets.metadata import tables

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.decimals() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(ANY_TEXT)
def test_a_storable_text_is_utf8_without_nul_and_stays_what_it_is(text: str) -> None:
    stored = tables.storable(text)
    assert "\x00" not in stored
    assert stored.encode("utf-8").decode("utf-8") == stored
    assert tables.storable(stored) == stored


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00")))
def test_a_text_that_can_be_stored_is_not_changed(text: str) -> None:
    assert tables.storable(text) == text


@given(JSON_LIKE)
def test_plain_values_are_json_that_says_the_same_again(value: object) -> None:
    made = tables.plain(value)
    text = json.dumps(made, allow_nan=False)
    assert "\\u0000" not in text
    assert json.loads(text) == made == tables.plain(made)


def test_numbers_of_other_libraries_become_plain_ones() -> None:
    made = tables.plain({"a": np.int64(3), "b": np.float32(0.5), "c": decimal.Decimal("1.10")})
    assert json.dumps(made) == '{"a": 3, "b": 0.5, "c": "1.10"}'
    assert tables.plain((math.nan, -math.inf)) == ["nan", "-inf"]


@given(
    st.datetimes(
        dt.datetime.fromisoformat("0002-01-01"), dt.datetime.fromisoformat("9998-01-01"), timezones=st.timezones()
    )
)
@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_an_instant_survives_either_database(dialect: object, time: dt.datetime) -> None:
    kind = tables.Timestamp()
    back = kind.process_result_value(kind.process_bind_param(time, dialect), dialect)
    assert back == time.astimezone(dt.UTC)
    assert back.tzinfo is dt.UTC


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        tables.Timestamp().process_bind_param(dt.datetime.fromisoformat("2013-01-01"), sqlite.dialect())


def test_every_table_and_column_says_what_it_holds() -> None:
    for table in tables.metadata.tables.values():
        assert table.comment
        assert [column.name for column in table.columns if not column.comment] == []


def test_every_important_count_has_a_column() -> None:
    assert set(tables.COUNTS) <= set(tables.processes.columns.keys())
