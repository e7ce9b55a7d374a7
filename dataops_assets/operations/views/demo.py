"""How the demonstration is shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.operations.demo import KINDS, LAYERS, DemoSummary, NothingToDo, Stage
from dataops_assets.operations.run import Outcome
from dataops_assets.operations.views import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataops_assets.components.local import FinishedRun
    from dataops_assets.operations.demo import Event


def event(what: Event) -> list[Shown]:
    """Return the text about one event of the demonstration."""
    if isinstance(what, Stage):
        return [f"\n{what.title}" + ("" if what.files is None else f" ({what.files:,} new files)")]
    if isinstance(what, NothingToDo):
        return ["  nothing to do"]
    return run.event(what)


def summary(found: DemoSummary, result: Outcome, address: str) -> Iterator[Shown]:
    """Return the numbers, what is held or failed, and where to look at it."""
    columns = [Column("rows of"), *(Column(name, number=True) for name in (*LAYERS, *KINDS))]
    rows = [
        [
            item.source,
            *("-" if item.rows[layer] is None else f"{item.rows[layer]:,}" for layer in LAYERS),
            *(f"{item.changes[kind]:,}" for kind in KINDS),
        ]
        for item in found.sources
    ]
    yield from ("", Table(columns, rows))
    checks = found.checks_passed + found.checks_failed
    yield f"\n{checks:,} checks: {found.checks_passed:,} passed, {found.checks_failed:,} failed"
    yield from run.outcome(result)
    yield f"\n{found.seconds:.0f} s in all, {found.seconds_in_steps:.0f} s of them in the steps from raw to hub"
    yield f"\nOpen it: make dev, then {address}"


def summary_as_data(found: DemoSummary, result: Outcome, done: Sequence[FinishedRun]) -> dict[str, Any]:
    """Return the summary and the outcome as values of JSON."""
    return {"summary": asdict(found), **run.outcome_as_data(result, done)}
