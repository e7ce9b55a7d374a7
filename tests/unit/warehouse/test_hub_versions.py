"""The macros of versions: names and ends that a project chooses, keys, tables as of a moment, joins in time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from jinja2 import Environment

MACROS = Path(__file__).resolve().parents[3] / "dbt_project" / "macros"


class Refused(Exception):
    """What dbt raises for a macro that refuses its arguments."""


def _refuse(message: str) -> None:
    raise Refused(message)


def compiled(model: str, variables: Mapping[str, Any] | None = None) -> str:
    """The SQL of a model, as dbt makes it."""
    found = Environment(extensions=["jinja2.ext.do"], autoescape=False)  # noqa: S701
    found.globals |= {
        "var": lambda name, default: (variables or {}).get(name, default),
        "source": lambda _schema, table: f"hub_{table}",
        "adapter": SimpleNamespace(quote=lambda name: f'"{name}"'),
        "exceptions": SimpleNamespace(raise_compiler_error=_refuse),
    }
    return found.from_string((MACROS / "hub_versions.sql").read_text() + model).render()


def at(day: int) -> dt.datetime:
    return dt.datetime(2024, 1, day, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def rows() -> Callable[[str], list[Any]]:
    """A store that moves, is deleted and returns, and its sales."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.execute(
        "create table hub_stores (store varchar, city varchar, s_key varchar, s_input_id varchar, s_row_id bigint, "
        "s_valid_from timestamptz, s_valid_to timestamptz, s_is_current boolean, s_is_deleted boolean)"
    )
    connection.executemany(
        "insert into hub_stores values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            ("a", "Rome", "a", "in-1", 0, at(1), at(3), False, False),
            ("a", "Oslo", "a", "in-3", 0, at(3), at(5), False, False),
            ("a", None, "a", "in-5", -1, at(5), at(7), False, True),
            ("a", "Bern", "a", "in-7", 0, at(7), None, True, False),
            ("b", "Graz", "b", "in-1", 1, at(1), None, True, False),
        ],
    )
    connection.execute("create table sales (store varchar, sold_at timestamptz)")
    connection.executemany("insert into sales values (?, ?)", [("a", at(day)) for day in range(1, 9)])
    return lambda text: connection.execute(text).fetchall()


def test_a_join_in_time_takes_the_version_of_the_moment(rows: Callable[[str], list[Any]]) -> None:
    found = rows(
        compiled(
            "select day(s.sold_at), city from sales as s left join {{ hub_versions('stores') }} "
            "on stores.store = s.store and {{ valid_at('s.sold_at', 'stores') }} order by 1"
        )
    )
    cities = ["Rome", "Rome", "Oslo", "Oslo", None, None, "Bern", "Bern"]
    assert found == list(enumerate(cities, 1))


def test_a_table_as_of_a_moment(rows: Callable[[str], list[Any]]) -> None:
    model = (
        "select store, city from {{ hub_versions('stores') }} "
        "where {{ valid_at(\"timestamptz '2024-01-06 00:00:00+00'\", 'stores') }}"
    )
    assert rows(compiled(model)) == [("b", "Graz")]


def test_names_ends_and_keys_are_those_that_a_project_chooses(rows: Callable[[str], list[Any]]) -> None:
    chosen = {"valid_from": "begins", "valid_to": "ends", "open_end": "timestamptz '9999-12-31 00:00:00+00'"}
    variables = {"versions": {**chosen, "version_key": "version"}}
    model = "select city, begins, ends, version from {{ hub_versions('stores') }} order by store, begins"
    found = rows(compiled(model, variables))
    end = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
    assert [row[:3] for row in found] == [
        ("Rome", at(1), at(3)),
        ("Oslo", at(3), at(5)),
        ("Bern", at(7), end),
        ("Graz", at(1), end),
    ]
    assert len({row[3] for row in found}) == len(found)
    # a model says otherwise
    model = (
        "select since, ends from {{ hub_versions('stores', valid_from='since', open_end='null', deletions=true) }} "
        "where store = 'a' order by 1"
    )
    found = rows(compiled(model, variables))
    assert found == [(at(1), at(3)), (at(3), at(5)), (at(5), at(7)), (at(7), None)]


def test_nothing_is_added_that_nobody_asked_for(rows: Callable[[str], list[Any]]) -> None:
    assert len(rows(compiled("describe select * from {{ hub_versions('stores') }}"))) == 9


def test_an_unknown_default_is_refused() -> None:
    with pytest.raises(Refused, match=r"known: .*open_end"):
        compiled("{{ hub_versions('stores') }}", {"versions": {"open_ends": "null"}})
