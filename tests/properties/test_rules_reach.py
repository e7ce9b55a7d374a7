"""How far a change is seen: exactly the rows in reach of a changed row are computed again, from exactly what they see.

The reference knows the frames as numbers and the rows as Python values; tables, queries and commits have no part in it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.rules.stage import Lookup
from dataops_assets.sql import DIALECT, alias, column, query
from dataops_assets.steps.recalculating.window_reach import moved_rows, rows_in_reach, with_reach

FIRST = dt.date(2024, 1, 1)
KINDS = {"Store": "integer", "Date": "date", "Sales": "integer", "Tag": "text"}
# what a row sees, in days from its own, both ends included
FRAMES = {
    "interval 3 day preceding and interval 1 day preceding": (-3, -1),
    "interval 2 day preceding and interval 2 day preceding": (-2, -2),
    "interval 1 day following and interval 2 day following": (1, 2),
    "interval 2 day preceding and interval 1 day following": (-2, 1),
    "current row and interval 3 day following": (0, 3),
    "interval 1 week preceding and current row": (-7, 0),
    "current row and current row": (0, 0),
}
PARTITIONS = {"": (), "partition by Store ": ("Store",), "partition by Store, Tag ": ("Store", "Tag")}
Rows = Mapping[int, Mapping[str, Any]]

ROW = st.fixed_dictionaries(
    {
        "Store": st.sampled_from([1, 1, 1, 2, None]),
        "Date": st.one_of(st.none(), *[st.integers(0, 24).map(lambda day: FIRST + dt.timedelta(days=day))] * 5),
        "Sales": st.one_of(st.none(), st.integers(0, 99), st.integers(0, 99)),
        "Tag": st.sampled_from(["x", "x", "y", None]),
    }
)


@st.composite
def changes(draw: Any) -> tuple[Rows, Rows]:
    """A hub before and after a few of its rows came, went, moved or changed their value; most rows stay."""
    before = draw(st.dictionaries(st.integers(0, 39), ROW, min_size=5, max_size=25))
    after = dict(before)
    for _ in range(draw(st.integers(1, 2))):
        act = draw(st.sampled_from(["come", "go", "move", "day", "value"]))
        place = draw(st.integers(40, 49)) if act == "come" or not after else draw(st.sampled_from(sorted(after)))
        row = draw(ROW)
        if act == "go":
            after.pop(place, None)
        elif act in ("come", "move") or place not in after:
            after[place] = row
        else:
            name = {"day": "Date", "value": "Sales"}[act]
            after[place] = {**after[place], name: row[name]}
    return before, after


def declared(partition: str, frames: Sequence[str]) -> Source:
    over = f"over ({partition}order by Date range between"
    return Source.model_validate(
        {
            "name": "sales",
            "area": "tests",
            "connection": {"type": "files", "path": "x"},
            "columns": [{"name": name, "type": kind} for name, kind in KINDS.items()],
            "refresh": {"type": "append"},
            "rules": [
                {"name": f"r{place}", "expression": f"sum(Sales) {over} {frame})", "mode": "keep_current"}
                for place, frame in enumerate(frames)
            ],
        }
    )


@pytest.fixture(scope="module")
def session() -> Iterator[DuckDBSession]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield DuckDBSession(connection)


def no_look_up(lookup: Lookup) -> exp.Query:
    raise AssertionError(lookup.name)


def hub(session: DuckDBSession, rules: CompiledRules, rows: Rows) -> exp.Query:
    """Rows by their place as a typed table."""
    kinds = rules.hub_columns
    full = [{**row, "s_key": str(place), "s_input_id": "i", "s_row_id": place} for place, row in rows.items()]
    given = session.register(pa.table({item: pa.array([row.get(item) for row in full]) for item in kinds}))
    typed = [alias(exp.cast(column(item), kind, dialect=DIALECT), item) for item, kind in kinds.items()]
    made = session.create(query("SELECT $typed FROM $given AS g", typed=typed, given=given))
    found: exp.Query = query("SELECT h.* FROM $made AS h", made=made)
    return found


def by_place(session: DuckDBSession, rows: exp.Query) -> dict[int, dict[str, Any]]:
    return {row["s_row_id"]: row for row in session.fetch(rows).to_pylist()}


def in_reach(before: Rows, after: Rows, parts: Sequence[str], below: int, above: int) -> set[int]:
    """Places of `after` that are at most `below` under the first or `above` over the last changed day of a partition.

    A row without a day is in reach of every change in its partition, and so are all rows of changes without a day.
    """
    states = [
        rows[place]
        for place in {*before, *after}
        if before.get(place) != after.get(place)
        for rows in (before, after)
        if place in rows
    ]
    found = set()
    for place, row in after.items():
        near = [state for state in states if all(state[part] == row[part] for part in parts)]
        days = [state["Date"] for state in near if state["Date"] is not None]
        day = row["Date"]
        within = (
            not days
            or day is None
            or (min(days) - dt.timedelta(days=below) <= day <= max(days) + dt.timedelta(days=above))
        )
        if near and within:
            found.add(place)
    return found


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(PARTITIONS)),
    st.lists(st.sampled_from(sorted(FRAMES)), min_size=1, max_size=3, unique=True),
    changes(),
)
def test_what_sees_a_change_is_computed_again_and_no_more(
    session: DuckDBSession, partition: str, frames: list[str], change: tuple[Rows, Rows]
) -> None:
    before, after = change
    assume(before != after)
    source = declared(partition, frames)
    rules = compile_rules(source, {})
    stage, names = rules.current, [rule.name for rule in source.rules]
    reach = stage.reach
    assert reach is not None
    back = max(0, *(-FRAMES[frame][0] for frame in frames))
    forward = max(0, *(FRAMES[frame][1] for frame in frames))
    assert (reach.back, reach.forward) == (back, forward)

    earlier = evaluate(stage, hub(session, rules, before), no_look_up)
    with_places = query("SELECT r.*, 'f' AS s_file, s_row_id AS s_position FROM $rows AS r", rows=earlier)
    old = query("SELECT o.* FROM $old AS o", old=session.create(with_places))
    rows = hub(session, rules, after)
    differs = exp.or_(*[query("$n IS DISTINCT FROM $o", n=column(name, "n"), o=column(name, "o")) for name in KINDS])
    moved = moved_rows(session, reach, evaluate(stage.only(stage.row_rules), rows, no_look_up), old, differs)
    near = with_reach(rows, rows_in_reach(session, stage, reach, rows, no_look_up, moved))

    seen = {place for place, row in by_place(session, near).items() if row["s_is_seen"]}
    parts = PARTITIONS[partition]
    assert seen == in_reach(before, after, parts, forward, back)
    assert set(by_place(session, near)) == in_reach(before, after, parts, back + forward, back + forward)
    computed = by_place(session, evaluate(stage, near, no_look_up))
    anew = by_place(session, evaluate(stage, rows, no_look_up))
    published = by_place(session, old)
    for place, row in anew.items():
        told = computed[place] if place in seen else published[place]
        assert [told[name] for name in names] == [row[name] for name in names]
    gone = query("SELECT m.s_old_key AS s_row_id FROM $moved AS m WHERE m.s_input_id IS NULL", moved=moved)
    assert set(by_place(session, gone)) == {str(place) for place in set(before) - set(after)}
