"""The demonstration: run two subject areas from raw data to the warehouse, delivery by delivery, and sum up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dataops_assets.config.environment import Environment
from dataops_assets.demo.deliveries import deliver
from dataops_assets.demo.landing import STAGES
from dataops_assets.metadata.store import MetadataStore
from dataops_assets.operations.run import KeptOut, Noted, run_due, run_inputs
from dataops_assets.storage.delta import Table

if TYPE_CHECKING:
    from dataops_assets.components.local import FinishedRun, LocalRunner

    Event: TypeAlias = "FinishedRun | KeptOut | NothingToDo | Noted | Stage"

_TITLES = {
    "history": "A history arrives",
    "delivery_1": "A delivery: a month of days",
    "delivery_2": "A delivery: late days and corrections",
    "delivery_3": "A delivery: the rest",
    "bad": "Bad files arrive",
}
LAYERS: Mapping[str, str] = {
    "lake": "lake/{}",
    "changes": "lake/{}_changes",
    "hub": "hub/{}",
    "current": "hub/{}_current",
}
"""By layer, the key of a source's table."""
KINDS = ("new", "changed", "old", "deleted")


@dataclass(frozen=True)
class Stage:
    """A part of the demonstration begins, with the number of its new files; None if it delivers no files."""

    title: str
    files: int | None = None


@dataclass(frozen=True)
class NothingToDo:
    """The previous part of the demonstration had nothing to do."""


@dataclass(frozen=True)
class SourceTotals:
    """The rows of a source's tables by layer (None without a table), and its changes by kind."""

    source: str
    rows: Mapping[str, int | None]
    changes: Mapping[str, int]


@dataclass(frozen=True)
class DemoSummary:
    """All sources in numbers, the checks, and the seconds: in all, and in the steps from raw to hub."""

    sources: Sequence[SourceTotals]
    checks_passed: int
    checks_failed: int
    seconds: float
    seconds_in_steps: float


def run_demo(
    environment: Environment, runner: LocalRunner, sources: Sequence[str]
) -> Generator[Event, None, DemoSummary]:
    """Deliver every stage and run everything that is due after it; yield what happens, and return the summary.

    A second call delivers nothing, requests nothing and changes nothing.
    """
    started = time.perf_counter()
    metadata = MetadataStore(environment.metadata_url)
    metadata.migrate()
    worked = _seconds_in_steps(metadata, sources)
    landing = Path(environment.landing)
    for stage in STAGES:
        delivered = deliver(landing, stage)
        yield Stage(_TITLES[stage], len(delivered.written))
        if not (yield from run_inputs(runner, metadata, ())):
            yield NothingToDo()
    yield Stage("What follows the hubs")
    was_due = False
    for event in run_due(runner, metadata, ()):
        was_due = True
        yield event
    if not was_due:
        yield NothingToDo()
    passed: Counter[bool] = Counter()
    for source in sources:
        passed.update(result.outcome.passed for result in metadata.check_results(source))
    return DemoSummary(
        [_totals(environment, metadata, source) for source in sources],
        passed[True],
        passed[False],
        time.perf_counter() - started,
        _seconds_in_steps(metadata, sources) - worked,
    )


def _seconds_in_steps(metadata: MetadataStore, sources: Sequence[str]) -> float:
    return sum(process.seconds or 0.0 for source in sources for process in metadata.processes(source))


def _totals(environment: Environment, metadata: MetadataStore, source: str) -> SourceTotals:
    kinds: Counter[str] = Counter()
    for process in metadata.processes(source, "cdc"):
        kinds.update({kind: count for kind, count in process.counts.items() if isinstance(count, int)})
    rows = {layer: _rows(environment, key.format(source)) for layer, key in LAYERS.items()}
    return SourceTotals(source, rows, {kind: kinds[kind] for kind in KINDS})


def _rows(environment: Environment, key: str) -> int | None:
    snapshot = Table(f"{environment.storage}/{key}").snapshot()
    return snapshot.rows if snapshot else None
