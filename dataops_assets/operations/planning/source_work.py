"""Does the work of a plan in the tables of one source, as a person would do it with the commands for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dataops_assets.errors import DataOpsError
from dataops_assets.metadata.store import ParsedInput
from dataops_assets.operations.planning.work import Work, WorkKind
from dataops_assets.report import PER_INPUT, StepReport
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.outdated import Outdated, outdated
from dataops_assets.steps.upkeep.reset import forget

if TYPE_CHECKING:
    from dataops_assets.components.by_hand import Done

RUN_ID = "dataops apply"
Begin = Callable[[str], None]
"""Is called with a description of each piece of work before it begins."""


@dataclass(frozen=True)
class DoneWork:
    """The result of a piece of work: rows computed, rows changed (None if not counted), and seconds."""

    kind: str
    subject: str
    table: str
    rows_predicted: int | None
    seconds_predicted: float | None
    rows: int | None
    changed: int | None
    seconds: float
    error: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Counted:
    """The rows that a piece of work computed and changed, and the errors of inputs."""

    rows: int | None = None
    changed: int | None = None
    error: str = ""


def timed(item: Work, do: Callable[[], Counted]) -> DoneWork:
    """Do a piece of work, and return what became of it. An error of the platform is part of the result."""
    started = time.perf_counter()
    try:
        counted = do()
    except DataOpsError as error:
        counted = Counted(error=str(error))
    seconds = round(time.perf_counter() - started, 3)
    predicted = (item.rows, item.seconds)
    return DoneWork(
        item.kind, item.subject, item.table, *predicted, counted.rows, counted.changed, seconds, counted.error
    )


def work_in_source(
    context: SourceContext, planned: Sequence[Work], parsed: Sequence[ParsedInput], before: str, begin: Begin
) -> Iterator[DoneWork]:
    """Do the planned work in the tables of a source, except recalculations; yield each piece when it is done.

    What is done already is left out. `parsed` and `before` are as for `outdated`. After an error the rest is left.
    """
    kinds = {item.kind: item for item in planned}
    doing = _SourceWork(context, parsed, before, begin)
    ways: Sequence[tuple[WorkKind, Callable[[], Counted]]] = (
        ("parse again", doing.parse_again),
        ("rebuild", doing.rebuild),
        ("apply rules", doing.apply_rules),
    )
    for kind, do in ways:
        if kind not in kinds:
            continue
        done = timed(kinds[kind], do)
        yield done
        if done.error:
            return


def recalculated(context: SourceContext) -> Counted:
    """Recalculate the keep-current rules of a source."""
    # the import of Dagster, which gets the report, takes seconds
    from dataops_assets.components.by_hand import recalculate

    report = recalculate(context)
    (receipt,) = report.inputs
    counts: Mapping[str, int] = receipt.counts
    return Counted(counts.get("rows_seen"), counts.get("rows_changed"), str(receipt.error or ""))


class _SourceWork:
    def __init__(self, context: SourceContext, parsed: Sequence[ParsedInput], before: str, begin: Begin) -> None:
        self._context = context
        self._parsed = parsed
        self._before = before
        self._begin = begin

    def _outdated(self) -> Outdated:
        return outdated(self._context, self._parsed, self._before)

    def parse_again(self) -> Counted:
        from dataops_assets.components.by_hand import rebuild, run_steps

        context, name = self._context, self._context.source.name
        context.metadata.contracts.register(context.source)
        inputs = self._outdated().to_parse
        forget(context, "parse", inputs)
        self._begin(f"{name}: parse {len(inputs)} inputs again")
        parsed = run_steps(context, inputs, "parse", RUN_ID, _silent, last="parse")
        left = [item for item in inputs if item.input_id not in parsed.errors]
        # the inputs are to be compared as they are parsed now
        again = {item.input_id for item in inputs}
        self._parsed = [item for item in self._parsed if item.input_id not in again]
        if self._outdated().rebuild:
            self._begin(f"{name}: rebuild the hub")
            rebuild(context)
        self._begin(f"{name}: merge {len(left)} inputs")
        merged = run_steps(context, left, PER_INPUT[2], RUN_ID, _silent)
        rows = context.metadata.step_totals().get((name, "parse"))
        return Counted(rows.rows if rows else 0, _changed(merged.report), _errors(parsed, merged))

    def rebuild(self) -> Counted:
        from dataops_assets.components.by_hand import rebuild

        if not self._outdated().rebuild:
            return Counted(0, 0)
        self._begin(f"{self._context.source.name}: rebuild the hub")
        report = rebuild(self._context)
        return Counted(report.rows, _changed(report))

    def apply_rules(self) -> Counted:
        from dataops_assets.components.by_hand import apply_rules

        self._begin(f"{self._context.source.name}: apply changed rules")
        report = apply_rules(self._context)
        receipts = report.receipts if report is not None else ()
        return Counted(
            max((item.rows_seen for item in receipts), default=0),
            max((item.rows_changed for item in receipts), default=0),
        )


def _changed(report: StepReport | None) -> int | None:
    """Return the rows that a merge wrote or removed."""
    if report is None:
        return None
    found = [report.notes[name] for name in ("inserted", "amended", "removed") if name in report.notes]
    return sum(int(item) for item in found) if found else None


def _errors(*done: Done) -> str:
    errors = [f"{input_id}: {error}" for item in done for input_id, error in item.errors.items()]
    return "; ".join(errors)


def _silent(_step: str) -> None:
    """Say nothing: the work itself is announced."""
