"""The sensor (or schedule) of one source: look for new inputs, make them partitions, request runs for what is not done.

Grain: one look at one source. Nothing is remembered from look to look but which duplicates were told: inputs and what
became of them are in the metadata store, runs are in Dagster's.

Annotations are not postponed here: Dagster reads those of a sensor's function.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dataops_assets.components import events
from dataops_assets.components.assets import PLATFORM, RETRIES, SourceAssets, partitions_name
from dataops_assets.components.events import asset_key
from dataops_assets.components.graph import StepNode
from dataops_assets.components.platform import Platform
from dataops_assets.components.requests import RUNS, WAITS_AT, Batch, Progress, batches, progress
from dataops_assets.connections.discovery import Discovery, discover
from dataops_assets.errors import InputWaits
from dataops_assets.metadata.store import Arrival, MetadataStore
from dataops_assets.steps import waits
from dataops_assets.steps.report import PER_INPUT, Input, StepReport

BATCH_TAG = "dataops/batch"
SOURCE_TAG = "dataops/source"
# The tags by which Dagster itself names a run's partition or range of partitions: there is no other way to request a
# run of a range, and a run of one partition then needs no other way either
PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

# a run that was made and not launched is launched when its run key is requested again
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_SHOWN = 5


@dataclass(frozen=True)
class Look:
    """What one look found and asks for. `cursor` tells which duplicates and which waiting inputs have been told."""

    new_partitions: Sequence[str] = ()
    requests: Sequence[dg.RunRequest] = ()
    events: Sequence[dg.AssetObservation | dg.AssetCheckEvaluation] = ()
    messages: Sequence[str] = field(default=())
    cursor: str = ""


def look(assets: SourceAssets, platform: Platform, instance: dg.DagsterInstance, cursor: str, now: dt.datetime) -> Look:
    """Look for new inputs of a source and say which runs it needs. `now` is aware.

    Raises ConfigError and StorageError as discovery does.
    """
    source, metadata = assets.source, platform.metadata
    found = discover(source, platform.environment, metadata, now=now)
    order = list(instance.get_dynamic_partitions(partitions_name(source.name)))
    # before reading what is done: a run that ends meanwhile is seen by the next look
    running = _running(instance, assets, order)
    inputs = metadata.inputs(source.name)
    known = set(order)
    new_partitions = [item.input_id for item in inputs if item.input_id not in known]
    state = progress(inputs, metadata.processes(source.name), RETRIES + 1)
    messages = [*_told(found), *(f"held: {text}" for text in _some(list(state.held.values())))]
    waiting = _waiting(assets, platform, [item for item in inputs if item.input_id in state.todo])
    messages += [f"waits: {text}" for text in _some([str(error) for error in waiting.values()])]
    looked_up = _waits_for(assets, metadata) if state.todo else []
    requests: list[dg.RunRequest] = []
    if looked_up:
        messages.append(f"{len(state.todo)} inputs wait for {' and '.join(looked_up)}")
    else:
        most = source.discovery.inputs_per_run
        for batch in batches([*order, *new_partitions], state.todo, running, most, waiting):
            request = _request(assets, instance, batch)
            if request is None:
                messages.append(f"given up: {RUNS} runs for {_named(batch)} ended before a step began")
            else:
                requests.append(request)
    duplicates, _, waits_told = cursor.partition(" ")
    told, duplicates = _duplicates(assets, metadata.arrivals(source.name), found, duplicates)
    now_waiting = _digest({(input_id, str(error)): None for input_id, error in waiting.items()})
    checked = [_told_to_wait(assets, waiting)] if waiting and now_waiting != waits_told else []
    cursor = f"{duplicates} {now_waiting}" if now_waiting else duplicates
    return Look(new_partitions, requests, [*told, *checked], messages or ["no new input"], cursor)


def source_sensor(assets: SourceAssets) -> dg.SensorDefinition:
    """The sensor of a source, switched on."""
    source = assets.source

    @dg.sensor(
        name=partitions_name(source.name),
        target=_target(assets),
        minimum_interval_seconds=source.discovery.every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={PLATFORM},
        description=f"Finds new inputs of {source.name} and requests runs for all that are not in its hub yet.",
        tags={SOURCE_TAG: source.name},
    )
    def look_for_inputs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = getattr(context.resources, PLATFORM)
        seen = look(assets, platform, context.instance, context.cursor or "", dt.datetime.now(dt.UTC))
        for message in seen.messages:
            context.log.info(message)
        partitions = dg.DynamicPartitionsDefinition(name=partitions_name(source.name))
        return dg.SensorResult(
            run_requests=list(seen.requests),
            skip_reason=None if seen.requests else "; ".join(seen.messages),
            cursor=seen.cursor,
            dynamic_partitions_requests=[partitions.build_add_request(list(seen.new_partitions))]
            if seen.new_partitions
            else [],
            asset_events=list(seen.events),
        )

    return look_for_inputs


def source_schedule(assets: SourceAssets) -> dg.ScheduleDefinition:
    """The schedule of a source that declares one, switched on; it looks as the sensor does."""
    source = assets.source

    @dg.schedule(
        name=partitions_name(source.name),
        cron_schedule=source.discovery.schedule,
        execution_timezone=source.discovery.timezone,
        target=_target(assets),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        required_resource_keys={PLATFORM},
        description=f"Finds new inputs of {source.name} and requests runs for all that are not in its hub yet.",
        tags={SOURCE_TAG: source.name},
    )
    def look_for_inputs(context: dg.ScheduleEvaluationContext) -> Sequence[dg.RunRequest] | dg.SkipReason:
        platform: Platform = getattr(context.resources, PLATFORM)
        instance = context.instance
        # a schedule has no cursor: the duplicates of this look are told
        seen = look(assets, platform, instance, "", dt.datetime.now(dt.UTC))
        for message in seen.messages:
            context.log.info(message)
        if seen.new_partitions:
            instance.add_dynamic_partitions(partitions_name(source.name), list(seen.new_partitions))
        for event in seen.events:
            instance.report_runless_asset_event(event)
        return list(seen.requests) or dg.SkipReason("; ".join(seen.messages))

    return look_for_inputs


def _target(assets: SourceAssets) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*_keys(assets.nodes))


def _keys(steps: Sequence[StepNode]) -> list[dg.AssetKey]:
    """What an input goes through; tables below are made by their automation condition."""
    return [asset_key(key) for node in steps if node.is_per_input for key in (node.key, node.beside) if key]


def _request(assets: SourceAssets, instance: dg.DagsterInstance, batch: Batch) -> dg.RunRequest | None:
    """The run of a batch; None once as many runs for exactly it as are allowed ended without getting it done.

    Its key counts the runs that ended: asked for twice it is one run, and a run that died is asked for anew.
    """
    source = assets.source.name
    tags = {SOURCE_TAG: source, BATCH_TAG: batch.digest}
    ended = instance.get_runs_count(dg.RunsFilter(tags=tags, statuses=_FINISHED))
    if ended >= RUNS:
        return None
    first, last = batch.input_ids[0], batch.input_ids[-1]
    partitions = {PARTITION_TAG: first} if first == last else {RANGE_START_TAG: first, RANGE_END_TAG: last}
    return dg.RunRequest(
        run_key=f"{source}:{batch.digest}:{ended}",
        partition_key=first if first == last else None,
        asset_selection=_keys([node for node in assets.nodes if node.name in PER_INPUT[batch.first_step : batch.end]]),
        tags={**tags, **partitions},
    )


def _running(instance: dg.DagsterInstance, assets: SourceAssets, order: Sequence[str]) -> set[str]:
    """Inputs that a run is under way for, whoever asked for it."""
    ours = set(_keys(assets.nodes))
    positions = {input_id: position for position, input_id in enumerate(order)}
    found: set[str] = set()
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNDER_WAY)):
        if run.asset_selection and not ours & set(run.asset_selection):
            continue
        first = run.tags.get(PARTITION_TAG) or run.tags.get(RANGE_START_TAG)
        last = run.tags.get(PARTITION_TAG) or run.tags.get(RANGE_END_TAG)
        if first in positions and last in positions:
            found.update(order[positions[first] : positions[last] + 1])
    return found


def _waiting(assets: SourceAssets, platform: Platform, inputs: Sequence[Input]) -> Mapping[str, InputWaits]:
    """The inputs that wait for another source to be recent enough, with the reason."""
    if not assets.source.waits_for:
        return {}
    return waits.waiting(platform.workspace(assets.source, assets.sources), inputs)


def _told_to_wait(assets: SourceAssets, waiting: Mapping[str, InputWaits]) -> dg.AssetCheckEvaluation:
    """The check that shows in the UI which inputs wait, and for what; enriching them passes it."""
    source = assets.source
    outcomes = waits.outcomes(source, (), waiting)
    node = next(node for node in assets.nodes if node.name == PER_INPUT[WAITS_AT])
    report = StepReport(node.name, node.key, (), None, None, {}, 0, outcomes)
    (result,) = events.check_results(report, {node.key: {"waits_for": True}})
    return events.evaluation(result)


def _waits_for(assets: SourceAssets, metadata: MetadataStore) -> list[str]:
    """Sources whose hubs the snapshot rules look up and that have inputs on their way to it, or none in it.

    A snapshot value is frozen, so a row must not be processed before what it looks up.
    """
    found = []
    for name in assets.rules.snapshot.related:
        state: Progress = progress(metadata.inputs(name), metadata.processes(name), RETRIES + 1)
        if not state.is_settled:
            what = f"{len(state.todo)} inputs on their way" if state.todo else "no input in its hub"
            found.append(f"{name} ({what})")
    return found


def _told(found: Discovery) -> Iterator[str]:
    if found.new:
        yield f"{len(found.new)} new inputs: {', '.join(_some([item.input_id for item in found.new]))}"
    yield from _some([str(item) for item in found.duplicates])
    yield from _some([f"cannot be taken: {item.origin}: {item.error}" for item in found.problems])
    if found.settling:
        yield f"still being written: {', '.join(_some(found.settling))}"
    if found.left:
        yield f"{len(found.left)} files are left for the next look"


def _some(texts: Sequence[str]) -> list[str]:
    rest = len(texts) - _SHOWN
    return [*texts[:_SHOWN], f"and {rest} more"] if rest > 0 else list(texts)


def _named(batch: Batch) -> str:
    return batch.input_ids[0] if len(batch.input_ids) == 1 else f"{batch.input_ids[0]} to {batch.input_ids[-1]}"


def _duplicates(
    assets: SourceAssets, arrivals: Sequence[Arrival], found: Discovery, cursor: str
) -> tuple[list[dg.AssetObservation], str]:
    """Observations of arrivals that were known already, and a cursor that stands for all that have been told.

    Where the look before did not get to telling its own, all are told again.
    """
    known = {(item.origin, item.digest): item for item in arrivals if item.note and item.input_id}
    fresh = {(item.origin, item.known.digest) for item in found.duplicates}
    now_told = _digest(known)
    if now_told == cursor:
        return [], cursor
    untold: Mapping[tuple[str, str], Any] = known
    if _digest({key: item for key, item in known.items() if key not in fresh}) == cursor:
        untold = {key: item for key, item in known.items() if key in fresh}
    raw = asset_key(assets.nodes[0].key)
    observations = [
        dg.AssetObservation(
            raw,
            partition=item.input_id,
            description=f"{item.origin}: {item.note}",
            metadata={"origin": item.origin, "size": item.size, "sha256": item.digest, "duplicate": True},
        )
        for item in untold.values()
    ]
    return observations, now_told


def _digest(known: Mapping[tuple[str, str], Any]) -> str:
    if not known:
        return ""
    return hashlib.sha256("\n".join(sorted("\t".join(key) for key in known)).encode()).hexdigest()[:16]
