"""kill -9 at every write of a rollback: it is resumed, and all is as if nothing had happened. What it excludes, too."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cuts import Cut
from story import (
    SALES,
    STEPS,
    TABLES,
    Story,
    begin,
    big_day,
    in_child,
    metadata_of,
    prepare,
    put_back,
    rows_of,
    run,
)

from dataops_assets.config.source import Source
from dataops_assets.errors import ConfigError, GateFailed, InputError, StorageError
from dataops_assets.metadata.decision_store import Hold
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.metadata.release_store import BEGUN
from dataops_assets.operations.clean_up import clean_up
from dataops_assets.operations.watching import watch
from dataops_assets.report import CheckOutcome, Input, StepReport
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep import releases, rollback
from dataops_assets.steps.upkeep.examination import examine_sources
from dataops_assets.steps.upkeep.lost_data import lost
from dataops_assets.steps.upkeep.releases import Code, make_release
from dataops_assets.steps.upkeep.reset import forget
from dataops_assets.steps.upkeep.retention import settle_inputs
from dataops_assets.steps.upkeep.rollback import Wanted
from dataops_assets.storage import vacuum as vacuuming
from dataops_assets.storage.corrections import Repair
from dataops_assets.storage.delta import Table
from dataops_assets.storage.vacuum import vacuum

CODE = Code("abc", "", "", "a person")
NOTHING = dt.timedelta(0)


def here(story: Story) -> SourceContext:
    """The story with a warehouse that is copied with all the rest."""
    context = story.source_context()
    environment = context.environment.model_copy(update={"warehouse": str(story.now / "warehouse.duckdb")})
    return replace(context, environment=environment)


def build(story: Story, text: str) -> None:
    """Stand for dbt: the warehouse has one table with one row, with a type that Parquet lacks, and a view."""
    with duckdb.connect(str(story.now / "warehouse.duckdb")) as connection:
        connection.execute("CREATE OR REPLACE TABLE fact (id HUGEINT PRIMARY KEY, built VARCHAR NOT NULL)")
        connection.execute("INSERT INTO fact VALUES (170141183460469231731687303715884105727, ?)", [text])
        connection.execute("CREATE OR REPLACE VIEW same AS FROM fact")


def warehouse(story: Story) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(story.now / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute("FROM same").fetchall()


def state_of(story: Story) -> dict[str, Any]:
    context = here(story)
    metadata = metadata_of(story)
    # of each time that it was made, a commit and a check have their own time
    return {
        "tables": {key: rows_of(context, key) or [] for key in TABLES},
        "metadata": {name: part for name, part in metadata.items() if name not in ("inputs", "raw")},
        "warehouse": warehouse(story),
        "corrected": context.corrections.corrected(context.metadata.input_ids("sales")),
        "removals": context.metadata.decisions.removed("sales"),
        "approved": context.metadata.decisions.approved("sales"),
        "to do": [item.input_id for item in context.metadata.unfinished("sales")],
    }


def released(root: Path) -> tuple[Story, list[Input]]:
    """A story with the release v1 of the days 1 and 3, and two more days since then, one of them late."""
    story = prepare(root, SALES)
    days = {day: big_day(story, day) for day in (1, 2, 3, 4)}
    for day in (1, 3):
        assert run(story, [days[day]], STEPS, f"day {day}") == []
    build(story, "then")
    make_release([here(story)], "v1", CODE)
    return story, [days[2], days[4]]


def go_on(story: Story, later: list[Input]) -> None:
    """What happened since the release: later inputs, a corrected row of an earlier one, a removal, another build."""
    assert run(story, later, STEPS, "later") == []
    context = here(story)
    first = context.metadata.inputs("sales")[0]
    context.corrections.record(Repair(first.input_id, "a person", dt.datetime.now(dt.UTC), {61: {"amount": "12"}}))
    forget(context, "parse", [first])
    assert run(story, [first], STEPS[1:], "repair") == []
    build(story, "since")


def roll_back(story: Story, at: int = 0) -> list[str]:
    """Roll back to v1 and leave the later inputs out, killed at operation `at`."""
    context = here(story)
    cut = Cut(at)
    cut.install()
    begun = rollback.begin(context.metadata, context.sources, Wanted("v1", "leave-out", "a person"))
    rollback.carry_out(context.environment, context.metadata, begun)
    return cut.names


def resume(story: Story) -> tuple[str, dict[str, Any]]:
    """In a fresh process: why a step cannot start, and the state after the rollback was resumed, if it had begun."""
    context = here(story)
    unfinished, refused = context.metadata.releases.unfinished(), ""
    if unfinished is None:
        assert [item.state for item in context.metadata.releases.rollbacks()] in ([], ["done"])
        if not context.metadata.releases.rollbacks():
            roll_back(story)
    else:
        try:
            context.metadata.start("sales", "recalculate", [""], "another run")
        except StorageError as error:
            refused = str(error)
        rollback.carry_out(context.environment, context.metadata, unfinished)
    assert lost(context) == []
    return refused, state_of(story)


@pytest.mark.slow
def test_a_rollback_killed_at_any_write_is_resumed(tmp_path: Path) -> None:
    story, later = released(tmp_path / "a")
    answer = tmp_path / "answer"
    then = in_child(state_of, story, answer=answer)
    go_on(story, later)
    since = in_child(state_of, story, answer=answer)
    assert all(then[part] != since[part] for part in ("tables", "metadata", "warehouse", "corrected"))
    shutil.copytree(story.now, tmp_path / "since", copy_function=shutil.copy2)
    names = in_child(roll_back, story, answer=answer)
    done = in_child(state_of, story, answer=answer)
    left_out = {item.input_id for item in later}
    assert done["removals"] == left_out
    for part in ("tables", "warehouse", "corrected", "approved"):
        assert done[part] == then[part], part
    assert done["to do"] == []
    assert of_release(done["metadata"], left_out) == of_release(then["metadata"], set())
    # every commit of a table, and of the other operations the first of each kind
    cuts = [at for at, name in enumerate(names, 1) if name.startswith("commit") or names.index(name) == at - 1]
    assert sum(names[at - 1].startswith("commit of ") for at in cuts) >= len(TABLES)
    begun = 0
    for at in cuts:
        where = f"killed in operation {at}: {names[at - 1]}"
        put_back(tmp_path / "since", story)
        child = begin(roll_back, story, at)
        child.join()
        assert child.exitcode == -signal.SIGKILL, where
        refused, state = in_child(resume, story, answer=answer)
        begun += "dataops rollback --resume" in refused
        assert state == done, where
    assert begun >= len(TABLES)


def test_a_rollback_of_another_metadata_database_restores_what_the_first_one_did(tmp_path: Path) -> None:
    """The metadata come from a backup, so the next rollback has the number of one whose mark the tables know."""
    story, later = released(tmp_path / "a")
    then = state_of(story)["tables"]
    assert run(story, later[:1], STEPS, "later") == []
    database = Path(here(story).environment.metadata_url.removeprefix("sqlite:///"))
    shutil.copy2(database, tmp_path / "backup.db")

    def rolled_back() -> int:
        context = here(story)
        begun = rollback.begin(context.metadata, context.sources, Wanted("v1", "replay", "a person"))
        rollback.carry_out(context.environment, context.metadata, begun)
        return begun.rollback_id

    first = rolled_back()
    assert state_of(story)["tables"] == then
    assert run(story, later[:1], STEPS, "again") == []
    assert state_of(story)["tables"] != then
    shutil.copy2(tmp_path / "backup.db", database)
    assert rolled_back() == first
    assert state_of(story)["tables"] == then


def of_release(metadata: dict[str, Any], later: set[str]) -> dict[str, Any]:
    """What the metadata say of the inputs of the release."""
    return {
        "processes": [item for item in metadata["processes"] if item[1] not in later],
        "profiles": metadata["profiles"],
        "checks": {key: found.passed for key, found in metadata["checks"].items() if key[3] not in later},
    }


def incident(*, is_well: bool) -> dict[str, Any]:
    """A row of the incident of one check, open or resolved."""
    now = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
    words = {"area": "tests", "asset": "hub/sales", "kind": "volume", "summary": "no rows", "next_step": "look"}
    lists: dict[str, Any] = {key: [] for key in ("problems", "owners", "downstream", "inputs", "columns")}
    state = {"state": "resolved", "resolved_at": now} if is_well else {"state": "open", "resolved_at": None}
    counts = {"incident_id": 1, "present": 1, "reopened": 0, "began_at": now, "opened_at": now}
    return {**words, **lists, **state, **counts, "severity": "fail", "source": "sales"}


def test_what_is_failed_held_or_running_is_not_released(tmp_path: Path) -> None:
    story = prepare(tmp_path / "a", SALES)
    day = big_day(story, 1)
    assert run(story, [day], STEPS) == []
    context = here(story)
    context.metadata.start("sales", "parse", [day.input_id], "a run")
    with pytest.raises(StorageError, match="parse of sales is running in run a run"):
        make_release([context], "v1", CODE)
    assert run(story, [day], STEPS) == []
    context.metadata.decisions.hold("sales", [Hold(day.input_id, "too much", "x")])
    with pytest.raises(GateFailed, match=f"input {day.input_id} is held"):
        make_release([context], "v1", CODE)
    context.metadata.decisions.release("sales", [day.input_id])
    assert run(story, [day], STEPS) == []
    # a check of severity fail, and an incident of severity fail that is not resolved
    store = IncidentStore(context.environment.metadata_url)
    for passed in (False, True):
        check = CheckOutcome("hub/sales", "volume", passed, "fail", "no rows")
        context.metadata.finish("sales", StepReport("refresh", "hub/sales", (), 1, 1, {}, 0.0, (check,)), "a run")
        if not passed:
            with pytest.raises(GateFailed, match="hub/sales: the check volume fails: no rows"):
                make_release([context], "v1", CODE)
    store.record("a test", lambda recording: recording.save([incident(is_well=False)], []))
    with pytest.raises(GateFailed, match="incident 1 is open: hub/sales volume"):
        make_release([context], "v1", CODE)

    # the same ends a watch after a deployment, as soon as it is there
    def worse(_seconds: float) -> None:
        store.record("a test", lambda recording: recording.save([incident(is_well=False)], []))

    store.record("a test", lambda recording: recording.save([incident(is_well=True)], []))
    half, every = dt.timedelta(minutes=30), dt.timedelta(seconds=20)
    seconds = iter(range(0, 9_000, 20))
    watched = watch([context], half, every, wait=worse, clock=lambda: float(next(seconds)))
    assert (list(watched.failed), watched.seconds) == (["incident 1 is open: hub/sales volume"], 40.0)
    store.record("a test", lambda recording: recording.save([incident(is_well=True)], []))
    assert watch([context], half, every, wait=lambda _: None, clock=lambda: float(next(seconds))).seconds >= 1800
    made = make_release([context], "v1", CODE)
    assert {item.asset for item in made.tables} == set(TABLES)
    with pytest.raises(InputError, match="a release with this name"):
        make_release([context], "v1", CODE)


def test_a_left_out_input_comes_back_only_if_a_person_takes_it_back(tmp_path: Path) -> None:
    story, later = released(tmp_path / "a")
    assert run(story, later, STEPS, "later") == []
    in_child(roll_back, story, answer=tmp_path / "answer")
    context = here(story)
    with pytest.raises(InputError, match="that a rollback left out"):
        run(story, later[:1], STEPS, "a run that was queued before")
    forget(context, "parse", later[:1])
    with pytest.raises(StorageError, match="a rollback came between the two steps"):
        run(story, later[:1], ["refresh"], "a run that was between two steps")
    assert run(story, later[:1], STEPS[1:], "reset") == []
    assert context.metadata.decisions.removed("sales") == {later[1].input_id}
    assert lost(context) == []


def test_retention_keeps_what_a_release_needs_and_says_what_it_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, later = released(tmp_path / "a")
    context = here(story)
    then = {key: rows_of(context, key) for key in TABLES}
    # every file of the release is replaced
    assert run(story, [*context.metadata.inputs("sales"), *later], STEPS, "later") == []
    monkeypatch.setattr(vacuuming, "YOUNG", NOTHING)
    monkeypatch.setattr(vacuum, "__kwdefaults__", {**(vacuum.__kwdefaults__ or {}), "young": NOTHING})
    clean_up(context, NOTHING)
    assert examine_sources([context], deep=False, with_warehouse=False) == []
    (cost,) = releases.costs(context.environment, context.metadata, {"sales": NOTHING}).values()
    copies = sum(path.stat().st_size for path in (story.now / "warehouse.duckdb.releases").iterdir())
    begun = rollback.begin(context.metadata, context.sources, Wanted("v1", "replay", "a person"))
    shutil.copytree(story.now, tmp_path / "begun", copy_function=shutil.copy2)
    rollback.carry_out(context.environment, context.metadata, begun)
    assert {key: rows_of(context, key) for key in TABLES} == then
    # without the release, its files are removed, and it cannot be what a rollback returns to
    put_back(tmp_path / "begun", story)
    context.metadata.releases.cancel(begun)
    size = bytes_of(story)
    releases.drop_release(context.environment, context.metadata, "v1")
    clean_up(context, NOTHING)
    logs = size["log"] - bytes_of(story)["log"]
    assert size["all"] - bytes_of(story)["all"] - logs == cost - copies > 0


def bytes_of(story: Story) -> dict[str, int]:
    files = [path for path in (story.now / "storage").rglob("*") if path.is_file() and "raw" not in path.parts]
    return {
        "all": sum(path.stat().st_size for path in files),
        "log": sum(path.stat().st_size for path in files if "_delta_log" in path.parts),
    }


def test_a_release_whose_files_are_gone_is_told_and_not_returned_to(tmp_path: Path) -> None:
    story, later = released(tmp_path / "a")
    assert run(story, later, STEPS, "later") == []
    context = here(story)
    hub = context.hub.snapshot()
    (item,) = (item for item in context.metadata.releases.tables_of("v1") if item.asset == "hub/sales")
    gone = Table(context.hub.uri).paths_of(item.version or 0) - {file.path for file in hub.files if hub}
    os.unlink(Path(context.hub.uri) / min(gone))
    (found,) = examine_sources([context], deep=False, with_warehouse=False)
    assert found.place == "release v1"
    assert min(gone) in found.problem
    before = hub.commit_id if hub else ""
    begun = rollback.begin(context.metadata, context.sources, Wanted("v1", "replay", "a person"))
    assert begun.state == BEGUN
    with pytest.raises(StorageError, match="nothing was changed"):
        rollback.carry_out(context.environment, context.metadata, begun)
    head = context.hub.newest()
    assert head is not None
    assert head.commit_id == before
    # steps start again
    assert run(story, later, STEPS, "again") == []


def test_one_area_returns_alone_unless_others_have_frozen_values_of_it(tmp_path: Path) -> None:
    story, later = released(tmp_path / "a")
    go_on(story, later)
    context = here(story)
    made = releases.release_of(context.metadata, "v1")
    line = {"name": "line", "expression": "sale.amount * 2"}
    reading = {
        **SALES,
        "name": "lines",
        "area": "reports",
        "columns": [{"name": "id", "type": "integer"}],
        "refresh": {"type": "full"},
        "relations": {"sale": {"source": "sales", "on": {"id": "id"}}},
        "rules": [line],
        "validations": [],
    }
    frozen = {**context.sources, "lines": Source.model_validate(reading)}
    with pytest.raises(ConfigError, match="lines of the area reports has frozen values of sales"):
        rollback.scope(made, frozen, "tests")
    reading["rules"] = [{**line, "mode": "keep_current"}]
    followed = {**context.sources, "lines": Source.model_validate(reading)}
    assert rollback.scope(made, followed, "tests") == ["sales"]
    begun = rollback.begin(context.metadata, followed, Wanted("v1", "leave-out", "a person", "tests"))
    done = rollback.carry_out(context.environment, context.metadata, begun)
    assert {item.asset for item in done.tables} == set(TABLES)
    # the models of all areas are in one file: dbt makes those of this area again
    assert warehouse(story)[0][1] == "since"


def test_inputs_that_are_settled_since_a_release_return_with_their_bytes(tmp_path: Path) -> None:
    settling = {**SALES, "refresh": {"type": "full", "key": ["id"]}, "retention": {"superseded_inputs": "1 day"}}
    story = prepare(tmp_path / "a", {**settling, "gates": {"deletes": {"max_share": 1.0}}})
    lines = {day: [f"{n},{day},shop 1,{day * n},U" for n in range(1, 6)] for day in (1, 2, 3, 4)}
    days = [story.deliver(day, some) for day, some in lines.items()]
    assert run(story, days[:1], STEPS, "first") == []
    context = here(story)
    then = {key: rows_of(context, key) for key in TABLES}
    make_release([context], "v1", CODE)
    assert run(story, days[1:], STEPS, "later") == []
    retained = settle_inputs(context)
    # day 1 is superseded by day 2, and only the release needs its bytes
    assert retained is not None
    assert (retained.settled, retained.removed, days[0].input_id in context.raw.inputs()) == (2, 0, True)
    assert rows_of(context, "lake/sales") != then["lake/sales"]
    shutil.copytree(story.now, tmp_path / "settled", copy_function=shutil.copy2)
    begun = rollback.begin(context.metadata, context.sources, Wanted("v1", "leave-out", "a person"))
    rollback.carry_out(context.environment, context.metadata, begun)
    assert {key: rows_of(context, key) for key in TABLES} == then
    assert lost(context) == []
    # an input from before the horizon that was settled meanwhile can change again
    forget(context, "parse", days[:1])
    assert run(story, days[:1], STEPS[1:], "again") == []
    put_back(tmp_path / "settled", story)
    releases.drop_release(context.environment, context.metadata, "v1")
    assert settle_inputs(context) == replace(retained, removed=1)
    assert days[0].input_id not in context.raw.inputs()
