"""A target is a function of the hub: incremental deliveries at any moments give what a full delivery gives."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law import arrive, at, leave, workspace_for
from law_cases import COLUMNS as COLUMNS_OF_HUB
from law_cases import KINDS, Delivery, deliveries, source_for
from reference import GivenInput

from dataops_assets.config.databases import AnyConnection, DuckDBDatabase, SqliteDatabase
from dataops_assets.config.environment import environment_from
from dataops_assets.config.outputs import Output
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.outputs.context import OutputContext
from dataops_assets.outputs.deliver import deliver
from dataops_assets.report import StepReport
from dataops_assets.steps.source_context import SourceContext

# of 12 families each, in up to five deliveries
EXAMPLES = 2
COLUMNS = [{"name": "k"}, {"name": "part"}, {"name": "what", "of": "v"}, {"name": "twice", "expression": "at * 2"}]

Key = tuple[str, ...]
Rows = dict[Key, tuple[Any, ...]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


def output(table: str, kind: str, **changes: Any) -> Output:
    declared = {
        "name": table,
        "area": "tests",
        "from": "hub/things",
        "columns": COLUMNS,
        # null for a row without `at`, which is then not delivered
        "keep_when": "at <> 3",
        "mode": "incremental",
        "to": {"type": "table", "database": kind, "table": table},
        "checks": {"volume": {"enabled": False}},
    }
    return Output.model_validate(declared | changes)


def delivered(context: SourceContext, home: Path, declared: Output) -> StepReport:
    databases: Mapping[str, AnyConnection] = {
        "sqlite": SqliteDatabase(type="sqlite", path=str(home / "target.sqlite")),
        "duckdb": DuckDBDatabase(type="duckdb", path=str(home / "target.duckdb")),
    }
    assert isinstance(context.engine, DuckDBEngine)
    report = deliver(
        OutputContext(context.environment, declared, context.sources, databases, context.engine, context.metadata)
    )
    assert not report.failures, report.outcomes
    return report


def in_table(home: Path, kind: str, table: str) -> list[tuple[Any, ...]]:
    path = home / f"target.{kind}"
    text = f'SELECT * FROM "{table}"'  # noqa: S608  the test names the table
    if kind == "duckdb":
        with duckdb.connect(str(path)) as connection:
            return connection.execute(text).fetchall()
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(text).fetchall()


def meant(kind: str, inputs: Iterable[GivenInput]) -> Rows:
    """The rows that a target should have, from the plain reference of the hub."""
    rows = [item.row for item in KINDS[kind].meaning(list(inputs)) if item.is_current]
    kept = [row for row in rows if row["at"] != 3]
    return {(row["k"], row["part"]): (row["k"], row["part"], row["v"], row["at"] * 2) for row in kept}


@pytest.mark.parametrize("deletes", ["hard", "soft", "ignore"])
@pytest.mark.parametrize("kind", ["key_deletes", "full"])
@settings(max_examples=EXAMPLES)
@given(
    delivery=deliveries(families=12),
    history=st.booleans(),
    target=st.sampled_from(["sqlite", "duckdb"]),
    moments=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_incremental_deliveries_give_what_a_full_delivery_gives(
    kind: str, delivery: Delivery, history: bool, deletes: str, target: str, moments: list[bool], engine: DuckDBEngine
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        source = source_for({**KINDS[kind].refresh, "history": history})
        context = workspace_for(source, home, engine)
        known: dict[str, GivenInput] = {}
        there: Rows = {}
        gone: Rows = {}

        def check() -> None:
            nonlocal there, gone
            delivered(context, home, output("kept", target, deletes=deletes))
            wanted = meant(kind, known.values())
            gone = {key: row for key, row in (gone | there).items() if key not in wanted}
            there = wanted
            found = sorted(in_table(home, target, "kept"), key=repr)
            live, left = list(there.values()), list(gone.values())
            flagged = [*((*row, False) for row in live), *((*row, True) for row in left)]
            should = {"hard": live, "soft": flagged, "ignore": live + left}[deletes]
            assert found == sorted(should, key=repr)

        for group, is_moment in zip(delivery.groups, moments, strict=False):
            arrive(context, group)
            known |= {item.input_id: item for item in group}
            if is_moment:
                check()
        check()
        if delivery.removed:
            leave(context, delivery.removed)
            known = {name: item for name, item in known.items() if name not in delivery.removed}
            check()
        delivered(context, home, output("whole", target, mode="full"))
        assert sorted(in_table(home, target, "whole"), key=repr) == sorted(there.values(), key=repr)


def test_only_keys_that_changed_are_written(engine: DuckDBEngine, tmp_path: Path) -> None:
    context = workspace_for(source_for(KINDS["key"].refresh), tmp_path, engine)
    row = dict.fromkeys(COLUMNS_OF_HUB) | {"part": ""}
    arrive(context, [GivenInput(at(1), "1", tuple({**row, "k": str(n), "at": 1} for n in range(1000)))])
    assert delivered(context, tmp_path, output("kept", "sqlite")).inputs[0].counts["inserted"] == 1000
    arrive(context, [GivenInput(at(2), "2", tuple({**row, "k": str(n), "at": n} for n in (1, 5, 7, 2000)))])
    report = delivered(context, tmp_path, output("kept", "sqlite"))
    # key 1 has the value that it had
    assert report.inputs[0].counts == {"rows": 1001, "inserted": 1, "updated": 2, "deleted": 0}
    assert report.outcomes[0].numbers["rows compared"] in (3, 4)
    again = delivered(context, tmp_path, output("kept", "sqlite"))
    assert again.notes["skipped"]
    assert len(in_table(tmp_path, "sqlite", "kept")) == 1001
