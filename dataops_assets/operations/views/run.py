"""Shows runs, and the work that is left after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dataops_assets.operations.answer import Item, Shown
from dataops_assets.operations.run import KeptOut, Noted, Outcome
from dataops_assets.operations.views.status import as_data, details, status_table

if TYPE_CHECKING:
    from dataops_assets.components.local import FinishedRun

_LISTED = 20


def event(what: FinishedRun | KeptOut | Noted) -> list[Shown]:
    """Return the text about a run that has ended, or about rows and notes after it."""
    if isinstance(what, Noted):
        return [f"  noted: {text}" for text in _some(what.notes)]
    if isinstance(what, KeptOut):
        return [f"  rows kept out: {text}" for text in _some(what.inputs)]
    found: list[Shown] = [f"  {'done' if what.succeeded else 'stopped'} in {what.seconds:.1f} s  {what.what}"]
    for failure in what.failures:
        # the list at the end has the details of each input
        found += [f"      {line}" for line in failure.splitlines()[: 1 if what.source else None]]
    return found


def outcome(result: Outcome) -> Iterator[Shown]:
    """Return the status table, and everything that is held, failed or not taken."""
    yield from ("", status_table(result.statuses), *details(result.statuses, only_wrong=True))
    for run in result.failed_runs:
        lines = [line for text in run.failures for line in text.splitlines()]
        lines.append(
            "next: fix the cause; it is made again when an upstream table changes, or by hand in the Dagster UI"
        )
        yield from ("", Item("failed", f"{', '.join(run.tables)}, in run {run.run_id}", lines))
    # the details tell why looks fail
    told = tuple(f"{status.source}: " for status in result.statuses if status.look)
    for text in (*(one for one in result.refused if not one.startswith(told)), *result.not_taken):
        yield f"\n{text}"


def outcome_as_data(result: Outcome, done: Sequence[FinishedRun]) -> dict[str, Any]:
    """Return what was done and what is held, failed or not taken as values of JSON."""
    return {
        "runs": [asdict(run) for run in done],
        "sources": [as_data(status) for status in result.statuses],
        "failed_runs": [asdict(run) for run in result.failed_runs],
        "refused": list(result.refused),
        "not_taken": list(result.not_taken),
        "is_well": result.is_well,
    }


def _some(texts: Sequence[str]) -> list[str]:
    rest = len(texts) - _LISTED
    return [*texts[:_LISTED], f"and {rest:,} more"] if rest > 0 else list(texts)
