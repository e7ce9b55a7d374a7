"""The sensor's law: whatever happens between two looks, every input is taken once, and what cannot be is let be.

Discovery, metadata and the decision are the real ones; Dagster's runs are kept in a book, so that looks, runs, crashes
and restarts can come in any order, hundreds of times.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from code_location import standalone
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.components.assets import SourceAssets
from dataops_assets.components.platform import Platform
from dataops_assets.components.run_attempts import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from dataops_assets.components.source_look import Look, look
from dataops_assets.config.environment import environment_from
from dataops_assets.config.source import Source
from dataops_assets.errors import InputError, StorageError
from dataops_assets.report import PER_INPUT, InputReport, StepReport
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.steps.merging.refused_inputs import judged_against
from dataops_assets.steps.upkeep import lost_data

SOURCE = Source.model_validate(standalone() | {"discovery": {"inputs_per_run": 3}})
ASSETS = SourceAssets(SOURCE, {"orders": SOURCE}, compile_rules(SOURCE, {"orders": SOURCE}))
WIDE = SOURCE.model_copy(update={"discovery": SOURCE.discovery.model_copy(update={"inputs_per_run": 9})})
STEP_OF = {"raw/orders": "ingest", "lake/orders": "parse", "lake/orders_changes": "cdc"}
STEP_OF |= {"hub/orders_enriched": "enrich", "hub/orders": "refresh"}
NEW_YEAR = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _whole_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this world write no tables, so none is searched for lost data: that has tests of its own."""
    monkeypatch.setattr(lost_data, "lost", lambda *_: [])


@dataclass
class Run:
    run_key: str
    tags: dict[str, str]
    asset_selection: frozenset[dg.AssetKey]
    inputs: tuple[str, ...]
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED
    end_time: float | None = None

    @property
    def run_id(self) -> str:
        return self.run_key


@dataclass
class Book:
    """What an instance knows: partitions in the order they were added, and runs, one a run key."""

    partitions: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def get_dynamic_partitions(self, name: str) -> Sequence[str]:
        assert name == "orders_inputs"
        return list(self.partitions)

    def get_runs(self, filters: dg.RunsFilter) -> Sequence[Run]:
        return [
            run
            for run in self.runs
            if run.status in (filters.statuses or [run.status])
            and run.run_key in (filters.run_ids or [run.run_key])
            and all(run.tags.get(name) == value for name, value in (filters.tags or {}).items())
        ]

    def get_run_records(self, filters: dg.RunsFilter, limit: int) -> Sequence[Run]:
        return sorted(self.get_runs(filters), key=lambda run: -(run.end_time or 0))[:limit]

    def get_materialized_partitions(self, _key: dg.AssetKey) -> set[str]:
        """Whatever was made was told: what was not is another test's."""
        return set(self.partitions)

    def fetch_materializations(self, _key: dg.AssetKey, limit: int) -> Any:
        newest = SimpleNamespace(metadata={"table_version": SimpleNamespace(value=0)})
        return SimpleNamespace(records=[SimpleNamespace(asset_materialization=newest)][:limit])

    def get_asset_records(self, keys: Sequence[dg.AssetKey]) -> Sequence[Any]:
        return [SimpleNamespace(asset_entry=SimpleNamespace(asset_key=key, last_materialization=key)) for key in keys]

    def get_runs_count(self, filters: dg.RunsFilter) -> int:
        return len(self.get_runs(filters))

    def submit(self, request: dg.RunRequest) -> None:
        if any(run.run_key == request.run_key for run in self.runs):
            return
        first = request.tags.get(PARTITION_TAG) or request.tags[RANGE_START_TAG]
        last = request.tags.get(PARTITION_TAG) or request.tags[RANGE_END_TAG]
        inputs = tuple(self.partitions[self.partitions.index(first) : self.partitions.index(last) + 1])
        keys = frozenset(request.asset_selection or ())
        self.runs.append(Run(str(request.run_key), dict(request.tags), keys, inputs))


class World:
    def __init__(self, home: Path) -> None:
        self.landing = home / "landing" / "orders"
        self.landing.mkdir(parents=True)
        self.environment = environment_from({"DATAOPS_ENV": "test", "DATAOPS_HOME": str(home)}, home)
        self.book = Book()
        self.cursor = ""
        self.now = NEW_YEAR
        self.told: Counter[str] = Counter()
        self.ingested: Counter[str] = Counter()
        self.merged: Counter[str] = Counter()
        self.crashes = 0
        self.restart()

    def restart(self) -> None:
        self.platform = Platform(self.environment)

    def land(self, day: int, kind: str) -> None:
        # the same day again is a correction, another version of the file
        path = self.landing / f"orders_2024-01-{day:02}.csv"
        version = path.read_text().count("version") if path.exists() else 0
        path.write_text(f"{kind} {day} {'version ' * (version + 1)}")

    def copy(self, day: int) -> None:
        path = self.landing / f"orders_2024-01-{day:02}.csv"
        if path.exists():
            (self.landing / f"orders_2024-01-{day:02}.csv.copy").write_bytes(path.read_bytes())

    def look(self, *, lost: bool = False) -> Look:
        seen = look(ASSETS, self.platform, cast(Any, self.book), self.cursor, self.now)
        queued = self.book.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
        running = {one for run in queued for one in run.inputs}
        partitions = [*self.book.partitions, *seen.new_partitions]
        assert len(partitions) == len(set(partitions))
        merged = self.platform.metadata.step_status("orders", "refresh")
        done = {key for key, status in merged.items() if status == "done"}
        if lost:
            return seen
        self.book.partitions = partitions
        self.cursor = seen.told
        self.told.update(str(item.metadata["origin"].value) for item in seen.events if "arrived" in item.metadata)
        before = len(self.book.runs)
        for request in seen.requests:
            self.book.submit(request)
            # a daemon that died in between submits what it had reserved
            self.book.submit(request)
        requested = [one for run in self.book.runs[before:] for one in run.inputs]
        assert len(requested) == len(set(requested))
        assert not set(requested) & (running | done | self.refused())
        assert all(len(run.inputs) <= ASSETS.source.discovery.inputs_per_run for run in self.book.runs)
        return seen

    def refused(self) -> set[str]:
        found = self.platform.metadata.processes("orders", "parse")
        return {item.input_id for item in found if item.status == "failed" and item.error_type == "InputError"}

    def work(self, crash: str = "") -> None:
        """The oldest run that waits is executed; `crash`: before any step, or within one."""
        waiting = [run for run in self.book.runs if run.status == dg.DagsterRunStatus.QUEUED]
        if not waiting:
            return
        run = waiting[0]
        self.crashes += bool(crash)
        run.status = dg.DagsterRunStatus.FAILURE if crash == "before" else self._execute(run, crash)
        run.end_time = self.now.timestamp()

    def _execute(self, run: Run, crash: str) -> dg.DagsterRunStatus:
        metadata = self.platform.metadata
        selected = {STEP_OF["/".join(key.path)] for key in run.asset_selection if "/".join(key.path) in STEP_OF}
        for step in [step for step in PER_INPUT if step in selected]:
            metadata.start("orders", step, run.inputs, run.run_key)
            if crash == step or (step == "parse" and any(self._kind(one) == "deadly" for one in run.inputs)):
                return dg.DagsterRunStatus.CANCELED
            reports = [InputReport(one, error=self._fault(step, one)) for one in run.inputs]
            self.ingested.update(run.inputs if step == "ingest" else [])
            self.merged.update(run.inputs if step == "refresh" else [])
            context = self.platform.source_context(ASSETS.source, {"orders": ASSETS.source})
            against = judged_against(context, step, metadata.inputs("orders", run.inputs))
            metadata.finish("orders", StepReport(step, "asset", tuple(reports), 0, 0, {}, 0.1), run.run_key, against)
            if any(report.error for report in reports):
                return dg.DagsterRunStatus.FAILURE
        return dg.DagsterRunStatus.SUCCESS

    def _kind(self, input_id: str) -> str:
        origin = self.platform.metadata.inputs("orders", [input_id])[0].origin
        return Path(origin).read_text().split()[0]

    def _fault(self, step: str, input_id: str) -> InputError | StorageError | None:
        kind = self._kind(input_id)
        attempts = {item.input_id: item.attempts for item in self.platform.metadata.processes("orders", step)}
        if kind == "bad" and step == "parse":
            return InputError("parsing", received="nonsense")
        if kind == "flaky" and step == "cdc" and attempts[input_id] < 3:
            return StorageError("writing")
        return None


days = st.integers(1, 9)
kinds_of_file = st.sampled_from(["good", "good", "good", "bad", "flaky"])
acts = st.one_of(
    st.tuples(st.just("land"), days, kinds_of_file),
    st.tuples(st.just("deliver"), days, kinds_of_file),
    st.tuples(st.just("copy"), days),
    st.tuples(st.just("look"), st.booleans()),
    st.tuples(st.just("work"), st.sampled_from(["", "", "before", "parse", "refresh"])),
    st.tuples(st.just("clock"), st.integers(-400, 400)),
    st.tuples(st.just("restart")),
)


def do(world: World, kinds: dict[int, str], act: str, arguments: Sequence[Any]) -> None:
    match act:
        case "land" | "deliver":
            # what a file is does not change with its corrections
            kinds.setdefault(arguments[0], arguments[1])
            world.land(arguments[0], kinds[arguments[0]])
            if act == "deliver":
                world.look()
        case "copy":
            world.copy(arguments[0])
        case "look":
            world.look(lost=arguments[0])
        case "work":
            world.work(arguments[0])
        case "clock":
            world.now = NEW_YEAR + dt.timedelta(days=arguments[0])
        case "restart":
            world.restart()


@settings(max_examples=40, deadline=None)
@given(st.lists(acts, min_size=5, max_size=25))
def test_every_input_is_taken_once_whatever_happens_between_two_looks(history: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        world = World(Path(home))
        kinds: dict[int, str] = {}
        for act, *arguments in history:
            do(world, kinds, act, arguments)
        for _ in range(60):
            # whatever waits for a next try waits no longer than this
            world.now += dt.timedelta(hours=2)
            world.look()
            if all(run.status != dg.DagsterRunStatus.QUEUED for run in world.book.runs):
                break
            while any(run.status == dg.DagsterRunStatus.QUEUED for run in world.book.runs):
                world.work()
        else:
            pytest.fail("the sensor never comes to rest")

        inputs = world.platform.metadata.inputs("orders")
        assert set(world.book.partitions) == {item.input_id for item in inputs}
        merged = world.platform.metadata.step_status("orders", "refresh")
        for item in inputs:
            day = int(Path(item.origin).name[15:17])
            wanted = None if kinds[day] == "bad" else "done"
            assert merged.get(item.input_id) == wanted, (item, kinds[day])
            if not world.crashes:
                assert world.ingested[item.input_id] == 1
                assert world.merged[item.input_id] == (0 if kinds[day] == "bad" else 1)
        duplicates = {item.origin for item in world.platform.metadata.arrivals("orders") if item.note and item.input_id}
        assert set(world.told) == duplicates


@pytest.mark.parametrize("deadly", [(1,), (9,), (4, 5), (2, 7)], ids=str)
def test_an_input_that_kills_its_runs_is_found_by_halves_and_no_other_is_given_up(
    tmp_path: Path, deadly: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_sensors_law.ASSETS", replace(ASSETS, source=WIDE))
    world = World(tmp_path)
    for day in range(1, 10):
        world.land(day, "deadly" if day in deadly else "good")
    shown: list[str] = []
    for _ in range(12):
        shown += [str(event.partition) for event in world.look().events]
        while any(run.status == dg.DagsterRunStatus.QUEUED for run in world.book.runs):
            world.work()
    metadata = world.platform.metadata
    ids = {int(Path(item.origin).name[15:17]): item.input_id for item in metadata.inputs("orders")}
    merged = metadata.step_status("orders", "refresh")
    assert {day for day, one in ids.items() if merged.get(one) == "done"} == set(range(1, 10)) - set(deadly)
    # the metadata says it of these alone, with the reason, and the UI at their own partitions, once
    rows = {item.input_id: item for item in metadata.processes("orders", "parse") if item.status == "failed"}
    assert set(rows) == {ids[day] for day in deadly}
    for row in rows.values():
        assert row.error_type == "GivenUp"
        assert f"{row.input_id} is given up for now: 3 runs for it alone ended without parse" in str(row.error)
        assert "one input alone; received: run orders:" in str(row.error)
    assert sorted(shown) == sorted(rows)
    # nine inputs, then halves of them: nobody is tried more often than that takes
    assert max(sum(one in run.inputs for run in world.book.runs) for one in ids.values() if one not in rows) <= 5
    # it is tried again later, and the pause grows; what is corrected meanwhile is done
    before = len(world.book.runs)
    world.now += dt.timedelta(minutes=1)
    world.look()
    assert len(world.book.runs) == before + len(deadly)
    while any(run.status == dg.DagsterRunStatus.QUEUED for run in world.book.runs):
        world.work()
    world.now += dt.timedelta(minutes=1)
    world.look()
    assert len(world.book.runs) == before + len(deadly)
    for day in deadly:
        path = world.landing / f"orders_2024-01-{day:02}.csv"
        path.write_text(path.read_text().replace("deadly", "mended"))
    world.now += dt.timedelta(minutes=1)
    world.look()
    while any(run.status == dg.DagsterRunStatus.QUEUED for run in world.book.runs):
        world.work()
    assert set(metadata.step_status("orders", "refresh").values()) == {"done"}


def test_runs_that_die_before_a_step_begins_count_against_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    for day in (1, 2, 3):
        world.land(day, "good")
    for _ in range(3):
        world.look()
        world.work("before")
    seen = world.look()
    (message,) = [text for text in seen.messages if "3 runs for" in text]
    assert " ended before ingest began; tried again at 2024-01-01 00:01:00 UTC" in message
    assert not seen.requests
    failed = world.platform.metadata.processes("orders", "ingest")
    assert [(item.status, item.error_type, item.error) for item in failed] == [("failed", "GivenUp", message)] * 3
    world.now += dt.timedelta(minutes=1)
    (request,) = world.look().requests
    world.work()
    assert set(world.platform.metadata.step_status("orders", "refresh").values()) == {"done"}
    assert request.tags[RANGE_START_TAG] != request.tags[RANGE_END_TAG], "they stay together"
