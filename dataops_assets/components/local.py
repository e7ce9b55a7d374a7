"""Look for inputs, do their runs and automation without a daemon: for `dataops run` and the demonstration.

The looks, the runs and the instance are the same as with a daemon; only waiting is missing. Forks of this process do
the runs of different sources side by side, if it may have forks.
"""

from __future__ import annotations

import io
import json
import logging
import os
import time
import uuid
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from dataops_assets.components.assets import PLATFORM, SourceAssets
from dataops_assets.components.dead_runs import KILLED, end_runs_left_behind
from dataops_assets.components.incident_sensor import SENSOR as INCIDENTS
from dataops_assets.components.inherited_tables import declared_as_in_force, inherit, is_new
from dataops_assets.components.input_partitions import partitions_name, partitions_read_once
from dataops_assets.components.kept_connections import keep_sqlite_open
from dataops_assets.components.local_runs import alone, forget, lock_beside, note
from dataops_assets.components.look_and_tell import look_and_tell
from dataops_assets.components.migrations_once import read_migrations_once
from dataops_assets.components.platform import NotTaken, Platform
from dataops_assets.components.publications import SENSOR as PUBLICATIONS
from dataops_assets.components.run_attempts import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG, SOURCE_TAG
from dataops_assets.components.run_queue import RunQueue
from dataops_assets.components.source import source_assets
from dataops_assets.components.stale_tables import AUTOMATION_TAG, SENSOR
from dataops_assets.components.statements_once import compile_statements_once
from dataops_assets.engines.dbt import import_dbt
from dataops_assets.errors import ConfigError, DataOpsError
from dataops_assets.storage import durable

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_ROUNDS = 20
# what a look tells is shown by `dataops run` in its own words
_SILENT = logging.Logger("dataops.run", logging.CRITICAL + 1)


@dataclass(frozen=True)
class FinishedRun:
    """One run: its purpose, whether all of it succeeded, a description of each failure, and seconds.

    `source` and `input_ids` are those of a run of inputs; a run of tables has none.
    """

    what: str
    succeeded: bool
    failures: tuple[str, ...]
    seconds: float
    source: str = ""
    input_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    """A run to do. It has an id before it begins, so that it can be found if its process is killed."""

    what: str
    keys: Sequence[dg.AssetKey]
    request: dg.RunRequest | None
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True)
class FailedRun:
    """A run of tables that failed. `tables` are those that it did not make, and that no later run has made."""

    run_id: str
    tables: tuple[str, ...]
    failures: tuple[str, ...]


@contextmanager
def local_runner(
    load: Callable[[], dg.Definitions], cursor: Path, begin: Callable[[str], None]
) -> Iterator[LocalRunner]:
    """Open a runner for the code location that `load` returns, on the instance that DAGSTER_HOME names.

    Raises ConfigError if another process has a runner already, or if the code location cannot be loaded.
    """
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category)
    read_migrations_once()
    compile_statements_once()
    keep_sqlite_open("OFF")
    lock = lock_beside(cursor)
    with alone(lock), dg.DagsterInstance.get() as instance:
        end_runs_left_behind(instance, lock)
        with _LoadErrors():
            definitions = load()
        runner = LocalRunner(definitions, instance, cursor, begin)
        with runner.queue:
            yield runner


@contextmanager
def _unlogged() -> Iterator[None]:
    """Suppress the logs of sensors and conditions: they are for the UI; here only the runs are shown."""
    logger = logging.getLogger("dagster.automation_condition_tester")
    propagated, logger.propagate = logger.propagate, False
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.propagate = propagated


@contextmanager
def _planned_at_once() -> Iterator[None]:
    """Let Dagster plan the partitions of a run by one event for each asset, not by one for each partition.

    Every event is a transaction on SQLite. Loading a history of a year would spend most of its time on them.
    """
    name = "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _LoadErrors:
    """Raises the error of a wrong declaration itself, where Dagster raises one with its tree of folders."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        cause = error
        while cause is not None:
            if isinstance(cause, DataOpsError):
                raise cause from None
            last, cause = cause, cause.__cause__ or cause.__context__
        if isinstance(error, dg.DagsterError):
            raise ConfigError(
                "loading the code location", received=str(last), next_step="dg check defs shows it all"
            ) from error


class LocalRunner:
    """Runs everything that is due on a Dagster instance.

    The file `cursor` keeps the state of automation, and `sensors.json` beside it the cursor of the sensor of incidents.
    """

    def __init__(
        self, definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: Path, begin: Callable[[str], None]
    ) -> None:
        """Take the objects to work with; `begin` is called with a description of each run before it starts.

        Leaving the context of `queue` ends the forks of the runner.
        """
        self._definitions = definitions
        self._instance = instance
        self._cursor = cursor
        self._lock = lock_beside(cursor)
        self._sensors = cursor.with_name("sensors.json")
        self._begin = begin
        self._pid = os.getpid()
        self._repository = definitions.get_repository_def()
        self._platform: Platform = (definitions.resources or {})[PLATFORM]
        tree = definitions.component_tree
        self._looks: Mapping[str, SourceAssets] = source_assets(tree) if tree is not None else {}
        self.notes: list[str] = []
        self.queue: RunQueue[_Job, FinishedRun] = RunQueue(
            self._do, lambda job: begin(job.what), self._lost, len(self._looks) > 1, self._prepare_tables
        )

    def inherit(self) -> bool:
        """Tell the instance of a new private environment what its parent's knows; return whether it is a new one.

        Then run automation once before new inputs are taken: from there on it sees what changes.
        """
        home = self._platform.environment.home
        if not is_new(home, self._cursor):
            return False
        same = declared_as_in_force(self._platform)
        for assets in self._looks.values():
            # a look tells so much at a time
            while any(isinstance(event, dg.AssetMaterialization) for event in self._told(assets)):
                pass
        inherit(self._definitions, self._instance, home, same)
        return True

    def _told(self, assets: SourceAssets) -> Sequence[object]:
        try:
            return look_and_tell(assets, self._platform, self._instance, _SILENT).events
        except DataOpsError:
            # the next look says so
            return ()

    def run_new_inputs(self, sources: Collection[str] = ()) -> Iterator[FinishedRun]:
        """Look for inputs of these sources (default: all), run what is requested, and repeat until nothing is.

        A source that has a schedule is looked at, too, whatever the time. Afterwards `not_taken` has what the last look
        at each source did not take, `notes` the new notes on arrivals. A look that fails does not stop the others.
        """
        looks = {name: each for name, each in self._looks.items() if not sources or name in sources}
        queue, followers = self.queue, self._followers()
        left = Counter(dict.fromkeys(looks, _ROUNDS))
        due, was_due = dict.fromkeys(looks), False
        while True:
            for source in [name for name in due if name not in queue.names and left[name]]:
                left[source] -= 1
                requests = self._look(looks[source])
                queue.add(source, [_Job(_described(one), one.asset_selection or (), one) for one in requests])
                was_due = was_due or bool(requests)
                del due[source]
            if queue.names:
                done = queue.next()
                yield done
                # the runs of a source are done in order; its next look comes after all of them
                changed = {done.source, *followers[done.source]} if done.source not in queue.names else set()
                due |= {name: None for name in looks if name in changed}
                continue
            if not was_due:
                return
            due, was_due = dict.fromkeys(looks), False

    def _followers(self) -> Mapping[str, set[str]]:
        """Return by source the others whose inputs can wait for it."""
        specs = {spec.key: spec for spec in self._definitions.resolve_all_asset_specs()}
        found: dict[str, set[str]] = defaultdict(set)
        for spec in specs.values():
            for dep in spec.deps:
                upstream = specs[dep.asset_key].tags.get(SOURCE_TAG) if dep.asset_key in specs else None
                if upstream and (source := spec.tags.get(SOURCE_TAG)) and source != upstream:
                    found[upstream].add(source)
        return found

    def _look(self, assets: SourceAssets) -> Sequence[dg.RunRequest]:
        """Look at a source, unless a person paused it, and return the runs that it needs.

        `not_taken` has the error of a look that fails.
        """
        looks = self._platform.metadata.looks
        if looks.record(assets.source.name).paused:
            return ()
        try:
            seen = look_and_tell(assets, self._platform, self._instance, _SILENT)
        except DataOpsError:
            return ()
        self.notes += [
            event.description for event in seen.events if isinstance(event, dg.AssetObservation) and event.description
        ]
        return seen.requests

    @property
    def instance(self) -> dg.DagsterInstance:
        """Return the Dagster instance that the runner reports to."""
        return self._instance

    @property
    def not_taken(self) -> Mapping[str, NotTaken]:
        """Return by source what the last look did not take."""
        return self._platform.not_taken

    def run_tables(self, names: Sequence[str]) -> Mapping[str, str]:
        """Make tables by their asset keys as texts, whether or not they are due; return the error of each that failed.

        A table that this code location does not have is left out.
        """
        known = set(self._definitions.resolve_all_asset_keys())
        keys = [key for key in (dg.AssetKey(name.split("/")) for name in names) if key in known]
        if not keys:
            return {}
        started = time.time()
        done = self._run(_named(keys), keys)
        made = self._instance.get_latest_materialization_events(keys)
        return {
            "/".join(key.path): "; ".join(done.failures) or "it was not made"
            for key in keys
            if (event := made.get(key)) is None or event.timestamp < started
        }

    def tables_below(self, sources: Collection[str]) -> list[str]:
        """Return the asset keys of the recalculated hubs and models that are made of the tables of some sources.

        The recalculated hubs of these sources themselves are not among them.
        """
        specs = {spec.key: spec for spec in self._definitions.resolve_all_asset_specs()}
        touched = {key for key, spec in specs.items() if spec.tags.get(SOURCE_TAG) in sources}
        own, left = set(touched), dict(specs)
        while ready := [key for key, spec in left.items() if any(dep.asset_key in touched for dep in spec.deps)]:
            touched.update(ready)
            for key in ready:
                del left[key]
        made = [
            key
            for key in touched - own
            if specs[key].automation_condition is not None
            and specs[key].partitions_def is None
            and key.path[0] in ("hub", "warehouse")
        ]
        return sorted("/".join(key.path) for key in made)

    def run_automation(self) -> Iterator[FinishedRun]:
        """Evaluate the automation conditions, run what they request, and repeat until they request nothing."""
        cursor: Any = dg.deserialize_value(self._cursor.read_text()) if self._cursor.exists() else None
        for _ in range(_ROUNDS):
            with _unlogged(), partitions_read_once():
                found = dg.evaluate_automation_conditions(self._definitions, self._instance, cursor=cursor)
            cursor = found.cursor
            keys = [key for key in self._definitions.resolve_all_asset_keys() if found.get_num_requested(key)]
            request = dg.RunRequest(tags={AUTOMATION_TAG: "true"})
            if not keys:
                request = next(iter(self._left_undone()), request)
                keys = list(request.asset_selection or ())
            if not keys:
                break
            yield self._run(_named(keys), keys, request)
        durable.replace_file(self._cursor, dg.serialize_value(cursor).encode())

    def _left_undone(self) -> Sequence[dg.RunRequest]:
        """Return the requests for tables that a killed runner did not make."""
        names = {sensor.name: sensor for sensor in self._repository.sensor_defs}
        return self._ask(names[SENSOR], {}) if SENSOR in names else ()

    def look_for_incidents(self) -> None:
        """Record the incidents that the runs opened or closed, and send the messages that are due."""
        told: dict[str, str] = json.loads(self._sensors.read_text()) if self._sensors.exists() else {}
        for sensor in self._repository.sensor_defs:
            if sensor.name == INCIDENTS:
                self._ask(sensor, told)
                durable.replace_file(self._sensors, json.dumps(told).encode())

    def publish(self) -> None:
        """Move the publications whose tables agree at a newer moment."""
        for sensor in self._repository.sensor_defs:
            if sensor.name == PUBLICATIONS:
                self._ask(sensor, {})

    def failed_runs(self) -> list[FailedRun]:
        """Return the runs that failed last for a table below the hubs, which is therefore missing or old."""
        automated = [
            spec.key
            for spec in self._definitions.resolve_all_asset_specs()
            if spec.automation_condition is not None and spec.partitions_def is None
        ]
        by_run: dict[str, list[str]] = defaultdict(list)
        for record in self._instance.get_asset_records(automated):
            entry = record.asset_entry
            made = entry.last_materialization.run_id if entry.last_materialization else ""
            if entry.last_run_id and entry.last_run_id != made:
                by_run[entry.last_run_id].append("/".join(entry.asset_key.path))
        if not by_run:
            return []
        failed = dg.RunsFilter(run_ids=sorted(by_run), statuses=[dg.DagsterRunStatus.FAILURE])
        return [
            FailedRun(run.run_id, tuple(sorted(by_run[run.run_id])), tuple(self._failures(run.run_id)))
            for run in self._instance.get_runs(filters=failed)
        ]

    def _failures(self, run_id: str) -> Iterator[str]:
        for entry in self._instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            if entry.dagster_event is not None:
                yield _failure(entry.dagster_event)

    def _ask(self, sensor: dg.SensorDefinition, told: dict[str, str]) -> Sequence[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=self._instance,
            cursor=told.get(sensor.name),
            repository_def=self._repository,
            sensor_name=sensor.name,
            resources=dict(self._definitions.resources or {}),
        )
        with context, _unlogged():
            answer = sensor.evaluate_tick(context)
        told[sensor.name] = answer.cursor or ""
        for event in answer.asset_events:
            self._instance.report_runless_asset_event(event)
        return answer.run_requests or ()

    def _run(self, what: str, keys: Sequence[dg.AssetKey], request: dg.RunRequest | None = None) -> FinishedRun:
        self._begin(what)
        return self._executed(_Job(what, keys, request), self._instance)

    def _do(self, job: _Job) -> FinishedRun:
        """Do a run of inputs, in this process or in a fork of it."""
        if self._pid == os.getpid():
            return self._executed(job, self._instance)
        with dg.DagsterInstance.get() as instance:
            return self._executed(job, instance)

    def _prepare_tables(self) -> None:
        """Import what builds models, if models follow the sources that run now: later it would take two seconds."""
        if any(name.startswith("warehouse/") for name in self.tables_below(self.queue.names)):
            import_dbt()

    def _lost(self, job: _Job) -> FinishedRun:
        """Report a run as failed whose fork was killed."""
        run = self._instance.get_run_by_id(job.run_id)
        if run is not None and not run.is_finished:
            self._instance.report_run_failed(run, KILLED)
        forget(self._lock, job.run_id)
        return FinishedRun(job.what, False, (KILLED,), 0.0, *_inputs_of(job.request, self._instance))

    def _executed(self, job: _Job, instance: dg.DagsterInstance) -> FinishedRun:
        started, request = time.perf_counter(), job.request
        tags = dict(request.tags) if request else {}
        if request and request.run_key:
            tags["dagster/run_key"] = request.run_key
        note(self._lock, job.run_id)
        with _planned_at_once() if RANGE_START_TAG in tags else nullcontext():
            result = self._repository.get_implicit_global_asset_job_def().execute_in_process(
                instance=instance,
                asset_selection=list(job.keys),
                partition_key=request.partition_key if request else None,
                tags=tags,
                run_config=_QUIET,
                raise_on_error=False,
                run_id=job.run_id,
            )
        # not if it was interrupted: then Dagster may still show it as started
        forget(self._lock, job.run_id)
        failures = tuple(map(_failure, result.filter_events(lambda item: item.is_step_failure)))
        seconds = time.perf_counter() - started
        return FinishedRun(job.what, result.success, failures, seconds, *_inputs_of(request, instance))


def _inputs_of(request: dg.RunRequest | None, instance: dg.DagsterInstance) -> tuple[str, tuple[str, ...]]:
    """Return the source and the inputs of a run request."""
    source = request.tags.get(SOURCE_TAG, "") if request else ""
    if request is None or not source:
        return "", ()
    one = request.partition_key or request.tags.get(PARTITION_TAG)
    first, last = one or request.tags.get(RANGE_START_TAG), one or request.tags.get(RANGE_END_TAG)
    order = list(instance.get_dynamic_partitions(partitions_name(source)))
    if first not in order or last not in order:
        return source, ()
    return source, tuple(order[order.index(first) : order.index(last) + 1])


def _failure(event: dg.DagsterEvent) -> str:
    failed = event.step_failure_data
    if failed.user_failure_data:
        return (failed.user_failure_data.description or "").strip()
    return str(failed.error_display_string)


def _described(request: dg.RunRequest) -> str:
    source = request.tags.get(SOURCE_TAG, "")
    partition = request.partition_key or request.tags.get(PARTITION_TAG)
    if partition:
        return f"{source}: {partition}"
    return f"{source}: {request.tags.get(RANGE_START_TAG)} to {request.tags.get(RANGE_END_TAG)}"


def _named(keys: Sequence[dg.AssetKey]) -> str:
    names = sorted("/".join(key.path) for key in keys)
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
