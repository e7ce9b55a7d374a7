"""The law of the hub for the queries that decide it, on tables in memory: thousands of scenarios a type.

A longer run: `make law SCENARIOS=100000`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from law import ARROW, as_input
from law_cases import (
    HISTORIC,
    KINDS,
    MERGED,
    Delivery,
    Kind,
    actual_rows,
    deliveries,
    expected_rows,
    one_after_another,
    source_for,
    without_some_times,
)
from reference import GivenInput
from sqlglot import exp

from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.engines.base import FILE, POSITION
from dataops_assets.engines.duckdb import DuckDBEngine, DuckDBSession
from dataops_assets.sql import Relation, column, columns, query
from dataops_assets.steps.merging import merge, merged_values
from dataops_assets.steps.merging.change import Change, keeps_deletions, manifest_after, system_columns
from dataops_assets.steps.merging.hub_diff import HubDiff, deletions
from dataops_assets.steps.merging.input_statistics import Extents, extents_of
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.storage.delta import DataFile, TableVersion

FAMILIES = 100
# a refresh type, half of them with history
SCENARIOS = int(os.environ.get("DATAOPS_LAW_SCENARIOS", "1000"))


class MemorySession(DuckDBSession):
    """A session in which every table's version is the temporary table `hub`."""

    hub: Relation

    def scan(self, _snapshot: TableVersion, **_: Any) -> exp.Subquery:
        return exp.Subquery(this=query("SELECT * FROM $hub", hub=self.hub))


class MemoryHub:
    """The hub of one source as a temporary table, changed by the difference that `merge` finds."""

    def __init__(self, session: MemorySession, source: Source) -> None:
        self._session = session
        self._source = source
        self._manifest = HubManifest()
        self._written: dict[str, int] = {}
        self._base: TableVersion | None = None
        self._lake = session.register(self._parsed([]))

    def _parsed(self, given_inputs: Sequence[GivenInput]) -> pa.Table:
        rows = [
            {**row, "s_input_id": item.input_id, "s_row_id": position}
            for item in given_inputs
            for position, row in enumerate(item.rows)
        ]
        kinds = {item.name: ARROW[item.type] for item in self._source.columns}
        kinds |= {"s_input_id": pa.string(), "s_row_id": pa.int64()}
        return pa.Table.from_pylist(rows, pa.schema(list(kinds.items())))

    def arrive(self, given_inputs: Sequence[GivenInput]) -> None:
        """Add a group of inputs, as one run does."""
        landed = self._session.register(self._parsed(given_inputs))
        ids = [item.input_id for item in given_inputs]
        others = query("SELECT * FROM $lake AS r WHERE NOT r.s_input_id IN ($ids)", lake=self._lake, ids=ids)
        arrived = query("SELECT * FROM $landed", landed=landed)
        self._lake = self._session.create(exp.union(others, arrived, distinct=False))
        self._written |= {item.input_id: hash(repr(item)) for item in given_inputs}
        inputs = tuple(as_input(item) for item in given_inputs)
        self._change(Change(self._source, self._manifest, inputs, written=self._written, extents=self._spans(ids)))

    def leave(self, ids: Sequence[str]) -> None:
        """Take inputs out."""
        known = tuple(input_id for input_id in ids if input_id in self._manifest.inputs)
        spans = self._spans(known)
        self._change(Change(self._source, self._manifest, (), known, written=self._written, extents=spans))

    def _spans(self, ids: Sequence[str]) -> Extents:
        return extents_of(self._session, self._source, self._rows_of_lake(), ids)

    def _rows_of_lake(self) -> exp.Subquery:
        return exp.Subquery(this=query("SELECT * FROM $lake", lake=self._lake))

    def _change(self, change: Change) -> None:
        session = self._session
        seen = merge.observe(session, change, self._base, self._rows_of_lake(), self._rows_of_lake())
        timeline = merge.order(session, seen, excluded=merge.nothing_excluded(session))
        self._apply(merge.compare(session, timeline))
        self._manifest = manifest_after(change)

    def _apply(self, diff: HubDiff) -> None:
        """Remove, amend and insert rows, as the difference says."""
        own, system = columns(self._source.column_names, "r"), system_columns(self._source)
        after: exp.Expr = query(
            """
            SELECT $merged, $system FROM $fresh AS f
            JOIN $lake AS r ON r.s_input_id = f.s_input_id AND r.s_row_id = f.s_row_id
            """,
            merged=[merged_values.value_of(self._source, name, "f", "r") for name in self._source.column_names],
            system=columns(system, "f"),
            fresh=diff.insert,
            lake=self._lake,
        )
        if keeps_deletions(self._source):
            after = after.where(exp.not_(column("s_is_deleted", "f")))
            gone = query(
                "SELECT $names FROM $gone AS g",
                names=columns((*self._source.column_names, *system), "g"),
                gone=deletions(self._source, diff),
            )
            after = exp.union(after, gone, distinct=False)
        if self._base is not None:
            kept = query(
                """
                SELECT $own, $system FROM $hub AS r
                ANTI JOIN $removed AS g ON g.s_file = r.s_file AND g.s_position = r.s_position
                """,
                own=own,
                system=columns(system, "r"),
                hub=self._session.hub,
                removed=diff.remove,
            )
            amended = query(
                """
                SELECT $merged, $system FROM $hub AS r
                JOIN $amended AS a ON a.s_file = r.s_file AND a.s_position = r.s_position
                """,
                merged=[merged_values.value_of(self._source, name, "a", "r") for name in self._source.column_names],
                system=columns(system, "a"),
                hub=self._session.hub,
                amended=diff.amend,
            )
            after = exp.union(exp.union(after, kept, distinct=False), amended, distinct=False)
        before = self._base.rows if self._base is not None else 0
        self._session.hub = self._session.create(
            query(
                "SELECT a.*, 'hub' AS $file, row_number() OVER () AS $position FROM $after AS a",
                file=exp.to_identifier(FILE),
                position=exp.to_identifier(POSITION),
                after=after,
            )
        )
        counted = query("SELECT count(*) AS n FROM $hub AS h", hub=self._session.hub)
        rows = self._session.fetch(counted).column("n")[0].as_py()
        # an amended row is removed and written again
        assert rows == before - diff.counts["removed"] + diff.counts["amended"] + diff.counts["inserted"]
        self._base = TableVersion("memory", 0, {}, (DataFile("hub", 0, rows, {}),), {}, {})

    def rows(self) -> list[Mapping[str, Any]]:
        """All rows."""
        if self._base is None:
            return []
        return self._session.fetch(query("SELECT * FROM $hub", hub=self._session.hub)).to_pylist()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    return DuckDBEngine(environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home))


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@settings(max_examples=SCENARIOS // FAMILIES // 2, deadline=None)
@given(delivery=deliveries(families=FAMILIES))
def test_versions_are_a_function_of_the_set_of_inputs(
    kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine
) -> None:
    assert_law(kind, history, delivery, engine)


@pytest.mark.parametrize("history", [False, True], ids=["latest", "history"])
@pytest.mark.parametrize("kind", MERGED.values(), ids=MERGED.keys())
@settings(max_examples=SCENARIOS // FAMILIES // 5, deadline=None)
@given(delivery=deliveries(families=FAMILIES))
def test_merged_values_are_a_function_of_the_set_of_inputs(
    kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine
) -> None:
    assert_law(kind, history, delivery, engine)


@pytest.mark.parametrize("kind", HISTORIC.values(), ids=HISTORIC.keys())
@settings(max_examples=SCENARIOS // FAMILIES // 5, deadline=None)
@given(delivery=deliveries(families=FAMILIES))
@example(delivery=one_after_another(FAMILIES))
def test_versions_begin_where_their_rows_say(kind: Kind, delivery: Delivery, engine: DuckDBEngine) -> None:
    assert_law(kind, True, without_some_times(delivery), engine)


def assert_law(kind: Kind, history: bool, delivery: Delivery, engine: DuckDBEngine) -> None:
    """After all inputs arrived, and after some left, the hub has the rows that the reference model gives."""
    with engine.session() as session:
        hub = MemoryHub(MemorySession(session.connection), source_for({**kind.refresh, "history": history}))
        order_by = kind.refresh.get("order_by")
        applied: dict[str, GivenInput] = {}
        for group in delivery.groups:
            hub.arrive(group)
            applied |= {item.input_id: item for item in group}
        expected = kind.meaning(list(applied.values()))
        assert actual_rows(hub.rows(), history) == expected_rows(expected, order_by, history)
        if delivery.removed:
            hub.leave(delivery.removed)
            expected = kind.meaning([item for item in applied.values() if item.input_id not in delivery.removed])
            assert actual_rows(hub.rows(), history) == expected_rows(expected, order_by, history)
