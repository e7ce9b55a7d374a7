"""The demonstration: run two subject areas from raw data to the warehouse, delivery by delivery, and sum up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dataops_assets.config.environment import Environment
from dataops_assets.demo.deliveries import deliver
from dataops_assets.demo.landing import STAGES
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.run import outcome, run_due, run_inputs, tell_outcome
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import Table

if TYPE_CHECKING:
    from dataops_assets.components.local import FinishedRun, LocalRunner

_TITLES = {
    "history": "A history arrives",
    "delivery_1": "A delivery: a month of days",
    "delivery_2": "A delivery: late days and corrections",
    "delivery_3": "A delivery: the rest",
    "bad": "Bad files arrive",
}
LAYERS = ("lake/{}", "lake/{}_changes", "hub/{}", "hub/{}_current")
Say = Callable[[str], None]


def run_demo(environment: Environment, runner: LocalRunner, contexts: Sequence[SourceContext], say: Say) -> bool:
    """Deliver every stage and run everything that is due after it; return whether anything was to do.

    A second call delivers nothing, requests nothing and changes nothing.
    """
    started = time.perf_counter()
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    sources = [context.source.name for context in contexts]
    worked = _seconds_in_steps(metadata, sources)
    landing = Path(environment.landing)
    done: list[FinishedRun] = []
    for stage in STAGES:
        delivered = deliver(landing, stage)
        say(f"\n{_TITLES[stage]} ({len(delivered.written)} new files)")
        if not run_inputs(runner, metadata, (), say, done):
            say("  nothing to do")
    say("\nWhat follows the hubs")
    before = len(done)
    run_due(runner, metadata, (), say, done)
    if len(done) == before:
        say("  nothing to do")
    say("\n" + summary(environment, sources))
    tell_outcome(outcome(runner, contexts), say)
    worked = _seconds_in_steps(metadata, sources) - worked
    say(f"\n{time.perf_counter() - started:.0f} s in all, {worked:.0f} s of them in the steps from raw to hub")
    return bool(done)


def _seconds_in_steps(metadata: MetadataStore, sources: Sequence[str]) -> float:
    return sum(process.seconds or 0.0 for source in sources for process in metadata.processes(source))


def summary(environment: Environment, sources: Sequence[str]) -> str:
    """Return a text table with each source's rows by layer and changes by kind, and the number of checks."""
    metadata = MetadataStore(environment.metadata_url)
    lines = [_row("rows of", "lake", "changes", "hub", "current", "new", "changed", "old", "deleted")]
    for source in sources:
        kinds: Counter[str] = Counter()
        for process in metadata.processes(source, "cdc"):
            kinds.update({kind: count for kind, count in process.counts.items() if isinstance(count, int)})
        rows = [_rows(environment, layer.format(source)) for layer in LAYERS]
        totals = [f"{kinds[kind]:,}" for kind in ("new", "changed", "old", "deleted")]
        lines.append(_row(source, *rows, *totals))
    passed: Counter[bool] = Counter()
    for source in sources:
        passed.update(result.outcome.passed for result in metadata.check_results(source))
    lines.append(f"\n{passed[True] + passed[False]:,} checks: {passed[True]:,} passed, {passed[False]:,} failed")
    return "\n".join(lines)


def _rows(environment: Environment, key: str) -> str:
    snapshot = Table(f"{environment.storage}/{key}").snapshot()
    return f"{snapshot.rows:,}" if snapshot else "-"


def _row(*cells: str) -> str:
    return cells[0].ljust(10) + "".join(cell.rjust(11) for cell in cells[1:])
