"""Counts the rows that fail each validation, and stops the inputs in which one of severity `fail` does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, GateFailed
from dataops_assets.report import CheckOutcome
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.sql import alias, column, columns, literal, query
from dataops_assets.steps.enriching.enriched_rows import EnrichedRows
from dataops_assets.steps.enriching.row_status import Flag, flags_of
from dataops_assets.steps.enriching.rule_values import GONE

_EXAMPLES = 3


def count_rows(session: Session, enriched: EnrichedRows, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the rows of each input: `s_rows` (all), by status, `deleted`, and by the column of each flag."""
    flags = flags_of(enriched.rules.snapshot)
    conditions = {
        **{word: column("s_status").eq(word) for word in ("pass", "warn", "fail")},
        "deleted": column(GONE),
        **{flag.column: column(flag.column) for flag in flags},
    }
    sums = [alias(query("count(CASE WHEN $hit THEN 1 END)", hit=hit), name) for name, hit in conditions.items()]
    found = session.fetch(
        query(
            "SELECT s_input_id, count(*) AS s_rows, $sums FROM $enriched AS e GROUP BY s_input_id",
            sums=sums,
            enriched=enriched.table,
        )
    )
    counts = {input_id: dict.fromkeys(("s_rows", *conditions), 0) for input_id in ids}
    for row in found.to_pylist():
        counts[row.pop("s_input_id")] = row
    return counts


def reported_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of one input as the step reports them."""
    return {
        "rows": counts["s_rows"],
        "passed": counts["pass"] - counts["deleted"],
        "warned": counts["warn"],
        "quarantined": counts["fail"],
        "deleted": counts["deleted"],
    }


def quarantined_by_rule(rules: CompiledRules, counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many rows of one input each validation of severity `quarantine` keeps out of the hub."""
    found = {flag.name: counts[flag.column] for flag in flags_of(rules.snapshot) if flag.severity == "quarantine"}
    return {name: count for name, count in found.items() if count}


def validation_outcomes(
    rules: CompiledRules, asset: str, counts: Mapping[str, Mapping[str, int]]
) -> dict[str, CheckOutcome]:
    """Return the outcome `validation` of each input, if the source has validations or casts."""
    flags = flags_of(rules.snapshot)
    return {input_id: _outcome(flags, asset, count, input_id) for input_id, count in counts.items()} if flags else {}


def _outcome(flags: Sequence[Flag], asset: str, counts: Mapping[str, int], input_id: str) -> CheckOutcome:
    failed = [flag for flag in flags if counts[flag.column]]
    rows = counts["s_rows"] - counts["deleted"]
    details = "; ".join(f"{flag.name} ({flag.severity}) {counts[flag.column]:,}" for flag in failed)
    return CheckOutcome(
        asset=asset,
        check="validation",
        passed=not failed,
        severity="fail" if any(flag.severity == "fail" for flag in failed) else "warn",
        explanation=f"of {rows:,} rows failed: {details}" if failed else f"all {rows:,} rows pass {len(flags)} rules",
        input_id=input_id,
        numbers={"rows": rows, **{flag.name: counts[flag.column] for flag in flags}},
    )


def failed_inputs(
    session: Session, enriched: EnrichedRows, counts: Mapping[str, Mapping[str, int]]
) -> dict[str, DataOpsError]:
    """Return an error for each input in which a validation of severity 'fail' does not hold."""
    rules = enriched.rules
    found: dict[str, list[str]] = {}
    for flag in flags_of(rules.snapshot):
        hit = [input_id for input_id, count in counts.items() if count[flag.column]]
        if flag.severity != "fail" or not hit:
            continue
        hidden = [item.name for item in rules.source.columns if "pii" in item.tags]
        examples = _examples(session, enriched, flag, hit, hidden)
        for input_id in hit:
            count = counts[input_id]
            found.setdefault(input_id, []).append(
                f"{flag.name} does not hold in {count[flag.column]:,} of {count['s_rows'] - count['deleted']:,} rows, "
                f"e.g. {'; '.join(examples[input_id])}"
            )
    return {
        input_id: GateFailed(
            f"enriching input {input_id} of {rules.source.name!r}",
            received=". ".join(problems),
            next_step="correct the data at its origin or the validation; nothing of this input was published",
        )
        for input_id, problems in found.items()
    }


def _examples(
    session: Session, enriched: EnrichedRows, flag: Flag, ids: Sequence[str], hidden: Sequence[str]
) -> dict[str, list[str]]:
    """Return the first failing rows of each input with the values that decide; `hidden` columns are masked."""
    shown = [name for name in flag.uses if name != "s_row_id"]
    found = session.fetch(
        query(
            """
            SELECT e.s_input_id, e.s_row_id, $shown FROM $enriched AS e WHERE $hit AND e.s_input_id IN ($ids)
            QUALIFY row_number() OVER (PARTITION BY e.s_input_id ORDER BY e.s_row_id) <= $most
            ORDER BY e.s_input_id, e.s_row_id
            """,
            shown=columns(shown, "e"),
            enriched=enriched.table,
            hit=column(flag.column, "e"),
            ids=[literal(input_id) for input_id in ids],
            most=_EXAMPLES,
        )
    )
    examples: dict[str, list[str]] = {}
    for row in found.to_pylist():
        values = ", ".join(f"{name}={'***' if name in hidden else _shown(row[name])}" for name in shown)
        examples.setdefault(row["s_input_id"], []).append(f"row {row['s_row_id']} ({values})")
    return examples


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
