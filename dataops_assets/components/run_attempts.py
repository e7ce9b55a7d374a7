"""Attempts of a source's inputs: the run request for a batch, the status of killed runs, and pauses between tries.

Attempts are counted by the runs that Dagster has for exactly the same batch. The status of an input is its row in the
metadata: a killed run gets the status 'failed' with a reason there, like a run that failed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence

import dagster as dg

from dataops_assets.components.assets import SourceAssets
from dataops_assets.components.dead_runs import FINISHED
from dataops_assets.components.events import asset_key
from dataops_assets.components.graph import StepNode
from dataops_assets.components.requests import RUNS, Batch, Progress, pause
from dataops_assets.errors import GivenUp, RunDied
from dataops_assets.metadata.store import MetadataStore, StepStatus
from dataops_assets.report import PER_INPUT, InputReport, StepReport

BATCH_TAG = "dataops/batch"
SOURCE_TAG = "dataops/source"
# Dagster's own tags for the partition or the range of partitions of a run: only they can request a run of a range, so a
# run of one partition uses them, too
PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
_LAST = "; the last: "


def input_assets(steps: Sequence[StepNode]) -> list[dg.AssetKey]:
    """Return the assets of the steps per input. Downstream tables are requested by their automation condition."""
    return [asset_key(key) for node in steps if node.is_per_input for key in (node.key, node.beside) if key]


def end_killed(source: str, metadata: MetadataStore, instance: dg.DagsterInstance) -> None:
    """Record the steps of killed runs of a source as failed."""
    said: dict[str, list[StepStatus]] = {}
    for process in metadata.running(source):
        said.setdefault(process.run_id, []).append(process)
    if not said:
        return
    ended = instance.get_runs(filters=dg.RunsFilter(run_ids=sorted(said), statuses=FINISHED))
    metadata.end_running(source, {run.run_id: _died(source, said[run.run_id], run.run_id) for run in ended})


def _died(source: str, processes: Sequence[StepStatus], run_id: str) -> RunDied:
    inputs = "one input alone" if len(processes) == 1 else f"{len(processes)} inputs"
    return RunDied(
        f"{processes[0].step} of {source} for {inputs}",
        received=f"run {run_id} ended before it reported a result: it was killed, or memory or disk ran out",
        next_step="nothing; it is tried again" + (" in halves" if len(processes) > 1 else ""),
    )


def request(
    assets: SourceAssets, instance: dg.DagsterInstance, batch: Batch, state: Progress, now: dt.datetime
) -> dg.RunRequest | str:
    """Return the run request of a batch. After several runs that did not finish it, return why and how long it pauses.

    The run key contains the number of ended runs: a repeated request makes no second run, and a killed run is requested
    again. Changed declarations make another batch.
    """
    source = assets.source.name
    declared = "\n".join((batch.digest, *(node.code_version for node in assets.nodes if node.is_per_input)))
    digest = hashlib.sha256(declared.encode()).hexdigest()[:16]
    tags = {SOURCE_TAG: source, BATCH_TAG: digest}
    filters = dg.RunsFilter(tags=tags, statuses=FINISHED)
    ended = instance.get_runs_count(filters)
    if ended >= RUNS:
        (last,) = instance.get_run_records(filters, limit=1)
        end = dt.datetime.fromtimestamp(last.end_time, dt.UTC) if last.end_time else last.update_timestamp
        until = end + pause(ended)
        # do not wait if the clock was moved back
        if end <= now < until:
            return _why_paused(batch, state, ended, until)
    first, last_id = batch.input_ids[0], batch.input_ids[-1]
    is_one = first == last_id
    partitions = {PARTITION_TAG: first} if is_one else {RANGE_START_TAG: first, RANGE_END_TAG: last_id}
    return dg.RunRequest(
        run_key=f"{source}:{digest}:{ended}",
        partition_key=first if is_one else None,
        asset_selection=input_assets(
            [node for node in assets.nodes if node.name in PER_INPUT[batch.first_step : batch.end]]
        ),
        tags={**tags, **partitions},
    )


def _why_paused(batch: Batch, state: Progress, runs: int, until: dt.datetime) -> str:
    again = f"tried again at {until:%Y-%m-%d %H:%M:%S} UTC"
    step = PER_INPUT[batch.first_step]
    last = state.failed.get(batch.input_ids[0])
    error = (last.error if last is not None else None) or ""
    if last is not None and last.error_type == GivenUp.__name__:
        # the error of a given up input contains the last error of the step; keep that one, if there is one
        error = error[error.index(_LAST) + len(_LAST) :] if _LAST in error else ""
    if len(batch.input_ids) > 1 or not error:
        return f"{runs} runs for {_named(batch)} ended before {step} began; {again}"
    what = f"{batch.input_ids[0]} is given up for now: {runs} runs for it alone ended without {step}"
    return f"{what}; {again}{_LAST}{error}"


def given_up(
    assets: SourceAssets, metadata: MetadataStore, batch: Batch, state: Progress, why: str
) -> dict[str, GivenUp]:
    """Record for each input of a batch why its next run waits, and return the error by input."""
    error = GivenUp(why)
    node = next(node for node in assets.nodes if node.name == PER_INPUT[batch.first_step])
    by_run: dict[str, list[InputReport]] = {}
    for input_id in batch.input_ids:
        last = state.failed.get(input_id)
        if last is None or last.error != str(error):
            by_run.setdefault(last.run_id if last else "", []).append(InputReport(input_id, error=error))
    for run_id, reports in by_run.items():
        report = StepReport(node.name, node.key, tuple(reports), None, None, {}, 0.0)
        metadata.finish(assets.source.name, report, run_id)
    return dict.fromkeys(batch.input_ids, error)


def observed(assets: SourceAssets, paused: Mapping[str, GivenUp], state: Progress) -> list[dg.AssetObservation]:
    """Return the observations that the UI shows at the partitions of given up inputs."""
    keys = {node.name: asset_key(node.key) for node in assets.nodes}
    return [
        dg.AssetObservation(
            keys[PER_INPUT[state.todo[input_id]]],
            partition=input_id,
            description=str(error),
            metadata={"given_up": True},
        )
        for input_id, error in paused.items()
    ]


def _named(batch: Batch) -> str:
    return batch.input_ids[0] if len(batch.input_ids) == 1 else f"{batch.input_ids[0]} to {batch.input_ids[-1]}"
