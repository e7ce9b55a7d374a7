"""Step 4, enrich: compute row-level rules, snapshot look-ups and validations for a change set."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from dataops_assets.config.contract import SYSTEM_PREFIX
from dataops_assets.config.types import stored_type
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError
from dataops_assets.quality.gates import blocked, stopped
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.sql import column, columns, literal, query
from dataops_assets.steps import waits
from dataops_assets.steps.enriching import change_set_ids
from dataops_assets.steps.enriching.enriched_rows import EnrichedRows, enrich_rows
from dataops_assets.steps.enriching.input_checks import check_inputs, hub_gate
from dataops_assets.steps.enriching.look_ups import RelatedHubs, refuse_ambiguous
from dataops_assets.steps.enriching.rule_values import present_rows
from dataops_assets.steps.enriching.unchanged_rows import unchanged_rows
from dataops_assets.steps.enriching.validation_results import (
    count_rows,
    failed_inputs,
    quarantined_by_rule,
    reported_counts,
    validation_outcomes,
)
from dataops_assets.steps.evolved_columns import evolving_now
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import version_made
from dataops_assets.steps.upkeep.lost_data import version_of
from dataops_assets.steps.upkeep.rule_backfill import backfill_rules, with_rule_versions
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.retyping import rows_cast_exactly

STEP = "enrich"


@dataclass(frozen=True)
class _Judged:
    """For each input: the counts of its rows, the outcomes that decide, and its error if it may not be published."""

    counts: Mapping[str, Mapping[str, int]]
    outcomes: Mapping[str, Sequence[CheckOutcome]]
    errors: Mapping[str, DataOpsError]


def enrich(context: SourceContext, inputs: Sequence[Input]) -> StepReport:
    """Compute the snapshot rules and validations of change sets into `hub/<source>_enriched`.

    Grain: one row for each row of the change set, with the rule columns, `s_status` ('pass', 'warn', 'fail') and
    `s_failed` (names of failed validations). Deleted rows pass through without rule values. An input fails alone: with
    GateFailed for a validation of severity 'fail' or a blocking contract, with InputError for a to-one look-up that
    matches several rows, with InputWaits if a source that it waits for is not recent enough; nothing of it is
    published. A second run gives the same result while the looked-up hubs are the same. Raises InputError when there
    are no change sets at all, RuleError for a wrong rule.
    """
    started = time.perf_counter()
    context = evolving_now(context)
    rules = compile_rules(context.source, context.sources)
    backfill_rules(context, enriched_only=True)
    waiting = waits.waiting(context, inputs)
    ids = [item.input_id for item in inputs if item.input_id not in waiting]
    # read this before the rows: if they are replaced meanwhile, refresh compares again
    changes = context.changes.snapshot()
    compared_as = publish.written(changes.info) if changes else {}
    with context.engine.session() as session:
        rows = _change_sets(context, session, ids)
        related = RelatedHubs(context, session, rules.snapshot)
        present = present_rows(rules, rows, list(session.schema(rows)))
        ambiguous = refuse_ambiguous(session, rules.snapshot, present, related)
        enriched = enrich_rows(context, session, rules, rows, ids, related)
        arrived = [item for item in inputs if item.input_id not in waiting]
        others = unchanged_rows(context, session, rules.snapshot, arrived, rows)
        unchanged = enrich_rows(context, session, rules, others, ids, related) if others is not None else None
        judged = _judge(context, session, enriched, unchanged, ids, ambiguous)
        good = [input_id for input_id in ids if input_id not in judged.errors]
        checks = check_inputs(context, session, enriched, _asset(context), good)
        judged = replace(judged, errors={**judged.errors, **stopped(_asset(context), checks)})
        good = [input_id for input_id in good if input_id not in judged.errors]
        snapshot = version_of(context, context.enriched, STEP, ids)
        if good:
            snapshot = publish.replace_inputs(
                session,
                context.enriched,
                enriched.stored(good),
                good,
                lambda info: change_set_ids.recorded(with_rule_versions(info, rules), compared_as, good),
            )
    report = _report(context, judged, rules, checks, snapshot)
    return replace(
        report,
        inputs=(*report.inputs, *(InputReport(input_id, {}, error) for input_id, error in waiting.items())),
        checks=waits.outcomes(context.source, inputs, waiting),
        seconds=time.perf_counter() - started,
        notes=related.notes,
    )


def _asset(context: SourceContext) -> str:
    return f"hub/{context.source.name}_enriched"


def _change_sets(context: SourceContext, session: Session, ids: Sequence[str]) -> exp.Query:
    name = context.source.name
    changes = version_made(context, f"lake/{name}_changes", "cdc", f"enriching inputs of {name!r}", "no change sets")
    wanted = [literal(input_id) for input_id in ids] or [exp.null()]
    kinds = {item.name: stored_type(item.type) for item in context.source.columns}
    only = exp.In(this=column("s_input_id", "r"), expressions=wanted)
    files = publish.files_of(changes, ids)
    # the table can also have columns of earlier declarations, of which a rule may have the name now
    names = [*kinds, *(item for item in changes.columns if item.startswith(SYSTEM_PREFIX))]
    rows: exp.Query = query(
        "SELECT $names FROM $changes AS c",
        names=columns(names, "c"),
        changes=rows_cast_exactly(session, changes, kinds, only, files),
    )
    return rows


def _judge(
    context: SourceContext,
    session: Session,
    enriched: EnrichedRows,
    unchanged: EnrichedRows | None,
    ids: Sequence[str],
    ambiguous: Mapping[str, DataOpsError],
) -> _Judged:
    """Judge the inputs by the rows of their change sets, and by their `unchanged` rows if these can stop them."""
    counts = looked_at = count_rows(session, enriched, ids)
    errors = failed_inputs(session, enriched, counts)
    if unchanged is not None:
        others = count_rows(session, unchanged, ids)
        errors = {**failed_inputs(session, unchanged, others), **errors}
        looked_at = {
            item: {name: n + others[item][name] for name, n in found.items()} for item, found in counts.items()
        }
    errors |= ambiguous
    validations = validation_outcomes(enriched.rules, _asset(context), looked_at)
    gate = hub_gate(session, enriched, _asset(context), [input_id for input_id in ids if input_id not in errors])
    errors |= {input_id: error for input_id, outcome in gate.items() if (error := blocked(outcome)) is not None}
    outcomes = {input_id: [found[input_id] for found in (validations, gate) if input_id in found] for input_id in ids}
    return _Judged(counts, outcomes, errors)


def _report(
    context: SourceContext,
    judged: _Judged,
    rules: CompiledRules,
    checks: Mapping[str, Sequence[CheckOutcome]],
    snapshot: TableVersion | None,
) -> StepReport:
    return StepReport(
        step=STEP,
        asset=_asset(context),
        inputs=tuple(
            InputReport(
                input_id,
                reported_counts(counts),
                judged.errors.get(input_id),
                (*judged.outcomes[input_id], *checks.get(input_id, ())),
                quarantined_by_rule(rules, counts),
                publish.written_as(snapshot, input_id),
            )
            for input_id, counts in judged.counts.items()
        ),
        rows=snapshot.rows if snapshot else 0,
        version=snapshot.version if snapshot else None,
        commit_id=snapshot.commit_id if snapshot else "",
        columns=snapshot.columns if snapshot else {},
        seconds=0.0,
    )
