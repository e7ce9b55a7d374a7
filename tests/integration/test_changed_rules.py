"""A snapshot rule that is declared otherwise than before is applied to what the hub has; other columns stay frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from declared import UNCHECKED, unchecked_source
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from refresh_scenarios import Scenario

from dataops_assets.errors import GateFailed, InputError
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.refresh import refresh
from dataops_assets.steps.restate import restate
from dataops_assets.storage.publish import replace_inputs

COLUMNS = {"k": "integer", "v": "integer", "t": "text"}
KEYED = {"type": "key", "key": ["k"]}
Rules = Mapping[str, str]


def things(home: Path, rules: Rules, refresh_type: Mapping[str, Any] = KEYED, **more: Any) -> Scenario:
    declared = [{"name": name, "expression": text} for name, text in rules.items()]
    return Scenario(home, refresh_type, COLUMNS, rules=declared, checks=UNCHECKED, **more)


def receipts(scenario: Scenario, number: int) -> list[tuple[str, int, int]]:
    report = refresh(scenario.workspace, [scenario.input(number)])
    return [(item.rule, item.rows_seen, item.rows_changed) for item in report.receipts]


def test_a_changed_rule_and_what_depends_on_it_are_applied_by_the_next_refresh(tmp_path: Path) -> None:
    first = things(tmp_path, {"a": "v + 1", "b": "a * 10", "c": "v"})
    first.arrives(1, [(1, 1, "x"), (2, 2, "x")])
    then = things(tmp_path, {"a": "case when v = 2 then 0 else v + 1 end", "b": "a * 10", "c": "v"})
    then.parsed(2, [(3, 3, "x")])
    # nothing of it shows before the hub changes by one commit
    before = then.workspace.hub.snapshot()
    assert receipts(then, 2) == [("a", 2, 1), ("b", 2, 1)]
    assert then.rows("k", "a", "b", "c") == [(1, 2, 20, 1), (2, 0, 0, 2), (3, 4, 40, 3)]
    assert before is not None
    restated = then.workspace.hub.snapshot(before.version + 1)
    assert restated is not None
    assert (restated.rows, dict(restated.info["rules"])) == (2, rule_versions(then))
    assert receipts(then, 2) == []


def rule_versions(scenario: Scenario) -> Mapping[str, str]:
    return dict(compile_rules(scenario.workspace.source, scenario.workspace.sources).snapshot.versions)


def test_rules_come_and_go(tmp_path: Path) -> None:
    things(tmp_path, {"a": "v + 1"}).arrives(1, [(1, 1, "x"), (2, None, "x")])
    more = things(tmp_path, {"a": "v + 1", "b": "coalesce(v, 0)"})
    assert receipts(more, 1) == [("b", 2, 2)]
    assert more.rows("k", "a", "b") == [(1, 2, 1), (2, None, 0)]
    fewer = things(tmp_path, {"b": "coalesce(v, 0)"})
    assert receipts(fewer, 1) == []
    hub = fewer.workspace.hub.snapshot()
    assert hub is not None
    assert "a" not in hub.columns
    # a column that comes back does not show what its files still have
    back = things(tmp_path, {"b": "coalesce(v, 0)", "a": "case when v is null then 5 end"})
    assert receipts(back, 1) == [("a", 2, 1)]
    assert back.rows("k", "a", "b") == [(1, None, 1), (2, 5, 0)]
    text = things(tmp_path, {"a": "t || k::text"})
    assert receipts(text, 1) == [("a", 2, 2)]
    assert text.rows("k", "a") == [(1, "x1"), (2, "x2")]


def test_what_is_late_or_comes_back_has_the_rule_of_now(tmp_path: Path) -> None:
    old = things(tmp_path, {"a": "v + 1"})
    old.arrives(1, [(1, 1, "x")])
    old.arrives(3, [(1, 3, "x"), (2, 3, "x")])
    new = things(tmp_path, {"a": "v * 100"})
    new.arrives(2, [(1, 2, "x"), (2, 2, "x")])
    assert new.rows("k", "a") == [(1, 300), (2, 300)]
    new.removes(3)
    assert new.rows("k", "a") == [(1, 200), (2, 200)]
    new.removes(2)
    assert new.rows("k", "a") == [(1, 100)]


def test_deletions_and_every_version_of_a_history(tmp_path: Path) -> None:
    kept = {"type": "full", "key": ["k"], "history": True}
    old = things(tmp_path, {"a": "v + 1"}, kept)
    old.arrives(1, [(1, 1, "x"), (2, 1, "x")])
    old.arrives(2, [(1, 2, "x")])
    new = things(tmp_path, {"a": "coalesce(v, 0) * 100"}, kept)
    new.runs(2)
    assert new.rows("k", "a") == [(1, 100), (1, 200), (2, 100), (2, None)]
    new.arrives(3, [(1, 3, "x"), (2, 3, "x")])
    new.removes(2)
    assert new.rows("k", "a") == [(1, 100), (1, 300), (2, 100), (2, 300)]


def fill_kinds(scenario: Scenario, *labels: str) -> None:
    """Make hub/kinds hold these labels of 'x'."""
    rows = pa.table({"code": ["x"] * len(labels), "label": list(labels), "s_input_id": ["h"] * len(labels)})
    with scenario.workspace.engine.session() as session:
        session.register("labels", rows)
        replace_inputs(session, scenario.workspace.table("hub/kinds"), query("SELECT * FROM labels"), ["h"])


def with_look_up(home: Path, expression: str) -> Scenario:
    kinds = unchecked_source("kinds", {"code": "text", "label": "text"})
    scenario = things(
        home, {"l": expression, "v2": "v * 2"}, relations={"kind": {"source": "kinds", "on": {"t": "code"}}}
    )
    space = scenario.workspace
    scenario.workspace = type(space)(
        space.environment, space.source, {**space.sources, "kinds": kinds}, space.engine, space.metadata
    )
    return scenario


def test_frozen_look_ups_stay_frozen_until_their_own_rule_changes(tmp_path: Path) -> None:
    first = with_look_up(tmp_path, "kind.label")
    fill_kinds(first, "old")
    first.arrives(1, [(1, 1, "x")])
    fill_kinds(first, "new")
    assert restate(first.workspace) is None
    assert first.rows("l", "v2") == [("old", 2)]
    changed = with_look_up(tmp_path, "upper(kind.label)")
    fill_kinds(changed, "a", "b")
    with pytest.raises(InputError, match="a to-one relation matches more than one row"):
        restate(changed.workspace)
    assert first.rows("l", "v2") == [("old", 2)]
    fill_kinds(changed, "new")
    report = restate(changed.workspace)
    assert report is not None
    assert (report.asset, [item.rule for item in report.receipts]) == ("hub/things", ["l"])
    assert changed.rows("l", "v2") == [("NEW", 2)]


def test_a_changed_rule_passes_the_gate_or_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "import pandera.pandas as pa\nhub = pa.DataFrameSchema({'a': pa.Column(int, pa.Check.le(10), nullable=True)})\n"
    )
    (tmp_path / "gate_for_restate.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    gates = {"hub": {"contract": "gate_for_restate:hub"}}
    kept = {"type": "full", "key": ["k"], "history": True}
    first = things(tmp_path, {"a": "v + 1"}, kept, gates=gates)
    first.arrives(1, [(1, 1, "x"), (2, 2, "x")])
    first.arrives(2, [(1, 2, "x")])
    wrong = things(tmp_path, {"a": "v * 10"}, kept, gates=gates)
    with pytest.raises(GateFailed, match="publishing input day-1 in hub/things"):
        restate(wrong.workspace)
    assert first.rows("k", "a") == [(1, 2), (1, 3), (2, 3), (2, None)]
    right = things(tmp_path, {"a": "v * 5"}, kept, gates=gates)
    right.runs(2)
    assert right.rows("k", "a") == [(1, 10), (1, 5), (2, 10), (2, None)]


def test_an_enriched_input_that_never_reached_the_hub_is_restated_too(tmp_path: Path) -> None:
    first = things(tmp_path, {"a": "v + 1"})
    first.arrives(1, [(1, 1, "x")])
    first.parsed(2, [(2, 2, "x")])
    cdc(first.workspace, [first.input(2)])
    enrich(first.workspace, [first.input(2)])
    then = things(tmp_path, {"a": "v * 100"})
    then.refreshes(2)
    assert then.rows("k", "a") == [(1, 100), (2, 200)]


# every try is a whole story with tables: making a failing one smaller takes longer than reading it
NO_SHRINK = (Phase.explicit, Phase.reuse, Phase.generate)
RULES = ["v + 1", "coalesce(v, 0) * 2", "t", "b::integer + 1", "case when v > 1 then v end"]
OTHER = ["v::text || t", "v", "length(t)"]
ROW = st.tuples(st.integers(1, 4), st.one_of(st.none(), st.integers(0, 3)), st.sampled_from(["x", "y"]))
ACT = st.one_of(
    st.tuples(st.just("arrives"), st.integers(1, 5), st.lists(ROW, max_size=4, unique_by=lambda row: row[0])),
    st.tuples(st.just("removes"), st.integers(1, 5), st.none()),
    st.tuples(st.just("declare"), st.sampled_from([None, *RULES]), st.sampled_from(OTHER)),
)


@settings(max_examples=3, deadline=None, phases=NO_SHRINK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACT, min_size=4, max_size=8))
def test_the_hub_is_as_if_the_rules_had_always_been_those_of_now(
    tmp_path_factory: pytest.TempPathFactory, acts: Sequence[tuple[str, Any, Any]]
) -> None:
    home = tmp_path_factory.mktemp("changed")
    declared: dict[str, str] = {"a": "v", "b": "v"}
    inputs: dict[int, list[Any]] = {9: [(1, 1, "x"), (5, 2, "y")]}
    scenario = things(home, declared)
    scenario.arrives(9, inputs[9])
    for act, what, more in acts:
        if act == "declare":
            declared = {**({"a": what} if what else {}), "b": more}
            scenario = things(home, declared)
        elif act == "removes":
            inputs.pop(what, None)
            scenario.removes(what)
        elif what not in inputs:
            inputs[what] = more
            scenario.arrives(what, more)
    scenario.runs(9)
    anew = things(tmp_path_factory.mktemp("anew"), declared)
    for number, rows in sorted(inputs.items()):
        anew.arrives(number, rows)
    names = ("k", "v", "t", *declared, "s_input_id", "s_row_id")
    assert scenario.rows(*names) == anew.rows(*names)
