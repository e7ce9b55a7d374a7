"""The law of a draft: the drafted declaration parses what was written exactly, and rejects no row."""

from __future__ import annotations

import csv
import datetime as dt
import io
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_files import parsed

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.declaring.declaration_text import declaration_text
from dataops_assets.declaring.draft import Draft, Request, draft
from dataops_assets.engines.duckdb import DuckDBEngine

NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
# letters that both UTF-8 and Windows-1252 have
LETTERS = st.sampled_from("abcxyzABCÄéß")
TEXT = st.one_of(
    st.text(LETTERS, min_size=1, max_size=8),
    st.builds("{} {}".format, st.text(LETTERS, min_size=1), st.text(LETTERS, min_size=1)),
    st.sampled_from(["x,y", "x;y", 'say "a"', "007", "a|b", "it's", "N/A", "1 b"]),
)
TIMES = st.builds(dt.datetime.combine, st.dates(dt.date(1970, 1, 2), dt.date(2100, 1, 1)), st.times())
DAYS = st.dates(dt.date(1950, 1, 1), dt.date(2049, 12, 31))
FORMS = ("%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d", "%d %b %Y")


@st.composite
def number_texts(draw: Any) -> tuple[str, list[str], list[Any]]:
    """Texts of one kind of number, with a decimal point, and their values."""
    kind = draw(st.sampled_from(["integer", "decimal", "double", "code"]))
    if kind == "integer":
        numbers = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=12))
        return kind, [str(number) for number in numbers], list(numbers)
    if kind == "code":
        texts = draw(st.lists(st.from_regex(r"0[0-9]{4}", fullmatch=True), min_size=3, max_size=12))
        return "text", texts, texts
    if kind == "double":
        doubles = draw(st.lists(st.floats(1e-5, 1e5).filter(lambda x: len(f"{x:.9f}") > 9), min_size=3, max_size=12))
        texts = [f"{number:.9f}" for number in doubles]
        return kind, texts, [float(text) for text in texts]
    scale = draw(st.integers(1, 4))
    places = Decimal(1).scaleb(-scale)
    decimals = draw(st.lists(st.decimals(-9999, 9999, places=scale, allow_nan=False), min_size=3, max_size=12))
    return kind, [format(number.quantize(places), "f") for number in decimals], decimals


@st.composite
def columns(draw: Any) -> tuple[str, list[str], list[Any]]:
    """A kind, texts, and the values that they have in the lake."""
    kind = draw(st.sampled_from(["number", "number", "date", "time", "text"]))
    if kind == "number":
        found: tuple[str, list[str], list[Any]] = draw(number_texts())
        return found
    if kind == "date":
        form = draw(st.sampled_from(FORMS))
        days = draw(st.lists(DAYS, min_size=3, max_size=12))
        return "date", [day.strftime(form) for day in days], list(days)
    if kind == "time":
        times = [time.replace(microsecond=0) for time in draw(st.lists(TIMES, min_size=3, max_size=12))]
        return "timestamp", [time.isoformat(sep=" ") for time in times], times
    texts = draw(st.lists(TEXT, min_size=3, max_size=12))
    return "text", texts, texts


@st.composite
def tables(draw: Any) -> dict[str, Any]:
    """A table whose first column is of numbers, so that header and rows can be told apart; and how it is written."""
    made = [draw(number_texts()), *draw(st.lists(columns(), min_size=1, max_size=4))]
    length = min(len(texts) for _, texts, _ in made)
    nulls = draw(st.lists(st.tuples(st.integers(0, length - 1), st.integers(1, len(made) - 1)), max_size=2))
    return {
        "columns": [(kind, texts[:length], values[:length]) for kind, texts, values in made],
        # of a column without values no type is known
        "nulls": set(nulls) if length > 4 else set(),
        "delimiter": draw(st.sampled_from([",", ";", "\t", "|"])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "ending": draw(st.sampled_from(["\n", "\r\n"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"])),
        "header": draw(st.booleans()),
    }


def written(table: dict[str, Any]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=table["delimiter"], quoting=table["quoting"], lineterminator=table["ending"])
    if table["header"]:
        writer.writerow([f"name {place}" for place in range(len(table["columns"]))])
    for row in range(len(table["columns"][0][1])):
        writer.writerow(
            [
                "" if (row, place) in table["nulls"] else texts[row]
                for place, (_, texts, _) in enumerate(table["columns"])
            ]
        )
    return out.getvalue().encode(table["encoding"])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("home")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def drafted(engine: DuckDBEngine, path: Path) -> Draft:
    return draft(engine, Request("orders", "shop", (path,), "nowhere", NOW))


@settings(max_examples=20, deadline=None)
@given(table=tables())
def test_what_was_written_is_parsed_exactly(engine: DuckDBEngine, table: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.csv"
        path.write_bytes(written(table))
        made = drafted(engine, path)
        source = Source.model_validate(yaml.safe_load(declaration_text(made))["attributes"])
        rows, rejected = parsed(engine, path, source)
    assert rejected == 0
    assert len(rows) == len(table["columns"][0][1])
    for place, (kind, texts, values) in enumerate(table["columns"]):
        declared = source.columns[place]
        found = [row[declared.name] for row in rows]
        # a text may hold only numbers by chance, and numbers may hold texts that another column means as null
        expected = texts if declared.type == "text" else values
        if declared.type == kind.split("(")[0] or declared.type.startswith(kind):
            expected = values
        elif declared.type != "text":
            expected = [type(found[row])(text) if found[row] is not None else None for row, text in enumerate(texts)]
        wanted = [None if (row, place) in table["nulls"] else value for row, value in enumerate(expected)]
        assert found == [value if value != "" else None for value in wanted], declared
