"""The sensor `left_undone`: it requests stale tables again, whose run failed or was killed.

An automation condition requests a table once for each change. If that run fails or is killed (even after its commit,
before its report), nothing would request the table again. So this sensor compares the versions that each table was made
of with the present versions, and requests stale tables: at once after a killed run, and with longer and longer pauses
after failures and repeated kills. A table whose newest commit is lost is stale, too.

Annotations are not postponed in this module: Dagster reads those of a sensor's function.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dataops_assets.components.assets import PLATFORM
from dataops_assets.components.dead_runs import FINISHED, UNDER_WAY
from dataops_assets.components.events import HUB_VERSIONS, told_version
from dataops_assets.components.platform import Platform
from dataops_assets.components.requests import pause
from dataops_assets.storage.delta import Table

LEFT_UNDONE_TAG = "dataops/left_undone"
AUTOMATION_TAG = "dagster/from_automation_condition"
SENSOR = "left_undone"

# the condition is evaluated every half minute and should request first
_GRACE = dt.timedelta(minutes=2)
# a run that failed (and was not killed) most likely fails again unless something changes
_AFTER_A_FAILURE = dt.timedelta(minutes=10)
_LONGEST = dt.timedelta(days=1)
_EVERY_SECONDS = 30
# the name of Dagster's error for a step whose blocking check failed
_CHECK_FAILED = "DagsterAssetCheckFailedError"
# number of runs to read; one table has only a few since its last change
_RUNS = 200


@dataclass(frozen=True)
class PresentVersion:
    """The number of a table's newest version, and whether it has rows."""

    version: int
    has_rows: bool


Present = Callable[[str], PresentVersion | None]
"""Returns the newest version of a table, by its asset key as text; None if there is no table."""


@dataclass(frozen=True)
class LeftUndone:
    """Tables to request now, the run key of the request, and messages about these tables and about waiting ones."""

    due: Sequence[dg.AssetKey] = ()
    run_key: str = ""
    messages: Sequence[str] = field(default=())


def left_undone(graph: Any, instance: dg.DagsterInstance, present: Present, now: dt.datetime) -> LeftUndone:
    """Find the stale tables that no run is making. `graph` is a Dagster repository's asset graph; `now` is aware."""
    seen = _Seen.of(graph, instance)
    due: list[dg.AssetKey] = []
    messages, identity = [], []
    waiting: set[dg.AssetKey] = set()
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        if node.automation_condition is None or node.is_partitioned:
            continue
        parents = sorted(node.parent_keys)
        if seen.under_way & {key, *parents}:
            continue
        ended = seen.runs_since_change(key, parents)
        why = _why_behind(seen, key, parents, present, ended)
        if not why:
            continue
        name = key.to_user_string()
        if waiting & set(parents):
            waiting.add(key)
            messages.append(f"{name}: {why}; it waits for an upstream table that is stale, too")
            continue
        if not all(seen.has_passed(parent) for parent in parents):
            messages.append(f"{name}: {why}; it waits for a blocking check of an upstream table")
            continue
        again = seen.next_try(parents, ended)
        if now < again:
            waiting.add(key)
            messages.append(f"{name}: {why}; tried again at {again:%Y-%m-%d %H:%M:%S} UTC")
            continue
        due.append(key)
        identity.append(f"{name} {ended[0].dagster_run.run_id if ended else seen.changed(parents)}")
        messages.append(f"{name}: {why}")
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
    return LeftUndone(due, f"{SENSOR}:{digest}", messages)


def _why_behind(
    seen: "_Seen",
    key: dg.AssetKey,
    parents: Sequence[dg.AssetKey],
    present: Present,
    ended: Sequence[dg.RunRecord],
) -> str:
    """Return why a table must be made again; empty if it need not or cannot be made."""
    if not all(parent in seen.made for parent in parents):
        return ""
    if key not in seen.made:
        return "it was never made"
    if ended and seen.died(ended[0]) and _end_of(ended[0]) >= seen.made[key].timestamp:
        return f"run {ended[0].dagster_run.run_id} was killed"
    told = told_version(seen.made[key].asset_materialization)
    if told is not None:
        there = present("/".join(key.path))
        if there is None or there.version < told:
            return f"version {told} is lost: " + (f"the newest is {there.version}" if there else "the table is gone")
    versions = seen.versions(key)
    for parent in parents:
        name = "/".join(parent.path)
        if name in versions:
            of_parent = present(name)
            # what reads a hub without rows records no version of it
            version = of_parent.version if of_parent and of_parent.has_rows else None
            if version != versions[name]:
                return f"{name} is at version {version}, but it was made of version {versions[name]}"
        elif seen.made[parent].timestamp > seen.made[key].timestamp:
            return f"{name} was made after it"
    return ""


@dataclass(frozen=True)
class _Seen:
    """The runs and materializations that Dagster knows, read once for each tick."""

    graph: Any
    instance: dg.DagsterInstance
    made: Mapping[dg.AssetKey, dg.EventLogEntry]
    under_way: frozenset[dg.AssetKey]
    ended: Sequence[dg.RunRecord]

    @classmethod
    def of(cls, graph: Any, instance: dg.DagsterInstance) -> "_Seen":
        # read first, so that the next tick sees a run that ends in the meantime
        runs = instance.get_runs(filters=dg.RunsFilter(statuses=UNDER_WAY))
        everything = frozenset(graph.get_all_asset_keys())
        busy = [frozenset(run.asset_selection) if run.asset_selection else everything for run in runs]
        ended = [
            record
            for tag in (AUTOMATION_TAG, LEFT_UNDONE_TAG)
            for record in instance.get_run_records(dg.RunsFilter(tags={tag: "true"}, statuses=FINISHED), limit=_RUNS)
        ]
        events = instance.get_latest_materialization_events(sorted(everything))
        return cls(
            graph,
            instance,
            {key: event for key, event in events.items() if event is not None},
            frozenset().union(*busy),
            sorted(ended, key=_end_of, reverse=True),
        )

    def versions(self, key: dg.AssetKey) -> Mapping[str, int | None]:
        """Return the versions of the tables that a table was last made of, if its metadata has them."""
        made = self.made[key].asset_materialization
        found: Any = made.metadata.get(HUB_VERSIONS) if made is not None else None
        return dict(found.value) if found is not None and isinstance(found.value, Mapping) else {}

    def changed(self, parents: Sequence[dg.AssetKey]) -> float:
        """Return when any upstream table was last made."""
        return max((self.made[parent].timestamp for parent in parents if parent in self.made), default=0.0)

    def runs_since_change(self, key: dg.AssetKey, parents: Sequence[dg.AssetKey]) -> list[dg.RunRecord]:
        """Return the runs of a table that automation requested and that ended after the last upstream change."""
        changed = self.changed(parents)
        return [
            record
            for record in self.ended
            if key in (record.dagster_run.asset_selection or ()) and _end_of(record) > changed
        ]

    def died(self, record: dg.RunRecord) -> bool:
        """Return whether a run failed without a step that reported why, as after a kill."""
        if record.dagster_run.status != dg.DagsterRunStatus.FAILURE:
            return False
        entries = self.instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
        return not any(_is_verdict(event) for event in events)

    def next_try(self, parents: Sequence[dg.AssetKey], ended: Sequence[dg.RunRecord]) -> dt.datetime:
        """Return when a stale table may be requested: later with each run since the last upstream change."""
        if not ended:
            return dt.datetime.fromtimestamp(self.changed(parents), dt.UTC) + _GRACE
        runs = len(ended)
        wait = pause(runs) if self.died(ended[0]) else min(_AFTER_A_FAILURE * 2 ** min(runs - 1, 10), _LONGEST)
        return dt.datetime.fromtimestamp(_end_of(ended[0]), dt.UTC) + wait

    def has_passed(self, key: dg.AssetKey) -> bool:
        """Return whether all blocking checks of the newest table version passed, as in the automation condition."""
        for check in self._blocking(key):
            record = self.instance.get_latest_asset_check_evaluation_record(check)
            event = record.event if record is not None else None
            made = self.made.get(key)
            if event is None or event.dagster_event is None or made is None:
                return False
            if event.timestamp < made.timestamp and event.run_id != made.run_id:
                return False
            # a killed run only planned the check
            if event.dagster_event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                return False
            if not event.dagster_event.asset_check_evaluation_data.passed:
                return False
        return True

    def _blocking(self, key: dg.AssetKey) -> Iterator[dg.AssetCheckKey]:
        for check in self.graph.get(key).check_keys:
            if self.graph.get(check).blocking:
                yield check


def _is_verdict(event: dg.DagsterEvent) -> bool:
    """Return whether a step failed by its own error or a blocking check, and not because its process ended."""
    failed = event.step_failure_data
    return failed.user_failure_data is not None or (failed.error is not None and failed.error.cls_name == _CHECK_FAILED)


def _end_of(record: dg.RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()


def present_in(storage: str) -> Present:
    """Return the function that reads the newest versions of the tables below `storage`."""

    def present(key: str) -> PresentVersion | None:
        snapshot = Table(f"{storage}/{key}").snapshot()
        return PresentVersion(snapshot.version, bool(snapshot.rows)) if snapshot is not None else None

    return present


def left_undone_sensor(target: dg.AssetSelection) -> dg.SensorDefinition:
    """Build the sensor of all automated tables of a code location, which are its `target`; it starts switched on."""

    @dg.sensor(
        name=SENSOR,
        target=target,
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={PLATFORM},
        description="Requests tables again that are stale because a run of automation failed or was killed.",
    )
    def look_for_undone(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = getattr(context.resources, PLATFORM)
        repository = context.repository_def
        if repository is None:
            return dg.SensorResult(skip_reason="no code location")

        now, present = dt.datetime.now(dt.UTC), present_in(platform.environment.storage)
        found = left_undone(repository.asset_graph, context.instance, present, now)
        for message in found.messages:
            context.log.info(message)
        if not found.due:
            return dg.SensorResult(skip_reason="; ".join(found.messages) or "no table is stale")
        request = dg.RunRequest(run_key=found.run_key, asset_selection=list(found.due), tags={LEFT_UNDONE_TAG: "true"})
        return dg.SensorResult(run_requests=[request])

    return look_for_undone
