"""The problems that the metadata knows: failed checks and inputs, crashed runs, held deletes; and when each is over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from metadata_examples import START, an_input, source

from dataops_assets.errors import GateFailed, GivenUp, InputError, InputHeld, InputWaits, RunDied, StorageError
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.late_inputs import next_late
from dataops_assets.incidents.reading import Watched, read_problems
from dataops_assets.metadata.decision_store import Hold
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.report import CheckOutcome, InputReport, StepReport

FIRST, SECOND = an_input(0), an_input(1)
SALES = source(owners=("team:shop",))
LINEAGE = Lineage({"raw/sales": [], "lake/sales": ["raw/sales"], "lake/sales_changes": ["lake/sales"]})
WATCHED = Watched({"sales": SALES}, LINEAGE)


def registered(store: MetadataStore) -> None:
    store.contracts.register(SALES)
    store.register_inputs("sales", [FIRST, SECOND])


def seen(url: str, before: dt.datetime | None = None) -> Seen:
    return read_problems(IncidentStore(url), WATCHED, dt.datetime.now(dt.UTC), before)


def found(url: str) -> dict[str, tuple[str, int]]:
    """Severity and number of inputs by problem."""
    return {item.key: (item.severity, len(item.inputs)) for item in seen(url).problems}


def parsed(store: MetadataStore, run: str, *reports: InputReport) -> None:
    store.start("sales", "parse", [item.input_id for item in reports], run)
    store.finish("sales", StepReport("parse", "lake/sales", reports, 1, 1, {}, 1.0), run)


def test_failed_inputs_are_problems_until_they_pass(store: MetadataStore, url: str) -> None:
    registered(store)
    wrong = InputError("parsing", received="amount is 'x'", next_step="send it again")
    parsed(store, "1", InputReport(FIRST.input_id, error=wrong), InputReport(SECOND.input_id, error=wrong))
    (problem,) = seen(url).problems
    assert (problem.key, problem.severity, problem.next_step) == ("lake/sales failed", "fail", "send it again")
    assert (problem.columns, problem.owners, problem.area) == (("amount",), ("team:shop",), "shop")
    assert problem.downstream == ("lake/sales_changes",)
    parsed(store, "2", InputReport(FIRST.input_id))
    assert found(url) == {"lake/sales failed": ("fail", 1)}
    # a temporary fault is tried again by itself; to wait is no problem
    parsed(store, "3", InputReport(SECOND.input_id, error=StorageError("parsing")))
    assert found(url) == {"lake/sales failed": ("warn", 1)}
    parsed(store, "4", InputReport(SECOND.input_id, error=InputWaits("enriching")))
    assert found(url) == {}


def test_a_file_that_is_sent_again_under_its_name_replaces_the_failed_one(store: MetadataStore, url: str) -> None:
    registered(store)
    parsed(store, "1", InputReport(FIRST.input_id, error=InputError("parsing")))
    later = FIRST.arrival + dt.timedelta(hours=1)
    again = replace(FIRST, input_id=f"{FIRST.input_id}x", arrival=later, digest="2", content="2")
    store.register_inputs("sales", [again])
    assert found(url) == {}


def test_killed_and_given_up_runs_are_crashes(store: MetadataStore, url: str) -> None:
    registered(store)
    store.start("sales", "parse", [FIRST.input_id], "1")
    store.end_running("sales", {"1": RunDied("parse of sales")})
    assert found(url) == {"lake/sales crashed": ("warn", 1)}
    store.start("sales", "parse", [FIRST.input_id], "2")
    store.end_running("sales", {"2": GivenUp("parse of sales")})
    assert found(url) == {"lake/sales crashed": ("fail", 1)}


def test_a_held_input_is_one_problem_and_approved_deletes_are_none(store: MetadataStore, url: str) -> None:
    registered(store)
    store.decisions.hold("sales", [Hold(FIRST.input_id, "90 of 100 rows would go; next: approve it", "x")])
    check = CheckOutcome("lake/sales_changes", "deletes", False, "warn", "90 of 100 rows go", FIRST.input_id)
    held = InputReport(FIRST.input_id, error=InputHeld("merging"), checks=(check,))
    store.start("sales", "cdc", [FIRST.input_id], "1")
    store.finish("sales", StepReport("cdc", "lake/sales_changes", (held,), 1, 1, {}, 1.0), "1")
    assert found(url) == {"lake/sales_changes held": ("fail", 1), "lake/sales_changes deletes": ("warn", 1)}
    store.decisions.approve("sales", [FIRST.input_id], "ann")
    store.start("sales", "cdc", [FIRST.input_id], "2")
    store.finish("sales", StepReport("cdc", "lake/sales_changes", (replace(held, error=None),), 1, 1, {}, 1.0), "2")
    assert found(url) == {}


def test_the_newest_report_of_a_check_decides(store: MetadataStore, url: str) -> None:
    registered(store)
    few = CheckOutcome("lake/sales", "volume", False, "warn", "2 rows, at least 10", FIRST.input_id)
    parsed(store, "1", InputReport(FIRST.input_id, checks=(few,)))
    assert found(url) == {"lake/sales volume": ("warn", 1)}
    gate = CheckOutcome("lake/sales", "contract", False, "fail", "3 nulls", SECOND.input_id)
    parsed(
        store,
        "2",
        InputReport(FIRST.input_id, checks=(replace(few, passed=True),)),
        InputReport(SECOND.input_id, error=GateFailed("checking"), checks=(gate, replace(few, input_id=None))),
    )
    # one report: the check fails if it fails for one input
    assert found(url) == {
        "lake/sales failed": ("fail", 1),
        "lake/sales contract": ("fail", 1),
        "lake/sales volume": ("warn", 1),
    }
    parsed(store, "3", InputReport(FIRST.input_id, checks=(replace(few, passed=True),)))
    now = seen(url)
    assert "lake/sales volume" in now.passed
    assert now.brief == []
    # since the look before, it failed and passed again
    assert [item.key for item in seen(url, START).brief] == ["lake/sales volume"]


def test_a_step_that_takes_far_longer_twice_is_a_problem_until_it_is_fast_again(store: MetadataStore, url: str) -> None:
    store.contracts.register(SALES)
    inputs = [an_input(number) for number in range(28)]
    store.register_inputs("sales", inputs)
    passed = CheckOutcome("lake/sales", "volume", True, "warn", "as expected")
    keys = [item.input_id for item in inputs]

    def parse(some: Sequence[str], seconds: float) -> Seen:
        before = dt.datetime.now(dt.UTC)
        reports = [InputReport(key, {"rows": 1000}, checks=(passed,)) for key in some]
        store.start("sales", "parse", some, some[0])
        store.finish("sales", StepReport("parse", "lake/sales", tuple(reports), 1, 1, {}, seconds), some[0])
        return seen(url, before)

    for number, key in enumerate(keys[:24]):
        # a busy machine takes some seconds more now and then
        assert not parse([key], 3 + number % 3 + (9 if number == 21 else 0)).problems
    assert not parse(keys[24:25], 200).problems, "one slow run is the machine"
    (problem,) = parse(keys[25:26], 210).problems
    assert (problem.key, problem.severity) == ("lake/sales duration", "warn")
    assert problem.summary.startswith("parse of sales took 210 s for 1,000 rows, expected at most ")
    assert parse(keys[26:27], 4).passed.keys() == {"lake/sales volume", "lake/sales duration"}


def test_a_removed_input_is_no_problem_any_more(store: MetadataStore, url: str) -> None:
    registered(store)
    refused = CheckOutcome("lake/sales", "schema", False, "fail", "wrong")
    parsed(store, "1", InputReport(FIRST.input_id, error=InputError("parsing"), checks=(refused,)))
    parsed(store, "2", InputReport(SECOND.input_id))
    there = {"lake/sales failed": ("fail", 1), "lake/sales schema": ("fail", 1)}
    assert found(url) == there
    records, before = IncidentStore(url), dt.datetime.now(dt.UTC)
    # a look long after the results finds out, too
    later = before + dt.timedelta(days=1)
    assert seen(url, later).passed == {}
    known = records.fingerprint()
    store.decisions.remove("sales", [FIRST.input_id])
    assert records.fingerprint() != known
    assert found(url) == {}
    assert [row["is_removed"] for row in records.checks(later)] == []
    told = records.checks(before)
    assert [bool(row["is_removed"]) for row in told if row["kind"] == "schema"] == [True]
    assert "lake/sales schema" in seen(url, before + dt.timedelta(minutes=10)).passed


def test_a_source_becomes_late_when_its_window_has_passed(store: MetadataStore, url: str) -> None:
    registered(store)
    records, now = IncidentStore(url), dt.datetime.now(dt.UTC)
    due = next_late(records, WATCHED.sources, now)
    assert due is not None
    assert dt.timedelta(hours=23) < due - now <= dt.timedelta(hours=24)
    for hours, severity in ((0, []), (25, ["warn"]), (49, ["fail"])):
        late = read_problems(records, WATCHED, now + dt.timedelta(hours=hours), None)
        assert [item.severity for item in late.problems if item.kind == "late"] == severity


def test_without_limits_what_is_late_is_learnt_from_the_arrivals(store: MetadataStore, url: str) -> None:
    # a file of each working day, at half past six; the last one is that of Friday
    days = [START + dt.timedelta(days=number) for number in range(67)]
    working = [day for day in days if day.weekday() < 5]
    at = {day: day.replace(hour=6, minute=30 + day.day % 3) for day in working}
    some = [replace(an_input(number), extract_time=day, arrival=at[day]) for number, day in enumerate(working)]
    store.contracts.register(SALES)
    store.register_inputs("sales", some)
    assert working[-1].weekday() == 4
    # history that is loaded now is not late since it was made
    records, seen_at = IncidentStore(url), dt.datetime.now(dt.UTC)

    def late(hours: float, watched: Watched = WATCHED) -> list[tuple[str, str]]:
        told = read_problems(records, watched, seen_at + dt.timedelta(hours=hours), None).problems
        return [(item.severity, item.summary) for item in told if item.kind == "late"]

    assert late(72.1) == [], "the weekend is no gap"
    ((severity, told),) = late(76)
    assert severity == "warn"
    assert told.startswith(
        f"sales: the input after the one of {working[-1]:%Y-%m-%d %H:%M} is missing; it was expected at "
    )
    assert "on Friday" in told
    assert "the next one usually takes 72 hours (learnt from" in told
    assert [severity for severity, _ in late(150)] == ["fail"]
    due = next_late(records, WATCHED.sources, seen_at)
    assert due is not None
    assert dt.timedelta(hours=72) < due - seen_at < dt.timedelta(hours=76)
    declared = source(checks={"freshness": {"warn_after_hours": 100_000, "fail_after_hours": 200_000}})
    assert late(150, Watched({"sales": declared}, LINEAGE)) == [], "declared limits hold instead"
    another = source(checks={"control": {"new_normal": [working[-5].date()]}})
    assert late(25, Watched({"sales": another}, LINEAGE))[0][1].endswith("one is due every 24 hours"), (
        "too few are left"
    )


def test_what_is_not_declared_any_more_is_no_problem(store: MetadataStore, url: str) -> None:
    registered(store)
    parsed(store, "1", InputReport(FIRST.input_id, error=InputError("parsing")))
    assert read_problems(IncidentStore(url), Watched({}, LINEAGE), START, None).problems == []
