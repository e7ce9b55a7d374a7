"""Step 4, enrich: compute row-level rules, snapshot look-ups and validations for a change set."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from dataops_assets.config.types import stored_type
from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, GateFailed, InputError
from dataops_assets.profiles import Profile
from dataops_assets.quality.checks import distribution, earlier_inputs, table_schema, volume
from dataops_assets.quality.gates import blocked, gate_inputs
from dataops_assets.quality.profiling import profile_inputs
from dataops_assets.report import CheckOutcome, Input, InputReport, StepReport
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.sql import alias, column, columns, literal, query
from dataops_assets.steps import waits
from dataops_assets.steps.enriching import change_set_ids
from dataops_assets.steps.enriching.look_ups import RelatedHubs, refuse_ambiguous
from dataops_assets.steps.enriching.row_status import Flag, flags_of
from dataops_assets.steps.enriching.rule_values import GONE, present_rows, result_names, with_rules
from dataops_assets.steps.enriching.uniqueness import with_repeats
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.upkeep.lost_data import version_of
from dataops_assets.steps.upkeep.rule_backfill import backfill_rules, with_rule_versions
from dataops_assets.storage import publish
from dataops_assets.storage.retyping import rows_cast_exactly

STEP = "enrich"
_EXAMPLES = 3
# how many known profiles are searched for the inputs just before one that is enriched again
_PROFILES = 2000


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
        names = list(session.schema(rows))
        errors: dict[str, DataOpsError] = {}
        errors.update(refuse_ambiguous(session, rules.snapshot, present_rows(rules, rows, names), related))
        compared = with_repeats(context, session, rules.snapshot, rows, ids)
        # if nothing is computed, a view is enough and the rows are not copied
        keep = session.create if rules.snapshot.rules or flags_of(rules.snapshot) else session.define
        keep(with_rules(rules, compared, names, related), "s_enriched")
        counts = _counts(session, rules, ids)
        errors = {**_stopped(session, rules, counts), **errors}
        outcomes = {input_id: _outcomes(context, rules, counts[input_id], input_id) for input_id in ids}
        for input_id, contract in _contracts(context, session, [i for i in ids if i not in errors]).items():
            outcomes[input_id] += (contract,)
            error = blocked(contract)
            if error is not None:
                errors[input_id] = error

        good = [input_id for input_id in ids if input_id not in errors]
        for input_id, found in _checks(context, session, rules, names, good).items():
            outcomes[input_id] += found
        snapshot = version_of(context, context.enriched, STEP, ids)
        if good:
            kept = query(
                "SELECT $names FROM s_enriched AS e WHERE e.s_input_id IN ($ids)",
                names=columns(result_names(names, rules), "e"),
                ids=[literal(input_id) for input_id in good],
            )
            snapshot = publish.replace_inputs(
                session,
                context.enriched,
                kept,
                good,
                lambda info: change_set_ids.recorded(with_rule_versions(info, rules), compared_as, good),
            )
    return StepReport(
        step=STEP,
        asset=_asset(context),
        inputs=tuple(
            InputReport(
                input_id,
                _reported(counts[input_id]),
                errors.get(input_id),
                outcomes[input_id],
                _kept_out(rules, counts[input_id]),
                publish.written_as(snapshot, input_id),
            )
            for input_id in ids
        )
        + tuple(InputReport(input_id, {}, error) for input_id, error in waiting.items()),
        checks=waits.outcomes(context.source, inputs, waiting),
        rows=snapshot.rows if snapshot else 0,
        version=snapshot.version if snapshot else None,
        commit_id=snapshot.commit_id if snapshot else "",
        columns=snapshot.columns if snapshot else {},
        seconds=time.perf_counter() - started,
        notes=related.notes,
    )


def _asset(context: SourceContext) -> str:
    return f"hub/{context.source.name}_enriched"


def _change_sets(context: SourceContext, session: Session, ids: Sequence[str]) -> exp.Query:
    changes = version_of(context, context.changes, "cdc")
    if changes is None:
        raise InputError(
            f"enriching inputs of {context.source.name!r}",
            received="no change sets",
            next_step=f"materialize lake/{context.source.name}_changes first",
        )
    wanted = [literal(input_id) for input_id in ids] or [exp.null()]
    kinds = {item.name: stored_type(item.type) for item in context.source.columns}
    only = exp.In(this=column("s_input_id", "r"), expressions=wanted)
    files = publish.files_of(changes, ids)
    rows: exp.Query = query(
        "SELECT c.* FROM $changes AS c", changes=rows_cast_exactly(session, changes, kinds, only, files)
    )
    return rows


def _counts(session: Session, rules: CompiledRules, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the rows of each input: all, by status, deleted, and by flag column."""
    flags = flags_of(rules.snapshot)
    conditions = {
        **{word: column("s_status").eq(word) for word in ("pass", "warn", "fail")},
        "deleted": column(GONE),
        **{flag.column: column(flag.column) for flag in flags},
    }
    sums = [alias(query("count(CASE WHEN $hit THEN 1 END)", hit=hit), name) for name, hit in conditions.items()]
    found = session.fetch(
        query("SELECT s_input_id, count(*) AS s_rows, $sums FROM s_enriched AS e GROUP BY s_input_id", sums=sums)
    )
    counts = {input_id: dict.fromkeys(("s_rows", *conditions), 0) for input_id in ids}
    for row in found.to_pylist():
        counts[row.pop("s_input_id")] = row
    return counts


def _reported(counts: Mapping[str, int]) -> dict[str, int]:
    return {
        "rows": counts["s_rows"],
        "passed": counts["pass"] - counts["deleted"],
        "warned": counts["warn"],
        "quarantined": counts["fail"],
        "deleted": counts["deleted"],
    }


def _kept_out(rules: CompiledRules, counts: Mapping[str, int]) -> dict[str, int]:
    found = {flag.name: counts[flag.column] for flag in flags_of(rules.snapshot) if flag.severity == "quarantine"}
    return {name: count for name, count in found.items() if count}


def _outcomes(
    context: SourceContext, rules: CompiledRules, counts: Mapping[str, int], input_id: str
) -> tuple[CheckOutcome, ...]:
    """Return one 'validation' outcome, if the source has validations or casts."""
    flags = flags_of(rules.snapshot)
    if not flags:
        return ()
    failed = [flag for flag in flags if counts[flag.column]]
    rows = counts["s_rows"] - counts["deleted"]
    details = "; ".join(f"{flag.name} ({flag.severity}) {counts[flag.column]:,}" for flag in failed)
    return (
        CheckOutcome(
            asset=_asset(context),
            check="validation",
            passed=not failed,
            severity="fail" if any(flag.severity == "fail" for flag in failed) else "warn",
            explanation=f"of {rows:,} rows failed: {details}" if failed else f"{rows:,} rows hold {len(flags)} rules",
            input_id=input_id,
            numbers={"rows": rows, **{flag.name: counts[flag.column] for flag in flags}},
        ),
    )


def _stopped(
    session: Session, rules: CompiledRules, counts: Mapping[str, Mapping[str, int]]
) -> dict[str, DataOpsError]:
    """Return an error for each input in which a validation of severity 'fail' does not hold."""
    found: dict[str, list[str]] = {}
    for flag in flags_of(rules.snapshot):
        hit = [input_id for input_id, count in counts.items() if count[flag.column]]
        if flag.severity != "fail" or not hit:
            continue
        hidden = [item.name for item in rules.source.columns if "pii" in item.tags]
        examples = _examples(session, flag, hit, hidden)
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


def _examples(session: Session, flag: Flag, ids: Sequence[str], hidden: Sequence[str]) -> dict[str, list[str]]:
    """Return the first failing rows of each input with the values that decide; `hidden` columns are masked."""
    shown = [name for name in flag.uses if name != "s_row_id"]
    found = session.fetch(
        query(
            """
            SELECT e.s_input_id, e.s_row_id, $shown FROM s_enriched AS e WHERE $hit AND e.s_input_id IN ($ids)
            QUALIFY row_number() OVER (PARTITION BY e.s_input_id ORDER BY e.s_row_id) <= $most
            ORDER BY e.s_input_id, e.s_row_id
            """,
            shown=columns(shown, "e"),
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


def _contracts(context: SourceContext, session: Session, ids: Sequence[str]) -> dict[str, CheckOutcome]:
    """Return the outcome of the hub's gate for the rows that would reach the hub."""
    gate = context.source.gates.hub
    if gate is None or not ids:
        return {}
    rules = [rule.name for rule in context.source.snapshot_rules]
    rows = query(
        "SELECT $names FROM s_enriched AS e WHERE NOT e.s_gone AND e.s_status <> 'fail'",
        names=columns([*context.source.column_names, *rules, "s_key", "s_input_id", "s_row_id"], "e"),
    )
    return gate_inputs(session, gate, _asset(context), rows, ids)


def _checks(
    context: SourceContext, session: Session, rules: CompiledRules, names: Sequence[str], ids: Sequence[str]
) -> dict[str, tuple[CheckOutcome, ...]]:
    """Return the volume, schema and distribution outcomes of each input.

    Only rules are profiled, because the contract's columns were profiled in the lake. The size of a change set depends
    on what changed and can be 0, so only a declared maximum limits it.
    """
    source, asset, checks = context.source, _asset(context), context.source.checks
    if not ids or not (checks.volume.enabled or checks.table_schema.enabled or checks.distribution.enabled):
        return {}
    profiles = _profiles(session, rules, asset, ids)
    # saved first: of several versions of one file in this run only the last is history for the others
    context.metadata.save_profiles(source.name, asset, profiles)
    known = context.metadata.profiles(source.name, asset, limit=_PROFILES + len(profiles))
    kinds = session.schema(query("SELECT $names FROM s_enriched", names=columns(result_names(names, rules))))
    expected = {**kinds, **{name: kind for name, kind in rules.hub_columns.items() if name in kinds}}
    limits = checks.volume.model_copy(update={"min_rows": 0})
    outcomes = {}
    for profile in profiles:
        found: list[CheckOutcome] = []
        if checks.volume.enabled:
            found.append(volume(profile, (), limits))
        if checks.table_schema.enabled:
            found.append(table_schema(asset, kinds, expected, checks.table_schema, profile.input_id))
        if checks.distribution.enabled:
            found.append(distribution(profile, earlier_inputs(profile, known), checks.distribution))
        outcomes[profile.input_id] = tuple(found)
    return outcomes


def _profiles(session: Session, rules: CompiledRules, asset: str, ids: Sequence[str]) -> list[Profile]:
    """Return the profile of every input, also of one without rows."""
    computed = rules.snapshot.rules
    rows = query(
        "SELECT $names FROM s_enriched AS e WHERE e.s_input_id IN ($ids) AND NOT e.s_gone",
        names=columns([*computed, "s_input_id"], "e"),
        ids=[literal(input_id) for input_id in ids],
    )
    hidden = [name for name, rule in computed.items() if rule.personal]
    types = {name: rule.type for name, rule in computed.items()}
    found = {item.input_id: item for item in profile_inputs(session, rows, types, asset, hidden)}
    return [found.get(input_id) or Profile(asset, input_id, 0, ()) for input_id in ids]
