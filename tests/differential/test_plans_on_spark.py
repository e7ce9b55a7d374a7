"""What Spark does to change a hub: it joins by key, leaves out files by their statistics, and writes what changed."""

from __future__ import annotations

from pathlib import Path

import law
import pyarrow as pa
import pytest
from declared import arrived
from declared import source as declared_source
from sqlglot import exp

from dataops_assets.engines.spark import SparkEngine, SparkSqlSession
from dataops_assets.sql import Relation, query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.publish import replace_inputs

ROWS = 2000
FEW = 20


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The physical plans of all queries from here on."""
    found: list[str] = []
    framed = SparkSqlSession._frame

    def recorded(session: SparkSqlSession, query):
        frame = framed(session, query)
        found.append(frame._jdf.queryExecution().executedPlan().toString())
        return frame

    monkeypatch.setattr(SparkSqlSession, "_frame", recorded)
    return found


def workspace_of(kind: str, home: Path, spark: SparkEngine) -> SourceContext:
    source = declared_source("things", {"id": "integer", "v": "text"}, refresh={"type": kind, "key": ["id"]})
    context = law.workspace_for(source, home, spark)
    context.metadata.migrate()
    context.metadata.contracts.register(source)
    return context


def take(context: SourceContext, day: int, rows: dict[int, str]) -> None:
    item = arrived(law.at(day), f"day-{day}", f"{day:064}", "generated", len(rows))
    context.metadata.register_inputs("things", [item])
    table = pa.table(
        {
            "id": pa.array(rows.keys(), pa.int64()),
            "v": pa.array(rows.values()),
            "s_input_id": [item.input_id] * len(rows),
            "s_row_id": pa.array(range(len(rows)), pa.int64()),
        }
    )
    with context.engine.session() as session:
        landed = session.register(table)
        replace_inputs(session, context.lake, query("SELECT l.* FROM $landed AS l", landed=landed), [item.input_id])
    for step in (cdc, enrich, refresh):
        assert not step(context, [item]).failures


@pytest.mark.parametrize("kind", ["key", "full"])
def test_a_small_change_costs_little(kind: str, spark: SparkEngine, plans: list[str], tmp_path: Path) -> None:
    context = workspace_of(kind, tmp_path, spark)
    everything = dict.fromkeys(range(ROWS), "old")
    take(context, 0, everything)
    before = context.hub.snapshot()
    recent = dict.fromkeys(range(ROWS - FEW, ROWS), "new")
    plans.clear()
    take(context, 1, recent if kind == "key" else everything | recent)
    after = context.hub.snapshot()
    assert before is not None
    assert after is not None
    # the files of before are there still, with the few rows masked, and only these are written again
    assert {file.path for file in before.files} <= {file.path for file in after.files}
    assert sum(file.deleted for file in after.files) == FEW
    assert sum(file.rows for file in after.files) == ROWS + FEW
    assert after.rows == ROWS
    joined = [plan for plan in plans if "Join" in plan]
    assert joined
    assert not [plan for plan in joined if "CartesianProduct" in plan or "BroadcastNestedLoopJoin" in plan]
    if kind == "key":
        bounded = [plan for plan in plans if "GreaterThanOrEqual(id," in plan and "FileScan parquet" in plan]
        assert bounded, "no reader of the hub leaves out files and row groups"


def test_what_a_full_extract_says_again_is_not_kept(
    spark: SparkEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = workspace_of("full", tmp_path, spark)
    take(context, 0, dict.fromkeys(range(ROWS), "old"))
    kept: list[int] = []
    create = SparkSqlSession.create

    def counted(session: SparkSqlSession, rows: exp.Expr) -> Relation:
        made = create(session, rows)
        kept.append(session.fetch(query("SELECT count(*) AS n FROM $t AS t", t=made)).column("n")[0].as_py())
        return made

    monkeypatch.setattr(SparkSqlSession, "create", counted)
    take(context, 1, {key: "new" if key >= ROWS - FEW else "old" for key in range(FEW, ROWS)})
    # the differences between the extract and the hub: changed and absent keys
    assert 2 * FEW in kept
    # a changed key has the row of the hub beside the one that replaces it
    assert max(kept) <= 4 * FEW, kept


def test_both_readers_leave_out_the_same_rows(spark: SparkEngine, tmp_path: Path) -> None:
    context = workspace_of("key", tmp_path, spark)
    take(context, 0, dict.fromkeys(range(50), "old"))
    take(context, 1, dict.fromkeys(range(40, 45), "new"))
    hub = context.hub.snapshot()
    assert hub is not None
    assert any(file.deletion_vector for file in hub.files)
    with spark.session() as session:
        readers = (session._by_files(hub, hub.files), session._by_log(hub, ()))
        ours, theirs = (sorted(rows.select("id", "v", "s_file", "s_position").collect()) for rows in readers)
        assert ours == theirs
        chosen = [file for file in hub.files if file.deletion_vector]
        assert len(session._by_log(hub, chosen).collect()) == sum(file.rows - file.deleted for file in chosen)
