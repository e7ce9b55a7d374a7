"""Computes the snapshot rules and the status of rows."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.rules.compiler import CompiledRules, compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.sql import alias, column, columns, query
from dataops_assets.steps.enriching.look_ups import RelatedHubs, refuse_ambiguous
from dataops_assets.steps.enriching.row_status import VERDICT, failed_names, flags_of, status
from dataops_assets.steps.enriching.uniqueness import with_repeats
from dataops_assets.steps.merging.change import is_deletion
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish

CHANGE = "s_change"
GONE = "s_gone"
"""Name of the column that says whether a row of a change set is a deletion."""


def enrich_query(context: SourceContext, session: Session, rows: exp.Query) -> exp.Query:
    """Return `rows` (contract and system columns) with the snapshot rules, `s_status` and `s_failed`.

    Raises InputError when a row matches several rows of a to-one look-up, RuleError for a wrong rule.
    """
    rules = compile_rules(context.source, context.sources)
    related = RelatedHubs(context, session, rules.snapshot)
    names = list(session.schema(rows))
    for error in refuse_ambiguous(session, rules.snapshot, present_rows(rules, rows, names), related).values():
        raise error
    ids = publish.input_ids_of(session, rows)
    compared = with_repeats(context, session, rules.snapshot, rows, ids)
    found: exp.Query = query(
        "SELECT $names FROM $enriched AS e",
        names=columns(result_names(names, rules), "e"),
        enriched=with_rules(rules, compared, names, related),
    )
    return found


def present_rows(rules: CompiledRules, rows: exp.Query, names: Sequence[str]) -> exp.Query:
    """Return the rows without deletions, because a deletion has no look-ups."""
    if CHANGE not in names:
        return rows
    present: exp.Query = query(
        "SELECT r.* FROM $rows AS r WHERE NOT $gone", rows=rows, gone=is_deletion(rules.source, "r")
    )
    return present


def result_names(names: Sequence[str], rules: CompiledRules) -> list[str]:
    """Return the names of the enriched columns: the given ones, the rules, the status."""
    return [*(name for name in names if name not in VERDICT), *rules.snapshot.rules, *VERDICT]


def with_rules(rules: CompiledRules, rows: exp.Query, names: Sequence[str], related: RelatedHubs) -> exp.Query:
    """Return `rows` with the rules, the status columns and the flags."""
    computed = list(rules.snapshot.rules)
    flags = flags_of(rules.snapshot)
    if CHANGE in names:
        rows = query("SELECT r.*, $gone AS s_gone FROM $rows AS r", gone=is_deletion(rules.source, "r"), rows=rows)
    found: exp.Query = evaluate(rules.snapshot, rows, related)
    values: list[exp.Expr]
    failed: list[exp.Expr]
    if CHANGE in names:
        gone = column(GONE, "e")
        values = [
            alias(query("CASE WHEN NOT $gone THEN $value END", gone=gone, value=column(n, "e")), n) for n in computed
        ]
        failed = [alias(exp.and_(gone.not_(), column(flag.column, "e")), flag.column) for flag in flags]
    else:
        values = columns(computed, "e")
        failed = columns([flag.column for flag in flags], "e")
    given = columns([*(name for name in names if name not in VERDICT), *([GONE] if CHANGE in names else [])], "e")
    found = query("SELECT $given FROM $rows AS e", given=[*given, *values, *failed], rows=found)
    verdict = [alias(status(flags), "s_status"), alias(failed_names(flags), "s_failed")]
    return query("SELECT e.*, $verdict FROM $rows AS e", verdict=verdict, rows=found)
