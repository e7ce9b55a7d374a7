"""Each kind of unhealthy data finds the columns that have it, and no clean ones."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest
from drafting import Drafting
from labelled_columns import TODAY, clean, labelled

from dataops_assets.declaring.column_facts import facts_of
from dataops_assets.declaring.health import categories, numbers, personal, tables, texts, times
from dataops_assets.declaring.health.examination import COLUMN_KINDS
from dataops_assets.declaring.health.finding import ColumnView, Finding

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "unhealthy_kinds.py"
PAGE = Path(__file__).parents[3] / "docs" / "declare-from-data.md"


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("unhealthy_kinds", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [0, 2])
def test_each_label_is_found_and_nothing_else(seed: int) -> None:
    kinds_of = benchmark().kinds_of
    draw = random.Random(seed)
    for item in (*clean(draw), *labelled(draw)):
        found = kinds_of(item)
        assert item.labels <= found, item.name
        assert found <= item.labels | item.may, (item.name, list(item.values)[:9])


def test_every_kind_is_labelled_or_seen_in_files() -> None:
    labels = {label for item in labelled(random.Random(0)) for label in item.labels}
    assert len(labels) >= 45
    assert len(COLUMN_KINDS) == len({*COLUMN_KINDS}) >= 45
    # a kind looks at one column, and says what it found
    assert {get_type_hints(kind)["return"] for kind in COLUMN_KINDS} == {Finding | None}
    documented = PAGE.read_text(encoding="utf-8")
    assert not [label for label in (*labels, *OF_TABLES, "numbers_as_text") if f"`{label}`" not in documented]


def test_findings_say_how_many_rows_and_show_no_personal_value() -> None:
    facts = facts_of("contact", ["a.b@example.com", "c@example.org", "d@example.net"] * 5)
    column = benchmark().Column(name="contact")
    found = personal.emails(ColumnView(facts, column, TODAY))
    assert found is not None
    assert (found.rows, found.examples) == (15, ())
    cities = facts_of("city", ["Oslo", "oslo"] * 15)
    variants = categories.case_variants(ColumnView(cities, benchmark().Column(name="city"), TODAY))
    assert variants is not None
    assert (variants.rows, variants.examples) == (30, ("Oslo", "oslo"))


def test_modules_list_every_kind_that_they_have() -> None:
    for module in (texts, categories, numbers, times, personal):
        hints = {
            name: get_type_hints(value)
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
        }
        kinds = {name for name, types in hints.items() if list(types) == ["view", "return"]}
        assert kinds == {kind.__name__ for kind in module.KINDS}


# --- kinds of whole files --------------------------------------------------------------------------------------------

OF_TABLES = {
    "malformed_records": {"o.csv": "id,v\n" + "".join(f"{n},x\n" for n in range(30)) + "31,x,y\n"},
    "unusual_name": {"o.csv": 'id,"to\ttal"\n1,2\n3,4\n5,6\n'},
    "names_alike": {"o.csv": "id,Total,total\n1,2,5\n3,4,7\n"},
    "columns_missing": {"a.csv": "id,v\n1,2\n3,4\n", "b.csv": "id\n5\n6\n"},
    "headers_among_rows": {"o.csv": "id,v\n" + "1,a\n2,b\n3,c\n" * 9 + "id,v\n" + "7,d\n8,e\n" * 9},
    "repeated_rows": {"o.csv": "color,v\nred,1\nred,1\nblue,1\n"},
    "copied_column": {"o.csv": "id,v,w\n" + "".join(f"{n},{n % 7},{n % 7}\n" for n in range(30))},
}


@pytest.mark.parametrize("kind", OF_TABLES)
def test_kinds_of_files(drafted: Drafting, kind: str) -> None:
    assert kind in {item.kind for item in drafted(OF_TABLES[kind]).findings}


def test_clean_files_have_no_findings(drafted: Drafting) -> None:
    rows = "".join(f"{n},{n % 7},city {n % 3},2024-01-{n % 28 + 1:02}\n" for n in range(60))
    assert drafted({"o.csv": f"id,v,city,day\n{rows}"}).findings == ()


def test_the_kinds_of_files_are_all_here() -> None:
    public = [name for name, value in vars(tables).items() if getattr(value, "__module__", "") == tables.__name__]
    assert len([name for name in public if not name.startswith("_")]) == len(OF_TABLES) + 1
