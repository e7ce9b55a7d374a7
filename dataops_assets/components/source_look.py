"""One look at one source: find its new inputs, and say which runs its unfinished inputs need.

A look tells what lasts (a held input, a file that cannot be taken) once, and again when it changes; `dataops status`
shows it at any time. A token says what was told. Inputs and their status are in the metadata store, runs are in
Dagster's storage.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dataops_assets.components import events
from dataops_assets.components.assets import SourceAssets
from dataops_assets.components.dead_runs import UNDER_WAY
from dataops_assets.components.events import asset_key
from dataops_assets.components.input_partitions import partitions_name
from dataops_assets.components.platform import NotTaken, Platform
from dataops_assets.components.requests import WAITS_AT, batches
from dataops_assets.components.run_attempts import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    end_killed,
    given_up,
    input_assets,
    observed,
    request,
)
from dataops_assets.components.source_progress import read_progress, unsettled
from dataops_assets.components.told_once import ToldOnce
from dataops_assets.components.unreported_commits import untold
from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.connections.discovery import discover
from dataops_assets.connections.look import SETTLING, FoundInputs
from dataops_assets.errors import GivenUp, InputWaits
from dataops_assets.metadata.store import Arrival
from dataops_assets.report import PER_INPUT, Input, StepReport
from dataops_assets.steps import waits
from dataops_assets.steps.merging.manifest import HubManifest
from dataops_assets.steps.upkeep import lost_data
from dataops_assets.steps.upkeep.lost_data import Lost

_SHOWN = 5


@dataclass(frozen=True)
class Look:
    """The result of one look at a source.

    `told` is a token: it changes if the notes, the waiting or given up inputs, or the lasting facts change.

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
    told: str = ""
    is_at_rest: bool = False

    @property
    def summary(self) -> str:
        """Return all messages as one text."""
        new = [*self.messages, *self.refused, *self.not_taken]
        return "; ".join([*(new or ["no new input"]), *([self.told_before] if self.told_before else [])])

    @property
    def is_silent(self) -> bool:
        """Return whether the look has no message, new or old."""
        return not (self.messages or self.refused or self.not_taken or self.told_before)

    def log(self, log: logging.Logger, source: str) -> None:
        """Log the messages with the name of the source, each at its level."""
        for message in self.messages:
            log.info(f"{source}: {message}")
        for message in self.not_taken:
            log.warning(f"{source}: {message}")
        for message in self.refused:
            log.error(f"{source}: {message}")


def look(assets: SourceAssets, platform: Platform, instance: dg.DagsterInstance, told: str, now: dt.datetime) -> Look:
    """Look for new inputs of a source and return the runs that it needs.

    `told` is the token of the look before, empty if there was none. `now` is aware.

    Raises ConfigError and StorageError as discovery does, and StorageError for a table that is not there any more.
    """
    source, metadata = assets.source, platform.metadata
    found = discover(source, platform.environment, metadata, now=now, databases=assets.databases, spark=platform.spark)
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
    noted, waits_told, given_up_told, known_told, facts_told = _words(told)
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
    notes, noted = _noted(assets, metadata.arrivals(source.name, noted_only=True), found, noted)
    now_waiting = _digest({(input_id, str(error)): None for input_id, error in waiting.items()})
    checked = [_told_to_wait(assets, waiting)] if waiting and now_waiting != waits_told else []
    # an input that is tried again is not given up now, but does not have to be shown again later
    told_as_given_up = set(given_up_told.split(","))
    given_up_before = {one for one in state.todo if _short(one) in told_as_given_up}
    shown = observed(assets, {one: error for one, error in paused.items() if one not in given_up_before}, state)
    now_given_up = ",".join(sorted(_short(one) for one in given_up_before | set(paused)))
    late, known_told = ([], known_told) if running else untold(assets, platform, instance, known_told)
    problems = [f"cannot be taken: {item.origin}: {item.error}" for item in found.problems]
    refused, not_taken = _some(once.fresh(problems)), _not_taken(found, once.fresh)
    left = NotTaken(_not_taken(found, list), _some(problems))
    now_told = " ".join((noted, now_waiting, now_given_up, known_told, once.token)).rstrip()
    events_told = [*notes, *checked, *shown, *late]
    before = _told_before(source.name, once.repeated)
    is_at_rest = not (requests or events_told or running or state.todo or moved or gone or found.settling or found.left)
    return Look(new_partitions, requests, events_told, messages, not_taken, refused, before, left, now_told, is_at_rest)


def _words(told: str) -> tuple[str, str, str, str, str]:
    noted, waiting, given_up, known, facts = (*told.split(" "), "", "", "", "", "")[:5]
    return noted, waiting, given_up, known, facts


def _told_before(source: str, facts: int) -> str:
    """Return a short message about lasting facts; empty if there are none."""
    shown = f"told before, shown by 'dataops status {source}'"
    return f"{facts} messages {shown}" if facts > 1 else f"1 message {shown}" if facts else ""


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
    yield from _some(found.taken_away)
    if found.left:
        yield f"{len(found.left)} files are left for the next look"


def _not_taken(found: FoundInputs, untold: Callable[[list[str]], list[str]]) -> list[str]:
    """Return a message for each reason why files wait, with those of its files that `untold` picks as new."""
    waiting = {
        "still being written": found.settling,
        "waits for its manifest": found.alone,
    }
    chosen = {reason: untold(files) for reason, files in waiting.items()}
    return [f"{reason}: {', '.join(_some(files))}" for reason, files in chosen.items() if files]


def _some(texts: Sequence[str]) -> list[str]:
    rest = len(texts) - _SHOWN
    return [*texts[:_SHOWN], f"and {rest} more"] if rest > 0 else list(texts)


def _noted(
    assets: SourceAssets, arrivals: Sequence[Arrival], found: FoundInputs, before: str
) -> tuple[list[dg.AssetObservation], str]:
    """Return observations of arrivals with a note, and a digest of all notes that were reported, `before` and now.

    If an earlier look failed before it reported its notes, all notes are reported again.
    """
    known = {(item.origin, item.digest): item for item in arrivals if item.note not in ("", SETTLING)}
    fresh = {(item.origin, item.digest) for item in found.noted}
    now_told = _digest(known)
    if now_told == before:
        return [], before
    untold: Mapping[tuple[str, str], Any] = known
    if before == _digest({key: item for key, item in known.items() if key not in fresh}):
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
