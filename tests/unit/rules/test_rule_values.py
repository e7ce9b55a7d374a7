"""What rules give: the meaning of null, zero, overflow, casts, case and types, as a table of cases."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pytest
from rule_cases import compiled, current, rule, run, value_of

from dataops_assets.rules.query import CAST_PREFIX, FAILED_PREFIX


def local(*parts: int) -> dt.datetime:
    """A timestamp without a zone."""
    return dt.datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001


ROW: dict[str, Any] = {
    "Store": 1,
    "Date": dt.date(2015, 7, 31),
    "Sales": 7,
    "Customers": 0,
    "Price": Decimal("2.50"),
    "Ratio": 0.5,
    "Note": "Ärger",
    "Open": True,
    "At": local(2015, 7, 31, 23, 30),
    "Seen": dt.datetime(2015, 7, 31, 23, 30, tzinfo=dt.UTC),
    "select": 4,
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        # null goes through everything but what asks for it
        ("Sales + null", None),
        ("null = null", None),
        ("null and false", False),
        ("null or true", True),
        ("Note || null", None),
        ("concat(Note, null)", "Ärger"),
        ("concat_ws('-', 'a', null, 'b')", "a-b"),
        ("coalesce(null, Sales)", 7),
        ("null is not distinct from null", True),
        ("greatest(null, 3)", 3),
        ("Sales in (1, null)", None),
        ("case when null then 1 else 2 end", 2),
        # division
        ("Sales / 2", 3.5),
        ("Sales // 2", 3),
        ("-Sales // 2", -3),
        ("Sales % 4", 3),
        ("-Sales % 4", -3),
        ("Price / 2", 1.25),
        ("1 / 3 * 3", 1.0),
        ("Sales / Customers", None),
        ("Sales // Customers", None),
        ("Sales % Customers", None),
        ("Ratio / 0", None),
        ("Ratio / 0.0", None),
        ("-Ratio % 0", None),
        ("mod(Sales, 0)", None),
        ("Customers / Customers", None),
        ("coalesce(Sales / Customers, -1)", -1.0),
        # what cannot be computed
        ("9223372036854775807 + Store", None),
        ("Sales * 9223372036854775807", None),
        ("coalesce(Sales * 9223372036854775807, 0)", 0),
        ("nullif(Sales, Sales * 9223372036854775807)", 7),
        ("greatest(Sales, Sales * 9223372036854775807)", 7),
        ("concat('a', Sales * 9223372036854775807)", "a"),
        ("Sales * 9223372036854775807 is null", True),
        ("Sales * 9223372036854775807 is distinct from 1", True),
        ("case when Sales * 9223372036854775807 > 0 then 1 else 2 end", 2),
        ("case Sales * 9223372036854775807 when 1 then 1 else Sales end", 7),
        ("case when Open then 3 else Sales * 9223372036854775807 end", 3),
        ("if(Open, 3, Sales * 9223372036854775807)", 3),
        ("Sales * 9223372036854775807 > 0 or Open", True),
        ("Sales * 9223372036854775807 > 0 and not Open", False),
        ("9 between Sales * 9223372036854775807 and Sales", False),
        ("Sales in (Sales * 9223372036854775807, 7)", True),
        ("coalesce(ln(Customers), -1)", -1.0),
        ("1 + coalesce(Note::integer + 1, 1)", 2),
        ("ln(Customers)", None),
        ("ln(-Ratio)", None),
        ("sqrt(-Sales)", None),
        ("Note::integer", None),
        ("coalesce(Note::integer, 0)", 0),
        ("case when Note::integer is null then 'text' end", "text"),
        ("strptime(Note, '%Y')", None),
        ("make_date(2015, 13, 1)", None),
        ("'3'::integer + Sales", 10),
        ("(Sales = 7)::integer", 1),
        # infinity and not-a-number are values of a double
        ("isnan('nan'::double)", True),
        ("Ratio < 'nan'::double", True),
        ("exp(1000 * Sales)", math.inf),
        # case and collation
        ("'a' = 'A'", False),
        ("'Z' < 'a'", True),
        ("'z' < 'ä'", True),
        ("Note like 'ä%'", False),
        ("Note ilike 'ä%'", True),
        ("lower(Note)", "ärger"),
        ("upper(Note)", "ÄRGER"),
        ("length(Note)", 5),
        ("'a ' = 'a'", False),
        # dates and times
        ("Date + 1", dt.date(2015, 8, 1)),
        ("Date - date '2015-07-01'", 30),
        ("date_diff('day', Date, date '2015-08-02')", 2),
        ("date_diff('month', date '2015-01-31', date '2015-02-01')", 1),
        ("last_day(Date) = Date", True),
        ("isodow(Date)", 5),
        ("weekofyear(date '2016-01-01')", 53),
        ("strftime(Date, '%b')", "Jul"),
        ("Date::timestamp", local(2015, 7, 31)),
        ("strptime('2015-W05-1', '%Y-W%W-%w')", local(2015, 2, 2)),
        ("date_trunc('month', Date)", local(2015, 7, 1)),
        ("day(Seen)", 31),
        ("hour(Seen)", 23),
        ("Date + interval 1 month", local(2015, 8, 31)),
        # names
        ("SALES + sales", 14),
        ('"select" + "SELECT"', 8),
        ("s_row_id", 0),
        # precedence is kept
        ("(1 + 2) * Sales", 21),
        ("1 + 2 * Sales", 15),
        ("not Open or Open", True),
        ("not (Open or Open)", False),
        ("(Open or Open) and not Open", False),
        ("-(Sales - 3) - 2", -6),
        ("2 ** 3 ** 2", 64.0),
        ("Sales - (3 - 1)", 5),
        ("12 / (Sales - 1) / 2", 1.0),
        ("12 / ((Sales - 1) / 2)", 4.0),
        ("Sales between 1 and 7 and Open", True),
        ("case when Open then 1 else 2 end + 1", 2),
        ("Sales -- the day's turnover", 7),
        ("/* both */ Sales + /* kinds */ 1", 8),
    ],
)
def test_value(expression: str, value: Any) -> None:
    found = value_of(expression, ROW)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expression", "declared", "kind"),
    [
        ("1", "", "BIGINT"),
        ("Sales", "", "BIGINT"),
        ("Sales / 2", "", "DOUBLE"),
        ("Sales * Price", "", "DECIMAL(29,2)"),
        ("Price", "", "DECIMAL(10,2)"),
        ("Price / 2", "", "DOUBLE"),
        ("1.5", "", "DECIMAL(2,1)"),
        ("Ratio::float", "", "DOUBLE"),
        ("Sales::smallint", "", "BIGINT"),
        ("Note", "", "VARCHAR"),
        ("Sales > 1", "", "BOOLEAN"),
        ("Date", "", "DATE"),
        ("date_trunc('month', Date)", "", "TIMESTAMP"),
        ("Seen", "", "TIMESTAMP WITH TIME ZONE"),
        ("Note::blob", "", "BLOB"),
        ("Sales > 1", "integer", "BIGINT"),
        ("Sales", "decimal(12,3)", "DECIMAL(12,3)"),
        ("Sales", "text", "VARCHAR"),
        ("date_trunc('month', Date)", "date", "DATE"),
        ("Seen", "timestamp", "TIMESTAMP"),
        ("Note", "timestamptz", "TIMESTAMP WITH TIME ZONE"),
        ("Note", "binary", "BLOB"),
        ("null", "date", "DATE"),
    ],
)
def test_type(expression: str, declared: str, kind: str) -> None:
    rules = compiled(rule(expression, type=declared))
    assert rules.types == {"r": kind}
    assert run(rules, rules.snapshot, [ROW])


def test_types_of_windows_are_stored_types() -> None:
    rules = compiled(current("sum(Sales) over ()", "total"), current("count(*) over ()", "rows"))
    assert rules.types == {"total": "BIGINT", "rows": "BIGINT"}


def test_types_are_what_the_engine_gives() -> None:
    """The compiled expression really has the type it says, for every column type and through other rules."""
    names = ["Store", "Date", "Sales", "Price", "Ratio", "Note", "Open", "At", "Seen"]
    rules = compiled(*(rule(f"coalesce({name}, {name})", f"r_{name}") for name in names), rule("r_Sales + 1", "next"))
    row = run(rules, rules.snapshot, [ROW])[0]
    assert all(row[f"r_{name}"] == ROW[name] for name in names)
    assert row["next"] == 8


def test_failed_declared_cast_is_flagged_and_null() -> None:
    rules = compiled(rule("Note", type="integer"))
    rows = run(rules, rules.snapshot, [{"Note": "12"}, {"Note": "x"}, {"Note": None}, {"Note": "99999999999999999999"}])
    assert [row["r"] for row in rows] == [12, None, None, None]
    assert [row[CAST_PREFIX + "r"] for row in rows] == [False, True, False, True]


def test_casts_that_always_fit_are_not_watched() -> None:
    rules = compiled(
        rule("Sales > 1", type="integer"), rule("Sales", "t", type="text"), rule("Price", "d", type="double")
    )
    assert all(item.failed_cast is None for item in rules.snapshot.rules.values())


def test_rules_compose_whatever_their_order() -> None:
    rules = compiled(rule("b * 2", "c"), rule("a + 1", "b"), rule("Sales", "a"), rule("a + c", "d"))
    row = run(rules, rules.snapshot, [{"Sales": 3}])[0]
    assert (row["a"], row["b"], row["c"], row["d"]) == (3, 4, 8, 11)
    assert [[item.name for item in level.rules] for level in rules.snapshot.levels] == [["a"], ["b"], ["c"], ["d"]]


def test_validations_pass_when_null_and_see_rules_and_look_ups() -> None:
    rules = compiled(
        rule("Sales / Customers", "basket"),
        validations=[
            {"name": "basket is sane", "expression": "basket < 100", "severity": "warn"},
            {"name": "store is known", "expression": "store.Id is not null", "severity": "quarantine"},
        ],
    )
    rows = [{"Store": 1, "Sales": 500, "Customers": 1}, {"Store": 2, "Sales": 5, "Customers": 0}, {"Store": None}]
    found = run(rules, rules.snapshot, rows, {"stores": [{"Id": 1}]})
    assert [row[FAILED_PREFIX + "basket is sane"] for row in found] == [True, False, False]
    assert [row[FAILED_PREFIX + "store is known"] for row in found] == [False, True, True]


def test_look_ups_chain_and_keep_the_grain() -> None:
    rules = compiled(
        rule("store.Assortment", "assortment"),
        rule("STORE.Region.COUNTRY", "country"),
        rule("store.IsBig", "big"),
        rule("coalesce(store.region.country, 'nowhere') || coalesce(assortment, '')", "both"),
    )
    stores = [{"Id": 1, "Assortment": "c", "Region": "N", "IsBig": True}, {"Id": 2, "Region": "X"}, {"Id": None}]
    rows = run(
        rules,
        rules.snapshot,
        [{"Store": 1}, {"Store": 1}, {"Store": 2}, {"Store": 3}, {"Store": None}],
        {"stores": stores, "regions": [{"code": "N", "country": "Norway"}, {"code": None, "country": "void"}]},
    )
    assert [row["assortment"] for row in rows] == ["c", "c", None, None, None]
    assert [row["country"] for row in rows] == ["Norway", "Norway", None, None, None]
    assert [row["big"] for row in rows] == [True, True, None, None, None]
    assert [row["both"] for row in rows] == ["Norwayc", "Norwayc", "nowhere", "nowhere", "nowhere"]


def test_a_look_up_keeps_its_name_apart_from_columns_of_any_name() -> None:
    """A contract may name a column like a path; look-ups have names of their own."""
    rules = compiled(rule("store.Assortment", "store.Assortment"), rule('"store.Assortment" || "Note"', "x"))
    row = run(rules, rules.snapshot, [{"Store": 1, "Note": "n"}], {"stores": [{"Id": 1, "Assortment": "a"}]})[0]
    assert (row["store.Assortment"], row["x"]) == ("a", "an")
