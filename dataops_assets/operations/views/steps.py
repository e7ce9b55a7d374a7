"""How steps that were run by hand are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.report import StepReport

if TYPE_CHECKING:
    from dataops_assets.components.by_hand import Done
    from dataops_assets.errors import DataOpsError

_RECEIPTS = (
    Column("rule"),
    Column("version"),
    Column("rows seen", number=True),
    Column("rows changed", number=True),
)


def done(result: Done) -> Iterator[Shown]:
    """Return the inputs that failed a step, and the hub if it was reached."""
    yield from (f"input {input_id}: {error}" for input_id, error in result.errors.items())
    if result.report is not None and result.report.step == "refresh":
        yield f"{result.report.asset}: {result.report.result}"


def done_as_data(result: Done) -> dict[str, Any]:
    """Return the table that was made last and the failures as values of JSON."""
    return {
        "table": None if result.report is None else report_as_data(result.report),
        "failed": failures_as_data(result.errors),
    }


def report(made: StepReport) -> Iterator[Shown]:
    """Return the table that a step made, the inputs that failed, and the receipts of its rules."""
    for item in made.failures:
        yield f"input {item.input_id}: {item.error}" if item.input_id else f"{made.asset}: {item.error}"
    yield f"{made.asset}: {made.result}; {dict(made.notes)}"
    if made.receipts:
        rows = [[item.rule, item.version, f"{item.rows_seen:,}", f"{item.rows_changed:,}"] for item in made.receipts]
        yield Table(_RECEIPTS, rows)


def report_as_data(made: StepReport) -> dict[str, Any]:
    """Return the report of a step as values of JSON."""
    return {
        "asset": made.asset,
        "rows": made.rows,
        "version": made.version,
        "notes": dict(made.notes),
        "rules": [
            {
                "rule": item.rule,
                "version": item.version,
                "rows_seen": item.rows_seen,
                "rows_changed": item.rows_changed,
            }
            for item in made.receipts
        ],
        "failed": failures_as_data({item.input_id: item.error for item in made.failures if item.error is not None}),
    }


def failures_as_data(errors: Mapping[str, DataOpsError]) -> Sequence[dict[str, str]]:
    """Return failed inputs as values of JSON."""
    return [{"input": input_id, "error": str(error)} for input_id, error in errors.items()]
