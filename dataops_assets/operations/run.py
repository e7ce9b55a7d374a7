"""The command `dataops run`: do all that is due now in this process, without a daemon, and say what was done.

Look for inputs, run their steps, then make the tables that follow the hubs and the dbt models, until nothing is due. It
is the way of the demonstration, too.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.status import as_data, details, table
from dataops_assets.steps.source_context import SourceContext

if TYPE_CHECKING:
    from dataops_assets.components.local import FailedRun, FinishedRun, LocalRunner
    from dataops_assets.components.status import SourceStatus

Say = Callable[[str], None]
INTERRUPTED = 130
"""Exit status of a command that a signal ended, as a shell gives it."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LISTED = 20
# by step, the count of the rows that it keeps out of the hub, and what it does with them
_KEEP_OUT = {"parse": ("rejected", "rejected"), "enrich": ("quarantined", "by validations")}


def add_run_command(commands: Any) -> None:
    """Add the command to the parser."""
    due = commands.add_parser(
        "run", help="do all that is due now, in this process and without a daemon, and say what was done"
    )
    due.add_argument("source", nargs="*", help="take inputs of these sources; default: all sources")
    due.add_argument("--json", action="store_true", help="print the result as JSON; progress goes to the error stream")


@contextmanager
def obeying_signals() -> Iterator[Callable[[], None]]:
    """Let SIGTERM and SIGINT interrupt this process, also if a script started it in the background.

    A shell lets a background process of a script ignore SIGINT, and Dagster does with SIGTERM what is done with SIGINT.
    During a run Dagster takes the signals, and the run fails. So call the yielded function before the next run: it
    raises KeyboardInterrupt if a signal came.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def stop_if_told() -> None:
        with suppress(BlockingIOError):
            if set(os.read(read, 4096)) & set(_SIGNALS):
                raise KeyboardInterrupt

    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler)
    try:
        yield stop_if_told
        stop_if_told()
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


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
    runner: LocalRunner, metadata: MetadataStore, sources: Sequence[str], say: Say, done: list[FinishedRun]
) -> None:
    """Do all that is due, until nothing is; add each run to `done`.

    Only inputs of `sources` are taken (default: all). Tables that follow the hubs are made for all sources.
    """
    run_inputs(runner, metadata, sources, say, done)
    while _tell(runner.run_automation(), metadata, say, done):
        # a file that arrived meanwhile is due, too
        if not run_inputs(runner, metadata, sources, say, done):
            return


def run_inputs(
    runner: LocalRunner, metadata: MetadataStore, sources: Sequence[str], say: Say, done: list[FinishedRun]
) -> bool:
    """Look for inputs and run their steps; return whether anything was to do."""
    found = _tell(runner.run_new_inputs(sources), metadata, say, done)
    for note in _some(runner.notes):
        say(f"  noted: {note}")
    runner.notes.clear()
    return found


def outcome(runner: LocalRunner, contexts: Sequence[SourceContext]) -> Outcome:
    """Return what is held, failed or not taken now."""
    from dataops_assets.components.status import source_status

    statuses = [source_status(context) for context in contexts]
    told = {failed.table for status in statuses for failed in status.tables}
    return Outcome(
        statuses,
        [run for run in runner.failed_runs() if set(run.tables) - told],
        [text for found in runner.found.values() for text in found.not_taken],
        [f"{source}: {text}" for source, found in runner.found.items() for text in found.refused],
    )


def tell_outcome(result: Outcome, say: Say) -> None:
    """Show the status table, and everything that is held, failed or not taken."""
    say("\n" + table(result.statuses))
    for line in details(result.statuses, only_wrong=True):
        say(line)
    for run in result.failed_runs:
        say(f"\nfailed  {', '.join(run.tables)}, in run {run.run_id}")
        for text in run.failures:
            say("".join(f"  {line}\n" for line in text.splitlines()).rstrip())
        say("  next: mend the cause; it is made again when a table above it changes, or in the Dagster UI")
    for text in (*result.refused, *result.not_taken):
        say(f"\n{text}")


def tell_as_data(result: Outcome, done: Sequence[FinishedRun], say: Say) -> None:
    """Print what was done and what is held, failed or not taken as JSON."""
    found = {
        "runs": [asdict(run) for run in done],
        "sources": [as_data(status) for status in result.statuses],
        "failed_runs": [asdict(run) for run in result.failed_runs],
        "refused": list(result.refused),
        "not_taken": list(result.not_taken),
        "is_well": result.is_well,
    }
    say(json.dumps(found, indent=2, ensure_ascii=False))


def _tell(runs: Iterable[FinishedRun], metadata: MetadataStore, say: Say, done: list[FinishedRun]) -> bool:
    before = len(done)
    for run in runs:
        done.append(run)
        say(f"  {'done' if run.succeeded else 'stopped'} in {run.seconds:.1f} s  {run.what}")
        for failure in run.failures:
            # the list at the end has the details of each input
            lines = failure.splitlines()[: 1 if run.source else None]
            say("".join(f"      {line}\n" for line in lines).rstrip())
    inputs: dict[str, dict[str, None]] = {}
    for run in done[before:]:
        inputs.setdefault(run.source, {}).update(dict.fromkeys(run.input_ids))
    for source, ids in inputs.items():
        for text in _some(_kept_out(metadata, source, list(ids))):
            say(f"  rows kept out: {text}")
    return len(done) > before


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


def _some(texts: Sequence[str]) -> list[str]:
    rest = len(texts) - _LISTED
    return [*texts[:_LISTED], f"and {rest:,} more"] if rest > 0 else list(texts)
