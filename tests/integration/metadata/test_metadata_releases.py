"""Releases and rollbacks in the metadata, on both databases: what is put back, and what is excluded meanwhile."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import replace

import pytest
from metadata_examples import source

from dataops_assets.errors import CommitConflict, InputError, StorageError
from dataops_assets.metadata.decision_store import Hold
from dataops_assets.metadata.release_store import (
    Activity,
    LaterInputs,
    Release,
    ReleaseTable,
    RestoredTable,
    Rollback,
)
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport

NOW = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
RELEASE = Release("v1", NOW, "a person", "", "abc", "", "", {"sales": 1}, {})
TABLES = [ReleaseTable("hub/sales", "sales", 3, "c3", 5), ReleaseTable("warehouse", None, None, "", None, "x.duckdb")]


def made(day: int) -> Input:
    time = NOW + dt.timedelta(days=day)
    return Input(time, time, f"input {day}", f"d{day}", f"/{day}.csv", 10, content=f"d{day}")


def profile(day: int, rows: int) -> Profile:
    column = ColumnProfile("id", "BIGINT", 0, rows, "1", str(rows), rows / 2, None)
    return Profile("lake/sales", f"input {day}", rows, (column,))


def done(store: MetadataStore, step: str, day: int, run_id: str, *, passed: bool = True) -> None:
    """A step of an input that a run does, with a check of it and a profile."""
    store.start("sales", step, [f"input {day}"], run_id)
    checks = (CheckOutcome("lake/sales", "volume", passed, "warn", run_id),)
    report = InputReport(f"input {day}", {"rows": day}, checks=checks, written=run_id)
    store.finish("sales", StepReport(step, "lake/sales", (report,), 1, 1, {}, 1.0), run_id)
    store.profiles.save("sales", "lake/sales", [profile(day, len(run_id))])


def released(store: MetadataStore) -> None:
    store.contracts.register(source("sales"))
    store.register_inputs("sales", [made(1), made(2)])
    for step in ("ingest", "parse"):
        done(store, step, 1, "then")
    store.decisions.remove("sales", ["input 2"])
    store.releases.make(RELEASE, TABLES, ["sales"], store.releases.activity(["sales"]))


def wanted(later: LaterInputs) -> Rollback:
    return Rollback(0, "v1", "", ["sales"], later, {}, "begun", "a person", NOW)


def told(store: MetadataStore) -> dict[str, object]:
    """What the metadata say, but for times."""
    newest = {(found.step, found.outcome.input_id): found.outcome for found in store.check_results("sales")}
    return {
        "processes": [(item.step, item.input_id, item.run_id, item.written) for item in store.processes("sales")],
        "profiles": store.profiles.newest("sales", "lake/sales"),
        "checks": {key: outcome.explanation for key, outcome in newest.items()},
        "removals": store.decisions.removed("sales"),
        "arrivals": {item.input_id: item.arrival for item in store.inputs("sales")},
        "to do": [item.input_id for item in store.unfinished("sales")],
    }


@pytest.mark.parametrize("later", ["leave-out", "replay"])
def test_a_rollback_puts_back_what_the_metadata_said(store: MetadataStore, later: LaterInputs) -> None:
    released(store)
    then = told(store)
    # input 1 is parsed again and arrives again, input 2 comes back, input 3 is new and done, input 4 was removed
    done(store, "parse", 1, "again", passed=False)
    store.register_inputs("sales", [replace(made(1), arrival=NOW + dt.timedelta(days=9)), made(3), made(4)])
    for day in (2, 3, 4):
        for step in ("ingest", "parse", "cdc", "enrich", "refresh"):
            done(store, step, day, "since")
    store.decisions.remove("sales", ["input 4"])
    store.contracts.evolve("sales", {"extra": ["Extra"]}, [])
    since = told(store)
    assert all(then[part] != since[part] for part in then)
    begun = store.releases.begin(wanted(later))
    assert begun.inputs == {"sales": ["input 3", "input 4"]}
    restored = [RestoredTable("hub/sales", 3, 9)]
    store.releases.finish(begun, restored)
    # it has ended: once more changes nothing
    store.releases.finish(begun, [])
    now = told(store)
    out = {"input 3", "input 4"} if later == "leave-out" else {"input 4"}
    ingested = [("ingest", "input 3", "since", "since"), ("ingest", "input 4", "since", "since")]
    assert sorted(now["processes"]) == sorted([*then["processes"], *ingested])  # type: ignore[misc, call-overload]
    assert now["removals"] == {"input 2"} | out
    assert now["profiles"] == then["profiles"]
    assert now["checks"][("parse", "input 1")] == "then"  # type: ignore[index]
    assert now["to do"] == ["input 1", "input 2", *([] if later == "leave-out" else ["input 3"])]
    moved = NOW + dt.timedelta(days=1 if later == "leave-out" else 9)
    assert now["arrivals"]["input 1"] == moved  # type: ignore[index]
    # the contract of the release is in force again, as a new version
    assert store.contracts.register(source("sales")) == 3
    assert store.releases.restored_tables(begun.rollback_id) == restored
    (ended,) = store.releases.rollbacks()
    assert (ended.state, ended.ended_at is not None) == ("done", True)
    assert store.releases.unfinished() is None
    with pytest.raises(InputError, match="that a rollback left out, such as input 4"):
        store.start("sales", "ingest", ["input 4"], "a run that was queued before")
    store.releases.take_back("sales", ["input 4"])
    store.start("sales", "ingest", ["input 4"], "reset")


def test_a_release_is_of_one_moment_and_its_name_is_taken_once(store: MetadataStore) -> None:
    released(store)
    seen = store.releases.activity(["sales"])
    with pytest.raises(InputError, match="a release with this name"):
        store.releases.make(RELEASE, TABLES, ["sales"], seen)
    done(store, "parse", 1, "meanwhile")
    with pytest.raises(CommitConflict, match="a step ran meanwhile"):
        store.releases.make(replace(RELEASE, release="v2"), TABLES, ["sales"], seen)
    assert [item.release for item in store.releases.releases()] == ["v1"]
    assert store.releases.tables_of("v1") == TABLES
    assert (store.releases.pinned("hub/sales"), store.releases.pins()) == ({3}, {"x.duckdb"})
    assert store.releases.pinned_inputs("sales") == {"input 1", "input 2"}
    begun = store.releases.begin(wanted("replay"))
    with pytest.raises(StorageError, match="dataops rollback --resume"):
        store.releases.drop("v1")
    store.releases.cancel(begun)
    store.releases.drop("v1")
    assert (store.releases.releases(), store.releases.tables_of("v1"), store.releases.pins()) == ([], [], frozenset())


def test_one_rollback_at_a_time_also_of_other_sources(store: MetadataStore) -> None:
    """Rollbacks of disjoint sources begin together: each would lock its own rows alone."""
    names = ["customers", "sales", "shops"]
    for name in names:
        store.contracts.register(source(name))
        store.releases.make(replace(RELEASE, release=name, contracts={name: 1}), [], [name], Activity(((),) * 5))
    ready, begun = threading.Barrier(len(names)), []

    def begin(name: str) -> None:
        ready.wait()
        try:
            begun.append(store.releases.begin(replace(wanted("replay"), release=name, sources=[name])))
        except StorageError:
            return

    for _ in range(5):
        threads = [threading.Thread(target=begin, args=[name]) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (only,) = begun
        store.releases.cancel(only)
        begun.clear()
    store.releases.drop("shops")
    with pytest.raises(InputError, match="this one was dropped"):
        store.releases.begin(replace(wanted("replay"), release="shops", sources=["shops"]))


def test_whatever_happens_to_steps_and_inputs_is_another_activity(store: MetadataStore) -> None:
    """SQLite gives the number of a deleted row to the next one, and who holds an input starts no step."""
    store.contracts.register(source("sales"))
    seen = []

    def look() -> None:
        assert store.releases.activity(["sales"]) not in seen
        seen.append(store.releases.activity(["sales"]))

    look()
    store.register_inputs("sales", [made(1)])
    look()
    for step in ("ingest", "refresh"):
        done(store, step, 1, "first")
        look()
    store.forget("sales", ["refresh"], ["input 1"])
    done(store, "refresh", 1, "again")
    look()
    store.decisions.hold("sales", [Hold("input 1", "it deletes too much", "")])
    look()
    store.decisions.release("sales", ["input 1"])
    look()
    store.decisions.remove("sales", ["input 1"])
    look()


def test_a_rollback_and_a_step_exclude_each_other_whoever_comes_first(store: MetadataStore) -> None:
    """Many begin at once: where a step has started no rollback begins, and where one has begun no step starts."""
    released(store)
    ended: list[str] = []
    ready = threading.Barrier(4)

    def start(number: int) -> None:
        ready.wait()
        try:
            store.start("sales", "parse", ["input 1"], f"run {number}")
            ended.append("step")
        except StorageError:
            ended.append("refused")

    def roll_back() -> None:
        ready.wait()
        try:
            store.releases.begin(wanted("replay"))
            ended.append("rollback")
        except StorageError:
            ended.append("refused")

    for _ in range(5):
        ended.clear()
        threads = [threading.Thread(target=start, args=[number]) for number in range(2)]
        threads += [threading.Thread(target=roll_back) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended) == 4
        assert ("step" in ended) != ("rollback" in ended)
        assert ended.count("rollback") <= 1
        if (begun := store.releases.unfinished()) is not None:
            store.releases.cancel(begun)
        store.end_running("sales", {f"run {number}": StorageError("a test") for number in range(2)})
