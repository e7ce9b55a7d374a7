"""The sensor (or schedule) of one source: find new inputs, add them as partitions, request runs for unfinished inputs.

Grain: one look (a tick) at one source. The cursor keeps only what was reported before: a look tells what lasts (a held
input, a file that cannot be taken) once, and again when it changes; `dataops status` shows it at any time. Inputs and
their status are in the metadata store, runs are in Dagster's storage.

Annotations are not postponed in this module: Dagster reads those of a sensor's function.
"""

import datetime as dt
import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import dagster as dg

from dataops_assets.components import events
from dataops_assets.components.assets import PLATFORM, SourceAssets
from dataops_assets.components.dead_runs import UNDER_WAY, end_dead_runs
from dataops_assets.components.events import asset_key
from dataops_assets.components.input_partitions import InputPartitions, partitions_name
from dataops_assets.components.platform import NotTaken, Platform
from dataops_assets.components.quiet_looks import LEFT_OUT, QuietLooks
from dataops_assets.components.requests import WAITS_AT, batches
from dataops_assets.components.run_attempts import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    SOURCE_TAG,
    end_killed,
    given_up,
    input_assets,
    observed,
    request,
)
from dataops_assets.components.secrets_removed import SecretsRemoved
from dataops_assets.components.source_progress import read_progress, unsettled
from dataops_assets.components.told_once import ToldOnce
from dataops_assets.components.unreported_commits import untold
from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.connections.discovery import SETTLING, FoundInputs, discover
from dataops_assets.errors import GivenUp, InputWaits
from dataops_assets.masking import mask
from dataops_assets.metadata.store import Arrival
from dataops_assets.report import PER_INPUT, Input, StepReport
from dataops_assets.steps import waits
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.upkeep import lost_data
from dataops_assets.steps.upkeep.lost_data import Lost

_SHOWN = 5
# a look at an object store, a database or a function is a request there
_REQUESTS_EVERY_SECONDS = 10
# the cursor of a look that cannot keep one: notes of earlier looks are not told again
_NO_CURSOR = "-"


@dataclass(frozen=True)
class Look:
    """The result of one look. `cursor` keeps what was reported: notes, waiting and given up inputs, lasting facts.

    `not_taken` are messages about files that are still being written, `refused` about arrivals that cannot be taken.
    `told_before` is a message about the facts that an earlier look told. `left` has all messages about files that are
    not taken, whoever told them. `is_at_rest` says that nothing is to do, not even later.
    """

    new_partitions: Sequence[str] = ()
    requests: Sequence[dg.RunRequest] = ()
    events: Sequence[dg.AssetObservation | dg.AssetCheckEvaluation | dg.AssetMaterialization] = ()
    messages: Sequence[str] = field(default=())
    not_taken: Sequence[str] = field(default=())
    refused: Sequence[str] = field(default=())
    told_before: str = ""
    left: NotTaken = field(default_factory=NotTaken)
    cursor: str = ""
    is_at_rest: bool = False

    @property
    def summary(self) -> str:
        """Return all messages as one text."""
        new = [*self.messages, *self.refused, *self.not_taken]
        return "; ".join([*(new or ["no new input"]), *([self.told_before] if self.told_before else [])])

    def log(self, log: logging.Logger) -> None:
        """Log the messages, each at its level."""
        for message in self.messages:
            log.info(message)
        for message in self.not_taken:
            log.warning(message)
        for message in self.refused:
            log.error(message)


def look(assets: SourceAssets, platform: Platform, instance: dg.DagsterInstance, cursor: str, now: dt.datetime) -> Look:
    """Look for new inputs of a source and return the runs that it needs. `now` is aware.

    Raises ConfigError and StorageError as discovery does, and StorageError for a table that is not there any more.
    """
    source, metadata = assets.source, platform.metadata
    found = discover(source, platform.environment, metadata, now=now, databases=assets.databases)
    order = list(instance.get_dynamic_partitions(partitions_name(source.name)))
    # read runs before statuses, so that the next look sees a run that ends in the meantime
    running = _running(instance, assets, order)
    known = set(order)
    # only inputs with something left to do are read as a whole: the cost of a look follows them, not the history
    new = [input_id for input_id in metadata.input_ids(source.name) if input_id not in known]
    new_partitions = [item.input_id for item in metadata.inputs(source.name, new)]
    gone = _lost(assets, platform, order or new, running)
    end_killed(source.name, metadata, instance)
    read = read_progress(platform.source_context(source, assets.sources))
    state = read.state
    noted, waits_told, given_up_told, known_told, facts_told = _words(cursor)
    once = ToldOnce(facts_told)
    messages = [*_told(found), *_some([f"runs again: {item}" for item in gone])]
    messages += _some(once.fresh([f"held: {text}" for text in state.held.values()]))
    moved = _moved(assets, platform, {**state.todo, **state.held})
    messages += _some(once.fresh([f"merged again, since it arrived later: {input_id}" for input_id in moved]))
    waiting = _waiting(assets, platform, [item for item in read.inputs if item.input_id in state.todo])
    messages += _some(once.fresh([f"judged again: {input_id}" for input_id in state.again]))
    messages += _some(once.fresh([f"waits: {error}" for error in waiting.values()]))
    looked_up = unsettled(metadata, assets.rules.snapshot.related) if state.todo else []
    requests: list[dg.RunRequest] = []
    paused: dict[str, GivenUp] = {}
    if looked_up:
        messages += once.fresh([f"{len(state.todo)} inputs wait for {' and '.join(looked_up)}"])
    else:
        most = source.discovery.inputs_per_run
        for batch in batches([*order, *new_partitions], state, running, most, waiting, moved):
            answer = request(assets, instance, batch, state, now)
            if isinstance(answer, dg.RunRequest):
                requests.append(answer)
            else:
                paused |= given_up(assets, metadata, batch, state, answer)
    messages += _some(once.fresh([str(error) for error in dict.fromkeys(paused.values())]))
    told, noted = _noted(assets, metadata.arrivals(source.name, noted_only=True), found, noted)
    now_waiting = _digest({(input_id, str(error)): None for input_id, error in waiting.items()})
    checked = [_told_to_wait(assets, waiting)] if waiting and now_waiting != waits_told else []
    # an input that is tried again is not given up now, but does not have to be shown again later
    given_up_before = {one for one in state.todo if _short(one) in given_up_told.split(",")}
    shown = observed(assets, {one: error for one, error in paused.items() if one not in given_up_before}, state)
    now_given_up = ",".join(sorted(_short(one) for one in given_up_before | set(paused)))
    late, known_told = ([], known_told) if running else untold(assets, platform, instance, known_told)
    problems = [f"cannot be taken: {item.origin}: {item.error}" for item in found.problems]
    refused, not_taken = _some(once.fresh(problems)), _not_taken(once.fresh(found.settling))
    left = NotTaken(_not_taken(found.settling), _some(problems))
    cursor = " ".join((noted, now_waiting, now_given_up, known_told, once.token)).rstrip()
    events_told = [*told, *checked, *shown, *late]
    before = _told_before(source.name, once.repeated)
    is_at_rest = not (requests or events_told or running or state.todo or moved or gone or found.settling or found.left)
    return Look(new_partitions, requests, events_told, messages, not_taken, refused, before, left, cursor, is_at_rest)


def _words(cursor: str) -> tuple[str, str, str, str, str]:
    noted, waiting, given_up, known, facts = (*cursor.split(" "), "", "", "", "", "")[:5]
    return noted, waiting, given_up, known, facts


def _told_before(source: str, facts: int) -> str:
    """Return a short message about lasting facts; empty if there are none."""
    shown = f"told before, shown by 'dataops status {source}'"
    return f"{facts} messages {shown}" if facts > 1 else f"1 message {shown}" if facts else ""


def source_sensor(assets: SourceAssets) -> dg.SensorDefinition:
    """Build the sensor of a source; it starts switched on."""
    source = assets.source
    seconds = source.discovery.seconds_between_looks(len(assets.sources))
    quiet = QuietLooks(source, max(seconds, _REQUESTS_EVERY_SECONDS))

    @dg.sensor(
        name=partitions_name(source.name),
        target=_target(assets),
        # the daemon looks for due sensors every five seconds: one that is due a moment later would wait for the next
        minimum_interval_seconds=seconds - 1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={PLATFORM},
        description=f"Finds new inputs of {source.name} and requests runs for all that are not in its hub yet.",
        tags={SOURCE_TAG: source.name},
    )
    def look_for_inputs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        cursor = context.cursor or ""
        # without a tick before, a person asks for the look
        if context.last_tick_completion_time is not None and quiet.is_quiet(cursor):
            return dg.SensorResult(skip_reason=LEFT_OUT)
        platform: Platform = getattr(context.resources, PLATFORM)
        before = quiet.surroundings(platform)
        for run_id in end_dead_runs(context.instance):
            context.log.warning(f"run {run_id} is dead: its process was killed")
        seen = _look(assets, platform, context.instance, cursor)
        quiet.looked(platform, before if seen.is_at_rest else None, seen.cursor)
        seen.log(context.log)
        partitions = InputPartitions(name=partitions_name(source.name))
        return dg.SensorResult(
            run_requests=list(seen.requests),
            skip_reason=None if seen.requests else seen.summary,
            cursor=seen.cursor,
            dynamic_partitions_requests=[partitions.build_add_request(list(seen.new_partitions))]
            if seen.new_partitions
            else [],
            asset_events=list(seen.events),
        )

    return look_for_inputs


def source_schedule(assets: SourceAssets) -> dg.ScheduleDefinition:
    """Build the schedule of a source that declares one; it starts switched on and looks like the sensor."""
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
        for run_id in end_dead_runs(instance):
            context.log.warning(f"run {run_id} is dead: its process was killed")
        # a schedule has no cursor, so each of its looks tells all that lasts, and only the notes of this look
        seen = _look(assets, platform, instance, _NO_CURSOR)
        seen.log(context.log)
        if seen.new_partitions:
            instance.add_dynamic_partitions(partitions_name(source.name), list(seen.new_partitions))
        for event in seen.events:
            instance.report_runless_asset_event(event)
        return list(seen.requests) or dg.SkipReason(seen.summary)

    return look_for_inputs


def _look(assets: SourceAssets, platform: Platform, instance: dg.DagsterInstance, cursor: str) -> Look:
    """Look now; remove secrets from messages and errors."""
    # a look reads the metadata a dozen times
    with SecretsRemoved(f"looking for new inputs of {assets.source.name!r}"), platform.metadata.kept_open():
        platform.record_declarations()
        seen = _during_a_rollback(assets, platform, cursor)
        if seen is None:
            seen = look(assets, platform, instance, cursor, dt.datetime.now(dt.UTC))
    messages, not_taken, refused = (
        [mask(message) for message in some] for some in (seen.messages, seen.not_taken, seen.refused)
    )
    platform.not_taken[assets.source.name] = NotTaken(*([mask(text) for text in some] for some in astuple(seen.left)))
    return replace(seen, messages=messages, not_taken=not_taken, refused=refused)


def _during_a_rollback(assets: SourceAssets, platform: Platform, cursor: str) -> Look | None:
    """Return a look that requests nothing, while a rollback of the source is unfinished."""
    unfinished = platform.metadata.releases.unfinished()
    if unfinished is None or assets.source.name not in unfinished.sources:
        return None
    told = f"nothing is requested during the rollback to {unfinished.release!r}; if its process is gone: "
    return Look(messages=[f"{told}dataops rollback --resume"], cursor=cursor)


def _target(assets: SourceAssets) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*input_assets(assets.nodes))


def _running(instance: dg.DagsterInstance, assets: SourceAssets, order: Sequence[str]) -> set[str]:
    """Return the inputs of all active runs, whoever requested the run."""
    ours = set(input_assets(assets.nodes))
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


def _moved(assets: SourceAssets, platform: Platform, but: Collection[str]) -> Mapping[str, str]:
    """Return by id the new arrival time of merged inputs that arrived again, if it can change a row.

    It can change a row only if several inputs have this extract time. Inputs in `but` are requested or held anyway.
    """
    if isinstance(assets.source.refresh, AppendRefresh):
        return {}
    inputs = [item for item in platform.metadata.inputs_of_one_time(assets.source.name) if item.input_id not in but]
    if not inputs:
        return {}
    hub = platform.source_context(assets.source, assets.sources).hub.snapshot()
    manifest = HubManifest.read(hub.info if hub else None)
    return {item.input_id: item.arrival.isoformat() for item in manifest.misplaced(inputs)}


def _lost(assets: SourceAssets, platform: Platform, known: Collection[str], running: Collection[str]) -> list[Lost]:
    """Return data that the tables lost although the metadata has it. Its steps are forgotten, so they run again.

    Raises StorageError if a whole table is gone: most likely its volume is not mounted, and no new table may take its
    place.
    """
    if not known:
        return []
    source_context = platform.source_context(assets.source, assets.sources)
    found = lost_data.lost(source_context, running)
    lost_data.forget_lost(source_context, found)
    return found


def _waiting(assets: SourceAssets, platform: Platform, inputs: Sequence[Input]) -> Mapping[str, InputWaits]:
    """Return the inputs that wait for another source to be recent enough, with the reason."""
    if not assets.source.waits_for:
        return {}
    return waits.waiting(platform.source_context(assets.source, assets.sources), inputs)


def _told_to_wait(assets: SourceAssets, waiting: Mapping[str, InputWaits]) -> dg.AssetCheckEvaluation:
    """Return the check that shows in the UI which inputs wait, and for what. It passes when they are enriched."""
    source = assets.source
    outcomes = waits.outcomes(source, (), waiting)
    node = next(node for node in assets.nodes if node.name == PER_INPUT[WAITS_AT])
    report = StepReport(node.name, node.key, (), None, None, {}, 0, outcomes)
    (result,) = events.check_results(report, {node.key: {"waits_for": True}})
    return events.evaluation(result)


def _told(found: FoundInputs) -> Iterator[str]:
    if found.new:
        yield f"{len(found.new)} new inputs: {', '.join(_some([item.input_id for item in found.new]))}"
    yield from _some([f"{item.origin}: {item.note}" for item in found.noted])
    if found.left:
        yield f"{len(found.left)} files are left for the next look"


def _not_taken(settling: Sequence[str]) -> list[str]:
    return [f"still being written: {', '.join(_some(settling))}"] if settling else []


def _some(texts: Sequence[str]) -> list[str]:
    rest = len(texts) - _SHOWN
    return [*texts[:_SHOWN], f"and {rest} more"] if rest > 0 else list(texts)


def _noted(
    assets: SourceAssets, arrivals: Sequence[Arrival], found: FoundInputs, cursor: str
) -> tuple[list[dg.AssetObservation], str]:
    """Return observations of arrivals with a note, and a cursor for all notes that were reported.

    If an earlier look failed before it reported its notes, all notes are reported again.
    """
    known = {(item.origin, item.digest): item for item in arrivals if item.note not in ("", SETTLING)}
    fresh = {(item.origin, item.digest) for item in found.noted}
    now_told = _digest(known)
    if now_told == cursor:
        return [], cursor
    untold: Mapping[tuple[str, str], Any] = known
    if cursor in (_NO_CURSOR, _digest({key: item for key, item in known.items() if key not in fresh})):
        untold = {key: item for key, item in known.items() if key in fresh}
    raw = asset_key(assets.nodes[0].key)
    observations = [
        dg.AssetObservation(
            raw,
            partition=item.input_id,
            description=f"{item.origin}: {item.note}",
            metadata={
                "origin": item.origin,
                "size": item.size,
                **({"sha256": item.digest} if item.digest else {}),
                "arrived": dg.MetadataValue.timestamp(item.modified),
            },
        )
        for item in untold.values()
    ]
    return observations, now_told


def _short(input_id: str) -> str:
    return hashlib.sha256(input_id.encode()).hexdigest()[:8]


def _digest(known: Mapping[tuple[str, str], Any]) -> str:
    if not known:
        return ""
    return hashlib.sha256("\n".join(sorted("\t".join(key) for key in known)).encode()).hexdigest()[:16]
