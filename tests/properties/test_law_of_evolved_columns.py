"""With `new_column: evolve`, lake and hub are those of a deployment that always had the last declaration.

So it is after any sequence of declarations: what an undeclared column is called follows from the raw files and the
declaration in force, and not from columns, renamed columns, computed columns and rules that were declared before.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from planned_cases import Declared, Deployment, place_of

from dataops_assets.errors import DataOpsError
from dataops_assets.metadata.plan_store import StoredPlan
from dataops_assets.operations.planning import apply
from dataops_assets.operations.planning.plan import Plan, Tree, make_plan

ID = {"name": "id", "type": "integer"}
V = {"name": "v"}
COUNT = {"name": "n", "expression": "count(*) over ()", "mode": "keep_current"}
# what the declaration says of the raw column w
DECLARATIONS: Mapping[str, Mapping[str, Any]] = {
    "not at all": {},
    "declared": {"columns": [{"name": "w"}]},
    "typed": {"columns": [{"name": "w", "type": "decimal(12,2)"}]},
    "renamed": {"columns": [{"name": "u", "type": "decimal(12,2)", "renamed_from": ["w"]}]},
    "computed": {"columns": [{"name": "w", "expression": "upper(v)"}]},
    "another computed": {"columns": [{"name": "calc", "expression": "upper(v)"}]},
    "a rule": {"rules": [{"name": "w", "expression": "v || '!'"}]},
    "a current rule": {"rules": [{"name": "w", "expression": "v || '?'", "mode": "keep_current"}]},
}
REFRESHES: Mapping[str, Mapping[str, Any]] = {
    "history": {"type": "key", "key": ["id"], "history": True},
    "key": {"type": "key", "key": ["id"]},
    "full": {"type": "full"},
    "append": {"type": "append"},
}
FILES = (
    "id,v,w\n1,a,1\n2,b,\n",
    "id,v,w\n1,a,1.0\n3,c,3\n",
    "id,v\n2,b\n4,d\n",
    "id,v,W,calc\n1,a,1.00,x\n5,e,5,\n",
)


class Feed:
    """A deployment with one source, its landing folder, and the files that come to it."""

    def __init__(self, template: Path, place: Path, refresh: str, landing: Path | None = None) -> None:
        shutil.copytree(template, place)
        self.landing = landing or place / "landing"
        self.landing.mkdir(exist_ok=True)
        self.here = Deployment(place, self.landing)
        self._refresh = REFRESHES[refresh]
        self._files = 0
        self._tree: Tree | None = None

    def declare(self, of_w: str) -> None:
        more = DECLARATIONS[of_w]
        source: Declared = {
            "name": "ev",
            "area": "tests",
            "connection": {
                "type": "files",
                "path": "ev_*.csv",
                "extract_time": {"pattern": "ev_%Y-%m-%d.csv"},
                "settle_seconds": 0,
            },
            "columns": [ID, V, *more.get("columns", ())],
            "rules": [COUNT, *more.get("rules", ())],
            "drift": {"new_column": "evolve", "missing_column": "ignore"},
            "refresh": dict(self._refresh),
            "checks": {kind: {"enabled": False} for kind in ("volume", "schema", "distribution")},
            "gates": {"deletes": {"max_share": 1.0}},
        }
        self._tree = self.here.write({"ev": source})

    @property
    def tree(self) -> Tree:
        assert self._tree is not None
        return self._tree

    def deliver(self) -> None:
        """Put the next file into the landing folder."""
        if self._files < len(FILES):
            file = self.landing / f"ev_2024-01-0{self._files + 1}.csv"
            file.write_text(FILES[self._files])
            os.utime(file, (1_704_100_000 + self._files, 1_704_100_000 + self._files))
            self._files += 1

    def run(self) -> None:
        assert self.here.run(self.tree) == []

    def plan(self) -> Plan:
        return make_plan(self.tree, self.here.contexts(self.tree), self.here.platform.metadata)

    def apply(self) -> Plan:
        """Apply the plan, and return it."""
        plan, metadata, contexts = self.plan(), self.here.platform.metadata, self.here.contexts(self.tree)
        stored = (plan.plan_id, dt.datetime.now(dt.UTC), "a person", "", plan.load_id, plan.declared, plan.as_data())
        if plan.is_empty:
            return plan
        metadata.plans.save(StoredPlan(*stored))
        applying = apply.begin(plan.plan_id, self.tree, contexts, metadata, "a person")
        done = list(apply.carry_out(applying, contexts, metadata, lambda _keys: {}, str))
        apply.end(applying, metadata, done)
        assert [item.error for item in done if item.error] == []
        return plan

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of the tables; of the lake without its null columns, which it keeps of earlier declarations."""
        found = self.here.rows(self.tree)
        for row in found.get("lake/ev", ()):
            for name in [name for name, value in row.items() if value is None]:
                del row[name]
        return found

    def hub(self, *names: str) -> list[tuple[Any, ...]]:
        """The values of columns in the hub, in the order of the rows."""
        return [tuple(row[name] for name in names) for row in sorted(self.rows()["hub/ev"], key=place_of)]

    def columns(self) -> set[str]:
        """The columns of the hub that are not those of the system."""
        (context,) = self.here.contexts(self.tree)
        hub = context.hub.snapshot()
        assert hub is not None
        return {name for name in hub.columns if not name.startswith("s_")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with empty metadata: to copy it is faster than to make it."""
    home = tmp_path_factory.mktemp("template") / "home"
    home.mkdir()
    Deployment(home, home / "landing")
    return home


def assert_like_fresh(feed: Feed, template: Path, place: Path, refresh: str, of_w: str) -> None:
    fresh = Feed(template, place, refresh, feed.landing)
    fresh.declare(of_w)
    fresh.run()
    assert feed.rows() == fresh.rows()
    assert feed.columns() == fresh.columns()


def begun(template: Path, place: Path, refresh: str, of_w: str, files: int) -> Feed:
    feed = Feed(template, place / "home", refresh)
    for _ in range(files):
        feed.deliver()
    feed.declare(of_w)
    feed.run()
    feed.here.platform.metadata.declarations.record(feed.tree.state)
    return feed


def test_a_rule_with_the_name_of_an_undeclared_column_renames_it_as_long_as_it_is_declared(
    template: Path, tmp_path: Path
) -> None:
    feed = begun(template, tmp_path, "key", "not at all", 1)
    assert feed.hub("id", "w") == [(1, "1"), (2, None)]
    feed.declare("a rule")
    (parsing,) = [item for item in feed.plan().work if item.kind == "parse again"]
    assert "w becomes new_w" in parsing.why
    feed.apply()
    assert feed.hub("id", "w", "new_w") == [(1, "a!", "1"), (2, "b!", None)]
    feed.deliver()
    feed.run()
    assert_like_fresh(feed, template, tmp_path / "with", "key", "a rule")
    feed.declare("not at all")
    feed.apply()
    assert feed.columns() == {"id", "v", "w"}
    assert_like_fresh(feed, template, tmp_path / "without", "key", "not at all")
    assert feed.plan().is_empty


def test_a_renamed_column_leaves_no_undeclared_one_under_its_old_name(template: Path, tmp_path: Path) -> None:
    feed = begun(template, tmp_path, "history", "typed", 2)
    feed.declare("renamed")
    feed.apply()
    assert feed.columns() == {"id", "v", "u"}
    # 1 and 1.0 are one number, and so one version
    assert len([row for row in feed.hub("id") if row == (1,)]) == 1
    assert_like_fresh(feed, template, tmp_path / "fresh", "history", "renamed")


def test_no_value_of_a_rule_stays_in_a_column_of_the_inputs(template: Path, tmp_path: Path) -> None:
    feed = begun(template, tmp_path, "key", "not at all", 1)
    feed.declare("a rule")
    # with the next input, the rule is applied to the hub; the first input is not parsed again
    feed.deliver()
    feed.run()
    assert feed.hub("id", "w") == [(2, "b!"), (1, "a!"), (3, "c!")]
    feed.declare("not at all")
    feed.deliver()
    feed.run()
    assert [value for _, value in feed.hub("id", "w") if value and value.endswith("!")] == []
    feed.apply()
    assert_like_fresh(feed, template, tmp_path / "fresh", "key", "not at all")


STEPS = st.tuples(st.sampled_from(sorted(DECLARATIONS)), st.sampled_from(["apply", "run", "deliver", "nothing"]))


@settings(max_examples=2)
@given(
    refresh=st.sampled_from(sorted(REFRESHES)),
    first=st.sampled_from(sorted(DECLARATIONS)),
    steps=st.lists(STEPS, min_size=1, max_size=4),
)
@example("full", "another computed", [("not at all", "apply")])
def test_tables_follow_from_the_last_declaration_alone(
    template: Path, refresh: str, first: str, steps: Sequence[tuple[str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        feed = begun(template, Path(folder), refresh, first, 2)
        for of_w, then in steps:
            feed.declare(of_w)
            if then == "apply":
                feed.apply()
            if then == "deliver":
                feed.deliver()
            if then in ("run", "deliver"):
                # a change that must be applied first
                with contextlib.suppress(DataOpsError):
                    feed.run()
        feed.apply()
        feed.deliver()
        feed.run()
        assert_like_fresh(feed, template, Path(folder) / "fresh", refresh, steps[-1][0])
        assert feed.plan().work == []
