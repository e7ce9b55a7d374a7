"""docs/rules.md: each of its examples is compiled and computed, and gives what the page says."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from declared import source
from rule_cases import SALES, STORES, run, sales, table_of, value_of

from dataops_assets.errors import RuleError
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.functions import FUNCTIONS
from dataops_assets.sql import DIALECT, query

PROJECT = Path(__file__).resolve().parents[3]
PAGE = (PROJECT / "docs" / "rules.md").read_text(encoding="utf-8")
# what the page says of the row its single expressions see
ROW = {"Note": "x", "Sales": 2}


def tables() -> list[list[dict[str, str]]]:
    """The page's tables, as rows of text by heading."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", PAGE, re.MULTILINE):
        heading, _, *lines = [
            [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        found.append([dict(zip(heading, line, strict=True)) for line in lines])
    return found


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


EXAMPLE, RELATED, EXPRESSIONS = tables()
DECLARED, TO_MANY, AS_OF = [yaml.safe_load(block) for block in blocks("yaml")]


def read(text: str) -> Any:
    """A value as the page writes it."""
    text = text.strip("`")
    if text == "null":
        return None
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return dt.date.fromisoformat(text)
    return {"false": False, "true": True}.get(text, yaml.safe_load(text))


@pytest.mark.parametrize("row", EXPRESSIONS, ids=lambda row: row["expression"])
def test_an_expression_gives_what_the_page_says(row: dict[str, str]) -> None:
    found = value_of(row["expression"].strip("`"), ROW)
    expected = read(row["gives"])
    assert (type(found), found) == (type(expected), expected)


def test_the_declared_example_gives_what_the_page_says() -> None:
    declared = source("sales", SALES, **DECLARED)
    rules = compile_rules(declared, {"sales": declared, "stores": STORES})
    names = {rule["name"] for rule in DECLARED["rules"]}
    given = [{key: read(row[key]) for key in SALES if key in row} for row in EXAMPLE]
    hubs = {"stores": [{"Id": 1, "Assortment": "a"}]}
    frozen = run(rules, rules.snapshot, given, hubs)
    kept = [{key: row.get(key) for key in rules.hub_columns} for row in frozen]
    current = run(rules, rules.current, kept, hubs)
    computed = set(EXAMPLE[0]) - set(SALES) - {"failed"}
    assert computed == names
    assert [{key: row[key] for key in names} for row in current] == [
        {key: read(row[key]) for key in names} for row in EXAMPLE
    ]
    (validation,) = rules.snapshot.validations
    with duckdb.connect() as connection:
        rows = table_of(connection, "given", SALES, given)
        failed = query("SELECT $failed AS failed FROM $rows AS r", failed=validation.failed, rows=rows)
        told = [validation.name if row[0] else "" for row in connection.execute(failed.sql(DIALECT)).fetchall()]
    assert told == [row["failed"] for row in EXAMPLE]


def test_the_to_many_example_gives_what_the_page_says() -> None:
    declared = source("sales", SALES, **TO_MANY)
    visits = source("visits", {"Store": "integer", "Day": "date", "Guests": "integer"})
    rules = compile_rules(declared, {"sales": declared, "visits": visits})
    given = [{key: read(row[key]) for key in ("Store", "Date")} for row in RELATED]
    told = re.findall(r"on (\d{4}-\d\d-\d\d) by (\d)", PAGE)
    assert len(told) == 2
    visited = [{"Store": 1, "Day": day, "Guests": int(guests)} for day, guests in told]
    found = run(rules, rules.current, given, {"visits": visited})
    names = [rule["name"] for rule in TO_MANY["rules"]]
    assert [[row[name] for name in names] for row in found] == [[read(row[name]) for name in names] for row in RELATED]


def test_the_example_in_time_looks_up_versions() -> None:
    stores = source(
        "stores", {"id": "integer", "city": "text"}, refresh={"type": "full", "key": ["id"], "history": True}
    )
    sales = source("sales", {"store": "integer", "sold_at": "timestamptz"}, **AS_OF)
    (lookup,) = compile_rules(sales, {"sales": sales, "stores": stores}).current.lookups
    assert (lookup.as_of, lookup.own) == ("sold_at", ("store", "sold_at"))


def test_the_error_is_told_as_the_page_shows_it() -> None:
    (shown,) = blocks("text")
    columns = {name: SALES[name] for name in ("Store", "Date", "Sales", "Customers", "Note")}
    wrong = source("sales", columns, rules=[{"name": "r", "expression": "slaes / 2"}])
    with pytest.raises(RuleError) as caught:
        compile_rules(wrong, {"sales": wrong})
    assert str(caught.value).rstrip() == shown.rstrip()


@pytest.mark.parametrize(
    "rules",
    [
        [{"name": "a", "expression": "b"}, {"name": "b", "expression": "a"}],
        [{"name": "a", "expression": "sum(Sales)"}],
        [{"name": "a", "expression": "sum(Sales) over ()"}],
        [{"name": "a", "expression": "(select 1)"}],
        [{"name": "a", "expression": "now()"}],
        [{"name": "a", "expression": "store.region.country.continent.planet"}],
        [{"name": "a", "expression": "max(store.Assortment)"}],
    ],
)
def test_what_the_page_says_is_refused_is_refused(rules: list[dict[str, str]]) -> None:
    declared = sales(*rules)
    with pytest.raises(RuleError):
        compile_rules(declared, {"sales": declared, "stores": STORES})


def test_every_function_that_the_page_names_may_be_called() -> None:
    named = set(re.findall(r"`(?:[^`]*[^\w`])?([a-z_]+)\([^`]*`", PAGE)) | {"mod", "lag", "concat"}
    assert named <= set(FUNCTIONS) | {"over"}
    assert (PROJECT / "dataops_assets" / "rules" / "functions.py").exists()
