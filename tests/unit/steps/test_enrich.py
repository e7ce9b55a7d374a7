"""Enrich on real tables: verdicts, what stops an input, what is published, and what look-ups of other hubs give."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from declared import unchecked_source
from rule_steps import an_input, capture, context, fill_hub, table_rows

from dataops_assets.errors import GateFailed, InputError, RuleError
from dataops_assets.profiles import Profile
from dataops_assets.report import CheckOutcome, StepReport
from dataops_assets.sql import query
from dataops_assets.steps.enrich import enrich
from dataops_assets.steps.enriching.rule_values import enrich_query
from dataops_assets.steps.source_context import SourceContext

SALES = {"Store": "integer", "Date": "date", "Sales": "integer", "Note": "text"}
STORES = unchecked_source("stores", {"Id": "integer", "Kind": "text"}, refresh={"type": "key", "key": ["Id"]})
RELATION = {"store": {"source": "stores", "on": {"Store": "Id"}}}


def sales(home: Path, *others: Any, **declared: Any) -> SourceContext:
    return context(home, unchecked_source("sales", SALES, **declared), *others)


def rule(expression: str, name: str = "r", **declared: Any) -> dict[str, Any]:
    return {"name": name, "expression": expression, **declared}


def check(expression: str, severity: str, name: str = "v") -> dict[str, str]:
    return {"name": name, "expression": expression, "severity": severity}


def verdicts(space: SourceContext) -> list[tuple[Any, ...]]:
    return [
        tuple(row.values()) for row in table_rows(space, "hub/sales_enriched", ["s_row_id", "s_status", "s_failed"])
    ]


def outcome(report: StepReport, kind: str, place: int = 0) -> CheckOutcome:
    return next(item for item in report.inputs[place].checks if item.check == kind)


def test_rules_and_verdict_are_added_to_the_change_set(tmp_path: Path) -> None:
    space = sales(
        tmp_path,
        rules=[rule("twice + 1", "more"), rule("Sales * 2", "twice")],
        validations=[check("Sales > 0", "warn", "sells"), check("Sales < 100", "quarantine", "sane")],
    )
    inputs = capture(space, {"a": [{"Sales": 5}, {"Sales": 0}, {"Sales": None}, {"Sales": 500}]})
    report = enrich(space, inputs)
    assert verdicts(space) == [(0, "pass", None), (1, "warn", "sells"), (2, "pass", None), (3, "fail", "sane")]
    rows = table_rows(space, "hub/sales_enriched", ["twice", "more", "s_key", "s_change"])
    assert rows[0] == {"twice": 10, "more": 11, "s_key": "a:0", "s_change": "new"}
    assert report.failures == ()
    assert report.inputs[0].counts == {"rows": 4, "passed": 2, "warned": 1, "quarantined": 1, "deleted": 0}
    assert (report.rows, report.version, report.asset) == (4, 0, "hub/sales_enriched")
    assert list(report.columns)[-5:] == ["s_change", "twice", "more", "s_status", "s_failed"]
    found = outcome(report, "validation")
    assert (found.passed, found.severity) == (False, "warn")
    assert found.explanation == "of 4 rows failed: sells (warn) 1; sane (quarantine) 1"
    assert found.numbers == {"rows": 4, "sells": 1, "sane": 1}


def test_all_failed_names_are_kept_and_the_worst_counts(tmp_path: Path) -> None:
    space = sales(
        tmp_path,
        rules=[rule("Note", "number", type="integer")],
        validations=[check("Sales > 0", "quarantine", "it's > 0"), check("Note <> 'x'", "warn", "note")],
    )
    enrich(
        space, capture(space, {"a": [{"Sales": 0, "Note": "x"}, {"Sales": 1, "Note": "y"}, {"Sales": 1, "Note": "1"}]})
    )
    assert verdicts(space) == [
        (0, "fail", "it's > 0, note, number: cast"),
        (1, "warn", "number: cast"),
        (2, "pass", None),
    ]


def test_deletions_pass_through_without_rules(tmp_path: Path) -> None:
    space = sales(
        tmp_path,
        STORES,
        relations=RELATION,
        rules=[rule("coalesce(Sales, 0) + 1"), rule("Note", "n", type="integer")],
        validations=[check("Sales is not null", "fail")],
    )
    inputs = capture(space, {"a": [{"Sales": 1}, {"Note": "gone", "s_change": "deleted"}]})
    report = enrich(space, inputs)
    rows = table_rows(space, "hub/sales_enriched", ["r", "n", "s_status", "s_failed", "Note"])
    assert rows[1] == {"r": None, "n": None, "s_status": "pass", "s_failed": None, "Note": "gone"}
    assert report.inputs[0].counts["deleted"] == 1
    assert report.failures == ()


def test_a_failed_validation_stops_only_its_input(tmp_path: Path) -> None:
    space = sales(tmp_path, validations=[check("Sales >= 0", "fail", "positive"), check("Note <> ''", "fail", "noted")])
    changes = {
        "a": [{"Sales": 1}],
        "b": [{"Sales": -n, "Note": "ok"} for n in range(5)] + [{"Sales": 1, "Note": ""}],
        "c": [{"Sales": 3}],
    }
    report = enrich(space, capture(space, changes))
    (failure,) = report.failures
    assert failure.input_id == "b"
    assert isinstance(failure.error, GateFailed)
    assert "positive does not hold in 4 of 6 rows, e.g. row 1 (Sales=-1); row 2 (Sales=-2); row 3 (Sales=-3)" in str(
        failure.error
    )
    assert "noted does not hold in 1 of 6 rows, e.g. row 5 (Note=)" in str(failure.error)
    assert outcome(report, "validation", 1).severity == "fail"
    assert [row["s_input_id"] for row in table_rows(space, "hub/sales_enriched")] == ["a", "c"]


def test_a_stopped_input_keeps_what_it_had_published_before(tmp_path: Path) -> None:
    space = sales(tmp_path)
    inputs = capture(space, {"a": [{"Sales": -1}]})
    enrich(space, inputs)
    strict = sales(tmp_path, validations=[check("Sales >= 0", "fail")])
    assert len(enrich(strict, inputs).failures) == 1
    assert len(table_rows(space, "hub/sales_enriched")) == 1


def test_running_again_gives_the_same_and_replaces_only_these_inputs(tmp_path: Path) -> None:
    space = sales(tmp_path, rules=[rule("Sales + 1")])
    a, b = capture(space, {"a": [{"Sales": 1}, {"Sales": 2}], "b": [{"Sales": 3}]})
    enrich(space, [a, b])
    before = table_rows(space, "hub/sales_enriched")
    enrich(space, [a])
    assert table_rows(space, "hub/sales_enriched") == before
    capture(space, {"a": [{"Sales": 9}]})
    enrich(space, [a])
    assert [row["r"] for row in table_rows(space, "hub/sales_enriched")] == [10, 4]


def test_an_empty_change_set_is_published_as_nothing(tmp_path: Path) -> None:
    space = sales(tmp_path, rules=[rule("Sales + 1")], validations=[check("Sales > 0", "fail")])
    inputs = capture(space, {"a": [{"Sales": 1}]})
    report = enrich(space, [*inputs, an_input("nothing changed")])
    assert report.failures == ()
    assert report.inputs[1].counts == {"rows": 0, "passed": 0, "warned": 0, "quarantined": 0, "deleted": 0}
    assert report.rows == 1


def test_without_change_sets_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="materialize lake/sales_changes first"):
        enrich(sales(tmp_path), [an_input("a")])


def test_a_wrong_rule_stops_the_step(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="Slaes"):
        enrich(sales(tmp_path, rules=[rule("Slaes")]), [an_input("a")])


def test_look_ups_read_the_related_hub(tmp_path: Path) -> None:
    space = sales(tmp_path, STORES, relations=RELATION, rules=[rule("store.Kind")])
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}, {"Id": 2, "Kind": "b"}])
    report = enrich(space, capture(space, {"x": [{"Store": 2}, {"Store": 1}, {"Store": 3}, {"Store": None}]}))
    assert [row["r"] for row in table_rows(space, "hub/sales_enriched")] == ["b", "a", None, None]
    assert report.notes == {}


def test_look_ups_of_a_hub_that_is_not_there_yet_are_null_and_reported(tmp_path: Path) -> None:
    space = sales(tmp_path, STORES, relations=RELATION, rules=[rule("store.Kind"), rule("store.Id + 1", "n")])
    report = enrich(space, capture(space, {"x": [{"Store": 2}]}))
    assert table_rows(space, "hub/sales_enriched", ["r", "n"]) == [{"r": None, "n": None}]
    assert report.columns["n"] == "BIGINT"
    assert report.notes == {"look-ups without a hub": "hub/stores does not exist yet: null"}


def test_look_ups_see_only_current_versions(tmp_path: Path) -> None:
    kept = unchecked_source(
        "stores", {"Id": "integer", "Kind": "text"}, refresh={"type": "key", "key": ["Id"], "history": True}
    )
    space = sales(tmp_path, kept, relations=RELATION, rules=[rule("store.Kind")])
    versions = [{"Id": 1, "Kind": "old", "s_is_current": False}, {"Id": 1, "Kind": "new", "s_is_current": True}]
    fill_hub(space, "stores", versions)
    assert enrich(space, capture(space, {"x": [{"Store": 1}]})).failures == ()
    assert [row["r"] for row in table_rows(space, "hub/sales_enriched")] == ["new"]


def test_a_column_that_the_related_hub_does_not_have_yet_is_null(tmp_path: Path) -> None:
    space = sales(tmp_path, STORES, relations=RELATION, rules=[rule("store.Id")])
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}])
    grown = STORES.model_copy(update={"rules": sales(tmp_path, rules=[rule("1 + 1", "Two")]).source.rules})
    later = sales(tmp_path, grown, relations=RELATION, rules=[rule("store.Two"), rule("store.Kind", "k")])
    enrich(later, capture(later, {"x": [{"Store": 1}]}))
    assert table_rows(later, "hub/sales_enriched", ["r", "k"]) == [{"r": None, "k": "a"}]


def test_an_ambiguous_look_up_stops_the_inputs_that_meet_it(tmp_path: Path) -> None:
    loose = unchecked_source("stores", {"Id": "integer", "Kind": "text"})
    space = sales(tmp_path, loose, relations=RELATION, rules=[rule("store.Kind")])
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}, {"Id": 2}, {"Id": 2}, {"Id": 2}, {"Id": None}, {"Id": None}])
    changes = {
        "a": [{"Store": 1}, {"Store": None}],
        "b": [{"Store": 2}, {"Store": 2}, {"Store": 1}],
        "c": [{"Store": 2, "s_change": "deleted"}],
    }
    report = enrich(space, capture(space, changes))
    (failure,) = report.failures
    assert failure.input_id == "b"
    assert isinstance(failure.error, InputError)
    assert "looking up 'store': a to-one relation matches more than one row" in str(failure.error)
    assert "2 rows with 1 such keys; e.g. Id=2 matches 3 rows of hub/stores" in str(failure.error)
    assert [row["r"] for row in table_rows(space, "hub/sales_enriched")] == ["a", None, None]


def test_an_ambiguous_second_hop_names_the_path(tmp_path: Path) -> None:
    kinds = unchecked_source("kinds", {"code": "text", "label": "text"})
    stores = STORES.model_copy(
        update={
            "relations": unchecked_source(
                "x", {"Kind": "text"}, relations={"kind": {"source": "kinds", "on": {"Kind": "code"}}}
            ).relations
        }
    )
    space = sales(tmp_path, stores, kinds, relations=RELATION, rules=[rule("store.kind.label")])
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}, {"Id": 2, "Kind": "b"}])
    fill_hub(space, "kinds", [{"code": "a", "label": "A"}, {"code": "b"}, {"code": "b"}])
    report = enrich(space, capture(space, {"fine": [{"Store": 1}], "not": [{"Store": 2}]}))
    assert [failure.input_id for failure in report.failures] == ["not"]
    assert "looking up 'store.kind'" in str(report.failures[0].error)
    assert [row["r"] for row in table_rows(space, "hub/sales_enriched")] == ["A"]


def test_the_hub_gate_sees_what_would_reach_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contracts = tmp_path / "gate_for_enrich.py"
    contracts.write_text(
        "import pandera.pandas as pa\nhub = pa.DataFrameSchema({'r': pa.Column(int, pa.Check.le(10), nullable=True)})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    space = sales(
        tmp_path,
        rules=[rule("Sales + 1")],
        validations=[check("Sales < 1000", "quarantine")],
        gates={"hub": {"contract": "gate_for_enrich:hub"}},
    )
    changes = {
        "good": [{"Sales": 1}, {"Sales": 5000}, {"Sales": 2000, "s_change": "deleted"}],
        "bad": [{"Sales": 1}, {"Sales": 50}],
        "empty": [],
    }
    report = enrich(space, capture(space, changes))
    assert [failure.input_id for failure in report.failures] == ["bad"]
    assert isinstance(report.failures[0].error, GateFailed)
    assert [outcome(report, "contract", place).passed for place in range(3)] == [True, False, True]
    assert {row["s_input_id"] for row in table_rows(space, "hub/sales_enriched")} == {"good"}


def test_checks_profile_the_rules_and_remember_them(tmp_path: Path) -> None:
    space = sales(tmp_path, rules=[rule("Sales + 1")], checks={"volume": {"max_rows": 2}})
    space.metadata.migrate()
    space.metadata.contracts.register(space.source)
    inputs = capture(space, {"a": [{"Sales": 1}, {"Sales": 3}], "b": [{"Sales": None}] * 3, "c": []})
    space.metadata.register_inputs("sales", inputs)
    report = enrich(space, inputs)
    assert {item.check for item in report.inputs[0].checks} == {"volume", "schema", "distribution"}
    assert [outcome(report, "volume", place).passed for place in range(3)] == [True, False, True]
    assert outcome(report, "schema").passed
    kept = {item.input_id: item for item in space.metadata.profiles.newest("sales", "hub/sales_enriched")}
    assert isinstance(kept["a"], Profile)
    assert [(item.name, item.mean) for item in kept["a"].columns] == [("r", 3.0)]
    assert kept["b"].columns[0].nulls == 3
    assert kept["c"].rows == 0


def test_personal_values_are_shown_nowhere(tmp_path: Path) -> None:
    space = sales(tmp_path, rules=[rule("upper(Note)")], validations=[check("Note <> 'jo'", "fail")], checks={})
    columns = tuple(
        column.model_copy(update={"tags": {"pii": "name"}}) if column.name == "Note" else column
        for column in space.source.columns
    )
    own = space.source.model_copy(update={"columns": columns})
    space = context(tmp_path, own)
    space.metadata.migrate()
    space.metadata.contracts.register(own)
    inputs = capture(space, {"a": [{"Note": "jo"}], "b": [{"Note": "al"}]})
    space.metadata.register_inputs("sales", inputs)
    report = enrich(space, inputs)
    assert "row 0 (Note=***)" in str(report.failures[0].error)
    profiles = {item.input_id: item for item in space.metadata.profiles.newest("sales", "hub/sales_enriched")}
    assert (profiles["b"].columns[0].min, profiles["b"].columns[0].max) == (None, None)


def test_enrich_query_serves_rows_that_are_no_change_set(tmp_path: Path) -> None:
    """Refresh hands over parsed rows with the system columns of a merge, and wants verdicts for them."""
    space = sales(
        tmp_path, STORES, relations=RELATION, rules=[rule("store.Kind")], validations=[check("Sales > 0", "quarantine")]
    )
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}])
    with space.engine.session() as session:
        rows = query(
            """
            SELECT CAST(1 AS BIGINT) AS "Store", CAST('2024-01-01' AS DATE) AS "Date", CAST(s AS BIGINT) AS "Sales",
                   'x' AS "Note", 'k' AS s_key, 'i' AS s_input_id, CAST(s AS BIGINT) AS s_row_id
            FROM range(3) AS t(s)
            """
        )
        found = session.fetch(query("SELECT * FROM $r AS r ORDER BY s_row_id", r=enrich_query(space, session, rows)))
    assert found.column_names[-5:] == ["s_input_id", "s_row_id", "r", "s_status", "s_failed"]
    assert found.column("r").to_pylist() == ["a"] * 3
    assert found.column("s_status").to_pylist() == ["fail", "pass", "pass"]


def test_enrich_query_never_picks_one_of_several_matches(tmp_path: Path) -> None:
    loose = unchecked_source("stores", {"Id": "integer", "Kind": "text"})
    space = sales(tmp_path, loose, relations=RELATION, rules=[rule("store.Kind")])
    fill_hub(space, "stores", [{"Id": 1, "Kind": "a"}, {"Id": 1, "Kind": "b"}])
    with space.engine.session() as session:
        rows = query(
            'SELECT CAST(1 AS BIGINT) AS "Store", CAST(NULL AS DATE) AS "Date", CAST(1 AS BIGINT) AS "Sales", '
            "'x' AS \"Note\", 'k' AS s_key, 'i' AS s_input_id, CAST(0 AS BIGINT) AS s_row_id"
        )
        with pytest.raises(InputError, match="matches more than one row"):
            enrich_query(space, session, rows)


@pytest.mark.parametrize("name", ["a b", "Straße", 'quo"te', "it's", "select", "x.y", "😀"])
def test_hostile_names_of_columns_and_rules(tmp_path: Path, name: str) -> None:
    own = unchecked_source(
        "sales",
        {name: "integer"},
        rules=[rule('"' + name.replace('"', '""') + '" + 1', f"{name} 2", type="text")],
        validations=[check('"' + name.replace('"', '""') + '" > 0', "warn", name)],
    )
    space = context(tmp_path, own)
    report = enrich(space, capture(space, {"a": [{name: 0}, {name: 1}]}))
    assert report.failures == ()
    rows = table_rows(space, "hub/sales_enriched", [name, f"{name} 2", "s_failed"])
    assert rows == [{name: 0, f"{name} 2": "1", "s_failed": name}, {name: 1, f"{name} 2": "2", "s_failed": None}]


def test_dates_are_what_they_were(tmp_path: Path) -> None:
    space = sales(tmp_path, rules=[rule("Date + 1", "tomorrow")])
    enrich(space, capture(space, {"a": [{"Date": dt.date(2015, 12, 31)}]}))
    assert table_rows(space, "hub/sales_enriched", ["tomorrow"]) == [{"tomorrow": dt.date(2016, 1, 1)}]


@pytest.mark.parametrize(("severity", "status"), [("warn", "warn"), ("quarantine", "fail")])
def test_a_key_must_be_found_in_another_hub(tmp_path: Path, severity: str, status: str) -> None:
    known = check("Store is null or store.Id is not null", severity, "store_is_known")
    space = sales(tmp_path, STORES, relations=RELATION, validations=[known])
    fill_hub(space, "stores", [{"Id": 1, "Kind": None}])
    enrich(space, capture(space, {"a": [{"Store": 1}, {"Store": 2}, {"Store": None}]}))
    assert verdicts(space) == [(0, "pass", None), (1, status, "store_is_known"), (2, "pass", None)]
