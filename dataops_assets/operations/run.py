"""Do all that is due now in this process, without a daemon: for `dataops run` and the demonstration.

Look for inputs, run their steps, then make the tables that follow the hubs and the dbt models, until nothing is due.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataops_assets.metadata.store import MetadataStore
from dataops_assets.steps.source_context import SourceContext

if TYPE_CHECKING:
    from dataops_assets.components.local import FailedRun, FinishedRun, LocalRunner
    from dataops_assets.components.status import SourceStatus

# by step, the count of the rows that it keeps out of the hub, and what it does with them
_KEEP_OUT = {"parse": ("rejected", "rejected"), "enrich": ("quarantined", "by validations")}


@dataclass(frozen=True)
class Noted:
    """New notes on arrivals, such as a file that replaces an earlier one."""

    notes: Sequence[str]


@dataclass(frozen=True)
class KeptOut:
    """Texts about inputs of the runs before, with the number of rows that are kept out of the hub."""

    inputs: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """The inputs, runs and files that need attention after `dataops run`."""

    statuses: Sequence[SourceStatus]
    failed_runs: Sequence[FailedRun]
    not_taken: Sequence[str]
    refused: Sequence[str]

    @property
    def is_well(self) -> bool:
        """Return whether nothing is held, failed or refused."""
        return not (self.failed_runs or self.refused or any(status.needs_attention for status in self.statuses))


def run_due(
    runner: LocalRunner, metadata: MetadataStore, sources: Sequence[str]
) -> Iterator[FinishedRun | KeptOut | Noted]:
    """Process everything that is due, until nothing is left. Yields each run when it has ended, and notes about it.

    Only inputs of `sources` are taken (default: all). Tables that follow the hubs are made for all sources.
    """
    if runner.inherit():
        yield from _counted(runner.run_automation(), metadata)
    yield from run_inputs(runner, metadata, sources)
    while (yield from _counted(runner.run_automation(), metadata)):
        # a file that arrived meanwhile is due, too
        if not (yield from run_inputs(runner, metadata, sources)):
            break
    runner.publish()
    runner.look_for_incidents()


def run_inputs(
    runner: LocalRunner, metadata: MetadataStore, sources: Sequence[str]
) -> Generator[FinishedRun | KeptOut | Noted, None, int]:
    """Look for inputs and run their steps; yield as `run_due` does, and return the number of runs."""
    runs = yield from _counted(runner.run_new_inputs(sources), metadata)
    if runner.notes:
        yield Noted(list(runner.notes))
        runner.notes.clear()
    return runs


def outcome(runner: LocalRunner, contexts: Sequence[SourceContext]) -> Outcome:
    """Return all that is held, failed or not taken now."""
    from dataops_assets.components.status import source_status

    statuses = [source_status(context) for context in contexts]
    told = {failed.table for status in statuses for failed in status.tables}
    return Outcome(
        statuses,
        [run for run in runner.failed_runs() if set(run.tables) - told],
        [text for found in runner.not_taken.values() for text in found.unsettled],
        [f"{source}: {text}" for source, found in runner.not_taken.items() for text in found.refused],
    )


def _counted(runs: Iterable[FinishedRun], metadata: MetadataStore) -> Generator[FinishedRun | KeptOut, None, int]:
    """Yield the runs, and then the rows that they kept out; return the number of runs."""
    inputs: dict[str, dict[str, None]] = {}
    number = 0
    for run in runs:
        number += 1
        inputs.setdefault(run.source, {}).update(dict.fromkeys(run.input_ids))
        yield run
    for source, ids in inputs.items():
        if texts := _kept_out(metadata, source, list(ids)):
            yield KeptOut(texts)
    return number


def _kept_out(metadata: MetadataStore, source: str, input_ids: Sequence[str]) -> list[str]:
    """Return a text for each of some inputs with rows that are rejected or kept out by a validation."""
    if not input_ids:
        return []
    found: dict[str, dict[str, str]] = {}
    for process in metadata.processes(source, input_ids=input_ids):
        counted, how = _KEEP_OUT.get(process.step, ("", ""))
        if process.status == "done" and (count := process.counts.get(counted)):
            found.setdefault(process.input_id, {})[process.step] = f"{count:,} {how}"
    return [
        f"{item.origin}: {', '.join(text for _, text in sorted(found[item.input_id].items(), reverse=True))}"
        for item in metadata.inputs(source, sorted(found))
    ]
