"""What a plan predicts is what happens: harmless changes change no row, and applied work leaves nothing to do."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from planned_cases import EDITS, HARMLESS, Deployment, declarations, deliver, place_of

from dataops_assets.errors import ConfigError, RuleError
from dataops_assets.metadata.plan_store import StoredPlan
from dataops_assets.operations.planning import apply
from dataops_assets.operations.planning.plan import Plan, make_plan

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment in which everything is merged, to be copied."""
    folder = tmp_path_factory.mktemp("base")
    deliver(folder / "landing")
    here = Deployment(folder / "home", folder / "landing")
    tree = here.write(declarations())
    assert here.run(tree) == []
    here.platform.metadata.declarations.record(tree.state)
    assert make_plan(tree, here.contexts(tree), here.platform.metadata).is_empty
    return folder


def differing(before: Rows, after: Rows) -> Iterator[tuple[str, str]]:
    """The tables and columns whose values differ; `*` if other rows are there."""
    for table in {*before, *after}:
        old, new = before.get(table, []), after.get(table, [])
        if [place_of(row) for row in old] != [place_of(row) for row in new]:
            yield table, "*"
            continue
        for was, now in zip(old, new, strict=True):
            for name in {*was, *now}:
                if (name in was) != (name in now) or was.get(name) != now.get(name):
                    yield table, name


def without_remains(rows: Rows, like: Rows) -> Rows:
    """The rows without tables that nothing makes any more, and without null columns of the lake that are gone."""
    gone = {table for table in rows if table not in like}
    assert all(table.endswith(("_current", "_quarantine")) for table in gone), gone
    found = {table: some for table, some in rows.items() if table not in gone}
    for table in found:
        if table.startswith("lake/"):
            names = {name for row in found[table] for name, value in row.items() if value is not None}
            names |= {name for row in like[table] for name in row}
            found[table] = [{name: value for name, value in row.items() if name in names} for row in found[table]]
    return found


@settings(max_examples=4)
@given(names=st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=2, unique=True))
@example(names=["a column goes"])
@example(names=["columns in another order", "another expression"])
@example(names=["another key", "a narrower type"])
@example(names=["rows that delete many keys"])
def test_what_a_plan_predicts_is_what_happens(base: Path, names: Sequence[str]) -> None:
    changed = declarations()
    try:
        for name in names:
            EDITS[name](changed)
    except StopIteration:
        # the first edit took away what the second one changes
        assume(False)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place) / "home"
        shutil.copytree(base / "home", home)
        here = Deployment(home, base / "landing")
        metadata = here.platform.metadata
        try:
            tree = here.write(changed)
        except (ConfigError, RuleError):
            # two changes that do not fit together
            assume(False)
        before = here.rows(tree)
        plan = make_plan(tree, here.contexts(tree), metadata)
        assert plan.changes, names
        applied_rows = _applied(here, tree, plan)
        fresh = Deployment(Path(place) / "fresh", base / "landing")
        fresh_tree = fresh.write(changed)
        assert fresh.run(fresh_tree) == []
        made_anew = fresh.rows(fresh_tree)
        # the tables are those of a deployment that always had this declaration
        assert without_remains(applied_rows, made_anew) == made_anew
        if plan.effect == "nothing":
            assert applied_rows == before
            assert without_remains(before, made_anew) == made_anew
        if set(names) <= set(HARMLESS):
            assert plan.effect == "nothing", plan.work
        reached = {(item.table, name) for item in plan.reached for name in item.columns}
        reached |= {(item.table, "*") for item in plan.reached if item.rows}
        unforeseen = {
            (table, name)
            for table, name in differing(before, applied_rows)
            if (table, name) not in reached and (table, "*") not in reached and not table.endswith("_quarantine")
        }
        assert not unforeseen, (names, unforeseen, reached)
        again = make_plan(tree, here.contexts(tree), metadata)
        assert (again.changes, again.work) == ([], [])


@pytest.mark.parametrize("name", ["another window", "a frozen rule becomes current"])
def test_applied_work_leaves_nothing_to_do_also_in_tables_without_rows(tmp_path: Path, name: str) -> None:
    deliver(tmp_path / "landing")
    for file in (tmp_path / "landing").iterdir():
        file.write_text(file.read_text().partition("\n")[0] + "\n")
    here = Deployment(tmp_path / "home", tmp_path / "landing")
    changed = declarations()
    tree = here.write(changed)
    assert here.run(tree) == []
    here.platform.metadata.declarations.record(tree.state)
    EDITS[name](changed)
    tree = here.write(changed)
    plan = make_plan(tree, here.contexts(tree), here.platform.metadata)
    assert plan.changes
    _applied(here, tree, plan)
    again = make_plan(tree, here.contexts(tree), here.platform.metadata)
    assert (again.changes, again.work) == ([], [])


def _applied(here: Deployment, tree: Any, plan: Plan) -> Rows:
    metadata = here.platform.metadata
    metadata.plans.save(
        StoredPlan(plan.plan_id, dt.datetime.now(dt.UTC), "a person", "", plan.load_id, plan.declared, plan.as_data())
    )
    contexts = here.contexts(tree)
    applying = apply.begin(plan.plan_id, tree, contexts, metadata, "a person")
    done = list(apply.carry_out(applying, contexts, metadata, lambda _keys: {}, str))
    apply.end(applying, metadata, done)
    assert not [item.error for item in done if item.error]
    assert here.run(tree) == []
    return here.rows(tree)
