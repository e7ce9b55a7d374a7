"""A snapshot rule that is declared otherwise than before is applied to what the hub has; other columns stay frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from declared import UNCHECKED, unchecked_source
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from refresh_scenarios import Scenario

from dataops_assets.errors import GateFailed, InputError
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import query
from dataops_assets.steps.cdc import cdc
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.refresh import apply_rules, refresh
from dataops_assets.steps.upkeep.retention import settle_inputs
from dataops_assets.steps.upkeep.rule_backfill import backfill_rules
from dataops_assets.storage.publish import replace_inputs

COLUMNS = {"k": "integer", "v": "integer", "t": "text"}
KEYED = {"type": "key", "key": ["k"]}
Rules = Mapping[str, str]


def things(home: Path, rules: Rules, refresh_type: Mapping[str, Any] = KEYED, **more: Any) -> Scenario:
    declared = [{"name": name, "expression": text} for name, text in rules.items()]
    return Scenario(home, refresh_type, COLUMNS, rules=declared, checks=UNCHECKED, **more)


def receipts(scenario: Scenario, number: int) -> list[tuple[str, int, int]]:
    report = refresh(scenario.context, [scenario.input(number)])
    return [(item.rule, item.rows_seen, item.rows_changed) for item in report.receipts]


def test_a_changed_rule_and_what_depends_on_it_are_applied_by_the_next_refresh(tmp_path: Path) -> None:
    first = things(tmp_path, {"a": "v + 1", "b": "a * 10", "c": "v"})
    first.arrives(1, [(1, 1, "x"), (2, 2, "x")])
    then = things(tmp_path, {"a": "case when v = 2 then 0 else v + 1 end", "b": "a * 10", "c": "v"})
    then.parsed(2, [(3, 3, "x")])
    # nothing of it shows before the hub changes by one commit
    before = then.context.hub.snapshot()
    assert receipts(then, 2) == [("a", 2, 1), ("b", 2, 1)]
    assert then.rows("k", "a", "b", "c") == [(1, 2, 20, 1), (2, 0, 0, 2), (3, 4, 40, 3)]
    assert before is not None
    restated = then.context.hub.snapshot(before.version + 1)
    assert restated is not None
    assert (restated.rows, dict(restated.info["rules"])) == (2, rule_versions(then))
    assert receipts(then, 2) == []


def rule_versions(scenario: Scenario) -> Mapping[str, str]:
    return dict(compile_rules(scenario.context.source, scenario.context.sources).snapshot.versions)


def test_rules_come_and_go(tmp_path: Path) -> None:
    things(tmp_path, {"a": "v + 1"}).arrives(1, [(1, 1, "x"), (2, None, "x")])
    more = things(tmp_path, {"a": "v + 1", "b": "coalesce(v, 0)"})
    assert receipts(more, 1) == [("b", 2, 2)]
    assert more.rows("k", "a", "b") == [(1, 2, 1), (2, None, 0)]
    fewer = things(tmp_path, {"b": "coalesce(v, 0)"})
    assert receipts(fewer, 1) == []
    hub = fewer.context.hub.snapshot()
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
    with scenario.context.engine.session() as session:
        labelled = session.register(rows)
        replace_inputs(
            session, scenario.context.table("hub/kinds"), query("SELECT l.* FROM $l AS l", l=labelled), ["h"]
        )


def with_look_up(home: Path, expression: str) -> Scenario:
    kinds = unchecked_source("kinds", {"code": "text", "label": "text"})
    scenario = things(
        home, {"l": expression, "v2": "v * 2"}, relations={"kind": {"source": "kinds", "on": {"t": "code"}}}
    )
    space = scenario.context
    scenario.context = type(space)(
        space.environment, space.source, {**space.sources, "kinds": kinds}, space.engine, space.metadata
    )
    return scenario


def test_frozen_look_ups_stay_frozen_until_their_own_rule_changes(tmp_path: Path) -> None:
    first = with_look_up(tmp_path, "kind.label")
    fill_kinds(first, "old")
    first.arrives(1, [(1, 1, "x")])
    fill_kinds(first, "new")
    assert backfill_rules(first.context) is None
    assert first.rows("l", "v2") == [("old", 2)]
    changed = with_look_up(tmp_path, "upper(kind.label)")
    fill_kinds(changed, "a", "b")
    with pytest.raises(InputError, match="a to-one relation matches more than one row"):
        backfill_rules(changed.context)
    assert first.rows("l", "v2") == [("old", 2)]
    fill_kinds(changed, "new")
    report = backfill_rules(changed.context)
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
        backfill_rules(wrong.context)
    assert first.rows("k", "a") == [(1, 2), (1, 3), (2, 3), (2, None)]
    right = things(tmp_path, {"a": "v * 5"}, kept, gates=gates)
    right.runs(2)
    assert right.rows("k", "a") == [(1, 10), (1, 5), (2, 10), (2, None)]


def test_an_enriched_input_that_never_reached_the_hub_is_restated_too(tmp_path: Path) -> None:
    first = things(tmp_path, {"a": "v + 1"})
    first.arrives(1, [(1, 1, "x")])
    first.parsed(2, [(2, 2, "x")])
    cdc(first.context, [first.input(2)])
    enrich(first.context, [first.input(2)])
    then = things(tmp_path, {"a": "v * 100"})
    then.refreshes(2)
    assert then.rows("k", "a") == [(1, 100), (2, 200)]


def quarantine(expression: str, severity: str = "quarantine") -> dict[str, Any]:
    return {"validations": [{"name": "sane", "expression": expression, "severity": severity}]}


def told(scenario: Scenario) -> list[tuple[int, str, str | None]]:
    snapshot = scenario.context.enriched.snapshot()
    assert snapshot is not None
    with scenario.context.engine.session() as session:
        found = session.fetch(query("SELECT e.k, e.s_status, e.s_failed FROM $e AS e", e=session.scan(snapshot)))
    return sorted(tuple(row.values()) for row in found.to_pylist())


def test_a_verdict_follows_the_rule_that_it_reads(tmp_path: Path) -> None:
    marked = quarantine("a < 10", "warn")
    first = things(tmp_path, {"a": "v", "b": "v"}, **marked)
    first.arrives(1, [(1, 1, "x"), (2, 20, "x")])
    assert first.rows("k", "s_status") == [(1, "pass"), (2, "warn")]
    # what no validation reads leaves the verdict as it is
    assert receipts(things(tmp_path, {"a": "v", "b": "v + 1"}, **marked), 1) == [("b", 2, 2)]
    then = things(tmp_path, {"a": "20 - v", "b": "v + 1"}, **marked)
    assert receipts(then, 1) == [("a", 2, 2), ("s_status", 2, 2)]
    assert then.rows("k", "s_status") == [(1, "warn"), (2, "pass")]
    assert told(then) == [(1, "warn", "sane"), (2, "pass", None)]
    assert receipts(then, 1) == []
    nothing = things(tmp_path, {"a": "20 - v", "b": "v + 1"})
    assert receipts(nothing, 1) == [("s_status", 2, 1)]
    assert told(nothing) == [(1, "pass", None), (2, "pass", None)]


def test_rows_leave_and_return_as_their_verdict_does(tmp_path: Path) -> None:
    strict, loose = quarantine("a < 10"), quarantine("a < 100")
    first = things(tmp_path, {"a": "v"}, **loose)
    first.arrives(1, [(1, 1, "x"), (2, 20, "x")])
    first.arrives(2, [(1, 50, "x"), (3, 3, "x"), (4, 200, "x")])
    assert first.rows("k", "a") == [(1, 50), (2, 20), (3, 3)]
    then = things(tmp_path, {"a": "v"}, **strict)
    report = apply_rules(then.context)
    assert report is not None
    assert [(item.rule, item.rows_seen, item.rows_changed) for item in report.receipts] == [("s_status", 3, 2)]
    assert then.rows("k", "a", "s_status") == [(1, 1, "pass"), (3, 3, "pass")]
    assert apply_rules(then.context) is None
    back = things(tmp_path, {"a": "v / 4"}, **strict)
    assert apply_rules(back.context) is not None
    # the newer row of 1 is 12.5 now: the older one stands
    assert back.rows("k", "a") == [(1, 0.25), (2, 5.0), (3, 0.75)]


def test_a_run_that_ends_between_the_tables_is_made_up_for(tmp_path: Path) -> None:
    first = things(tmp_path, {"a": "v"}, **quarantine("a < 10"))
    first.arrives(1, [(1, 20, "x"), (2, 2, "x")])
    # only the other table is brought up, twice, and the hub follows neither
    for most in (30, 25):
        assert backfill_rules(things(tmp_path, {"a": "v"}, **quarantine(f"a < {most}")).context, enriched_only=True)
    then = things(tmp_path, {"a": "v"}, **quarantine("a < 25"))
    assert backfill_rules(then.context) is not None
    assert then.rows("k") == [(2,)], "nothing is merged yet"
    assert apply_rules(then.context) is not None
    assert then.rows("k") == [(1,), (2,)]


def test_rows_of_settled_inputs_leave_and_return_too(tmp_path: Path) -> None:
    old = {"retention": {"superseded_inputs": "90 days"}}
    first = things(tmp_path, {"a": "v"}, **quarantine("a < 100"), **old)
    first.arrives(1, [(1, 1, "x"), (2, 20, "x"), (3, 3, "x")])
    first.arrives(2, [(3, 30, "x")])
    first.arrives(200, [(1, 7, "x"), (4, 4, "x")])
    assert settle_inputs(first.context)
    strict = things(tmp_path, {"a": "v"}, **quarantine("a < 5"), **old)
    apply_rules(strict.context)
    # what stood before the newest settled row of 3 is not known any more
    assert strict.rows("k", "a") == [(1, 1), (4, 4)]
    loose = things(tmp_path, {"a": "v"}, **quarantine("a < 100"), **old)
    apply_rules(loose.context)
    assert loose.rows("k", "a") == [(1, 7), (2, 20), (3, 30), (4, 4)]


def test_a_validation_that_stops_inputs_holds_or_changes_nothing(tmp_path: Path) -> None:
    first = things(tmp_path, {"a": "v"}, **quarantine("a < 10", "fail"))
    first.arrives(1, [(1, 1, "x"), (2, 2, "x")])
    wrong = things(tmp_path, {"a": "v * 5"}, **quarantine("a < 10", "fail"))
    with pytest.raises(GateFailed, match=r"sane does not hold in 1 rows, e\.g\. row 1 of input day-1"):
        backfill_rules(wrong.context)
    assert first.rows("k", "a") == [(1, 1), (2, 2)]
    assert told(first) == [(1, "pass", None), (2, "pass", None)]


def test_uniqueness_and_casts_are_part_of_a_new_verdict(tmp_path: Path) -> None:
    alone = {"name": "alone", "unique": ["t"], "severity": "quarantine"}
    rules = [{"name": "n", "expression": "t", "type": "integer"}]
    first = Scenario(tmp_path, KEYED, COLUMNS, rules=rules, checks=UNCHECKED)
    first.arrives(1, [(1, 1, "x"), (2, 2, "x"), (3, 3, "3")])
    assert first.rows("k", "n", "s_status") == [(1, None, "warn"), (2, None, "warn"), (3, 3, "pass")]
    then = Scenario(tmp_path, KEYED, COLUMNS, rules=rules, checks=UNCHECKED, validations=[alone])
    assert apply_rules(then.context) is not None
    assert then.rows("k", "s_status") == [(3, "pass")]
    assert told(then) == [(1, "fail", "alone, n: cast"), (2, "fail", "alone, n: cast"), (3, "pass", None)]


# every try is a whole story with tables: making a failing one smaller takes longer than reading it
NO_SHRINK = (Phase.explicit, Phase.reuse, Phase.generate)
RULES = ["v + 1", "coalesce(v, 0) * 2", "t", "b::integer + 1", "case when v > 1 then v end"]
OTHER = ["v::text || t", "v", "length(t)"]
VALIDATIONS = ["v > 0", "b::text <> '2'", "length(b::text) < 2 or t = 'y'", "v < 3 and b::text <> '1'"]
ROW = st.tuples(st.integers(1, 4), st.one_of(st.none(), st.integers(0, 3)), st.sampled_from(["x", "y"]))
ACT = st.one_of(
    st.tuples(st.just("arrives"), st.integers(1, 5), st.lists(ROW, max_size=4, unique_by=lambda row: row[0])),
    st.tuples(st.just("removes"), st.integers(1, 5), st.none()),
    st.tuples(st.just("declare"), st.sampled_from([None, *RULES]), st.sampled_from(OTHER)),
    st.tuples(st.just("validate"), st.sampled_from(VALIDATIONS), st.sampled_from(["warn", "quarantine"])),
)


@settings(max_examples=3, deadline=None, phases=NO_SHRINK)
@given(st.lists(ACT, min_size=4, max_size=8))
def test_the_hub_is_as_if_the_rules_had_always_been_those_of_now(
    tmp_path_factory: pytest.TempPathFactory, acts: Sequence[tuple[str, Any, Any]]
) -> None:
    home = tmp_path_factory.mktemp("changed")
    declared: dict[str, str] = {"a": "v", "b": "v"}
    validated: dict[str, Any] = {}
    inputs: dict[int, list[Any]] = {9: [(1, 1, "x"), (5, 2, "y")]}
    scenario = things(home, declared)
    scenario.arrives(9, inputs[9])
    for act, what, more in acts:
        if act == "declare":
            declared = {**({"a": what} if what else {}), "b": more}
            scenario = things(home, declared, **validated)
        elif act == "validate":
            validated = quarantine(what, more)
            scenario = things(home, declared, **validated)
        elif act == "removes":
            inputs.pop(what, None)
            scenario.removes(what)
        elif what not in inputs:
            inputs[what] = more
            scenario.arrives(what, more)
    scenario.runs(9)
    anew = things(tmp_path_factory.mktemp("anew"), declared, **validated)
    for number, rows in sorted(inputs.items()):
        anew.arrives(number, rows)
    names = ("k", "v", "t", *declared, "s_status", "s_input_id", "s_row_id")
    assert scenario.rows(*names) == anew.rows(*names)
