"""Any sequence of calls leaves the store saying what a few dictionaries say."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from metadata_examples import START, an_input, source

from dataops_assets.config.rules import Rule
from dataops_assets.errors import DataOpsError, GateFailed, InputError
from dataops_assets.metadata.store import Arrival, MetadataStore
from dataops_assets.metadata.tables import plain, storable
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport

_names = itertools.count()

POOL = [an_input(number, digest=f"{number % 3}") for number in range(8)]
TEXTS = st.text(max_size=12) | st.sampled_from(["\x00", "\udc80", "'; --", "%s", ":x", "\\x00", "\U0001f600"])
TIMES = st.datetimes(
    dt.datetime.fromisoformat("1900-01-01"),
    dt.datetime.fromisoformat("2200-01-01"),
    timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=9))]),
)
INPUTS = st.builds(lambda item, origin: replace(item, origin=origin), st.sampled_from(POOL), TEXTS)
# Beyond these PostgreSQL's JSON gives an integer back, whose last digits differ from the float's
NUMBERS = st.floats(-1e15, 1e15) | st.sampled_from([float("nan"), float("inf")])
COUNTS = st.dictionaries(st.sampled_from(["rows", "new", "deleted", "files read"]), st.integers(0, 2**62), max_size=4)
CHECKS = st.builds(
    CheckOutcome,
    asset=st.just("lake/sales"),
    check=st.sampled_from(["volume", "schema", "validation"]),
    passed=st.booleans(),
    severity=st.sampled_from(["warn", "fail"]),
    explanation=TEXTS,
    input_id=st.none(),
    numbers=st.dictionaries(TEXTS, NUMBERS | st.integers() | TEXTS | st.none(), max_size=3),
)
ERRORS = st.none() | st.builds(InputError, TEXTS) | st.builds(GateFailed, TEXTS)
COLUMNS = st.builds(
    ColumnProfile,
    name=TEXTS,
    type=st.just("VARCHAR"),
    nulls=st.integers(0, 2**62),
    distinct=st.integers(0, 2**62),
    min=st.none() | TEXTS,
    max=st.none() | TEXTS,
    mean=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    stddev=st.none() | st.floats(0, 1e300),
)
STEPS = st.sampled_from(["parse", "recalculate"])
RUNS = st.sampled_from(["run 1", "run 2"])


class Model(RuleBasedStateMachine):
    """The store and what it should say."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.name = f"source_{next(_names)}"
        self.store = MetadataStore(url)
        self.contracts: list[int] = []
        self.inputs: dict[str, Input] = {}
        # in which call an input was registered
        self.registered: dict[str, int] = {}
        self.arrivals: dict[Any, Arrival] = {}
        self.processes: dict[tuple[str, str], dict[str, Any]] = {}
        self.checks: list[tuple[str, CheckOutcome]] = []
        self.profiles: dict[tuple[str, str], Profile] = {}
        self.register_source(0)
        # Most rules need inputs to be about
        self.register_inputs(POOL[:2])

    @rule(variant=st.integers(0, 2))
    def register_source(self, variant: int) -> None:
        if not self.contracts or self.contracts[-1] != variant:
            self.contracts.append(variant)
        declared = source(self.name, rules=tuple(Rule(name=f"r{number}", expression="1") for number in range(variant)))
        assert self.store.contracts.register(declared) == len(self.contracts)

    @rule(inputs=st.lists(INPUTS, max_size=6, unique_by=lambda item: item.input_id))
    def register_inputs(self, inputs: list[Input]) -> None:
        new = [item.input_id for item in inputs if item.input_id not in self.inputs]
        assert self.store.register_inputs(self.name, inputs) == new
        call = len(self.registered)
        for item in inputs:
            self.inputs.setdefault(item.input_id, replace(item, origin=storable(item.origin)))
            self.registered.setdefault(item.input_id, call)

    @rule(data=st.data())
    def remember_arrivals(self, data: st.DataObject) -> None:
        arrival = st.builds(
            Arrival,
            origin=st.sampled_from(["/a", "/b"]),
            size=st.integers(0, 1),
            modified=TIMES | st.just(START),
            digest=TEXTS,
            input_id=st.sampled_from([None, *self.inputs]),
            seen_at=TIMES,
            note=TEXTS,
        )
        arrivals = data.draw(st.lists(arrival, max_size=4))
        self.store.remember_arrivals(self.name, arrivals)
        for item in arrivals:
            kept = replace(item, digest=storable(item.digest), note=storable(item.note))
            self.arrivals[(item.origin, item.size, item.modified)] = kept

    def ids_for(self, step: str) -> list[str]:
        return [""] if step == "recalculate" else sorted(self.inputs)

    @rule(step=STEPS, run=RUNS, data=st.data())
    def start(self, step: str, run: str, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.ids_for(step)), min_size=1, unique=True))
        self.store.start(self.name, step, ids, run)
        for input_id in ids:
            before = self.processes.get((step, input_id), {"attempts": 0})
            self.processes[step, input_id] = {
                "status": "running",
                "attempts": before["attempts"] + 1,
                "run_id": run,
                "contract_version": len(self.contracts),
                "counts": {},
                "error": None,
                "seconds": None,
            }

    @rule(step=STEPS, run=RUNS, data=st.data())
    def finish(self, step: str, run: str, data: st.DataObject) -> None:
        one = st.builds(
            InputReport,
            input_id=st.sampled_from(self.ids_for(step)),
            counts=COUNTS,
            error=ERRORS,
            checks=st.lists(CHECKS, max_size=2).map(tuple),
        )
        reports = data.draw(st.lists(one, min_size=1, max_size=4, unique_by=lambda item: item.input_id))
        of_table = tuple(data.draw(st.lists(CHECKS, max_size=1)))
        report = StepReport(step, "lake/sales", tuple(reports), 1, None, {}, 3.0, of_table)
        self.store.finish(self.name, report, run)
        for item in reports:
            key = (step, item.input_id)
            fresh = {"attempts": 1, "run_id": run, "contract_version": len(self.contracts)}
            before = self.processes.get(key, fresh)
            if before["run_id"] == run:
                self.processes[key] = {
                    **before,
                    "status": "failed" if item.error else "done",
                    "counts": dict(item.counts),
                    "error": storable(str(item.error)) if item.error else None,
                    "seconds": 3.0 / len(reports),
                }
        self.checks += [(run, check) for check in of_table]
        self.checks += [
            (run, replace(check, input_id=item.input_id or None)) for item in reports for check in item.checks
        ]

    @rule(asset=st.sampled_from(["lake/sales", "hub/sales"]), data=st.data())
    def save_profiles(self, asset: str, data: st.DataObject) -> None:
        profile = st.builds(
            Profile,
            asset=st.just(asset),
            input_id=st.sampled_from(["", *self.inputs]),
            rows=st.integers(0, 2**62),
            columns=st.lists(COLUMNS, max_size=2).map(tuple),
        )
        profiles = data.draw(st.lists(profile, min_size=1, max_size=4, unique_by=lambda item: item.input_id))
        self.store.profiles.save(self.name, asset, profiles)
        self.profiles.update({(asset, item.input_id): item for item in profiles})

    @rule()
    def refused_calls_change_nothing(self) -> None:
        refused = 0
        for call in (
            lambda: self.store.start(self.name, "parse", [*self.inputs, "unheard-of"], "run 1"),
            lambda: self.store.profiles.save(self.name, "lake/sales", [Profile("lake/sales", "unheard-of", 1, ())]),
        ):
            try:
                call()
            except DataOpsError:
                refused += 1
        assert refused == 2

    @rule()
    def open_again(self) -> None:
        self.store = MetadataStore(self.url)
        self.store.migrate()

    @rule(exclude=st.lists(st.sampled_from(["", *(item.input_id for item in POOL)])), limit=st.integers(1, 3))
    def profiles_agree(self, exclude: list[str], limit: int) -> None:
        newest_first = sorted(self.inputs.values(), reverse=True)
        # of the versions of one file the last one
        files: dict[Any, str] = {}
        for input_id in sorted(self.inputs, key=lambda name: (self.registered[name], name)):
            files[self.inputs[input_id].origin, self.inputs[input_id].extract_time] = input_id
        newest_first = [item for item in newest_first if item.input_id in files.values()]
        ids = [item.input_id for item in newest_first] + [""]
        for asset in ("lake/sales", "hub/sales"):
            known = [self.profiles[asset, key] for key in ids if (asset, key) in self.profiles and key not in exclude]
            expected = [_kept(item) for item in known[:limit]]
            assert self.store.profiles.newest(self.name, asset, exclude, limit) == expected

    def all_agrees(self) -> None:
        name = self.name
        assert self.store.inputs(name) == sorted(self.inputs.values())
        arrivals = sorted(self.arrivals.values(), key=lambda item: (item.origin, item.modified, item.size))
        assert self.store.arrivals(name) == arrivals
        processes = self.store.processes(name)
        assert [(item.step, item.input_id) for item in processes] == sorted(self.processes)
        for item in processes:
            expected = self.processes[item.step, item.input_id]
            assert {field: getattr(item, field) for field in expected} == expected
            assert item.finished_at is None or item.finished_at >= item.started_at
        for step in ("parse", "recalculate"):
            status = {key: item["status"] for (of, key), item in self.processes.items() if of == step}
            assert self.store.step_status(name, step) == status
        kept = [(item.run_id, item.outcome) for item in self.store.check_results(name)]
        assert kept == [
            (run, replace(check, explanation=storable(check.explanation), numbers=plain(check.numbers)))
            for run, check in self.checks
        ]

    def teardown(self) -> None:
        self.all_agrees()
        self.profiles_agree([], 9)


def _kept(profile: Profile) -> Profile:
    columns = tuple(
        replace(
            column,
            name=storable(column.name),
            min=None if column.min is None else storable(column.min),
            max=None if column.max is None else storable(column.max),
        )
        for column in profile.columns
    )
    return replace(profile, columns=columns)


def test_the_store_says_what_the_model_says(url: str) -> None:
    examples = 16 if url.startswith("sqlite") else 4
    run_state_machine_as_test(
        lambda: Model(url),
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
        ),
    )
