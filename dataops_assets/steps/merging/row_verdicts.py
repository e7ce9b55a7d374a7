"""Validates all rows that decide the hub, and excludes those that fail.

Enrich validates the rows of change sets. A row that changed nothing when its input was compared is in no change set, so
it was not validated. It is validated here if it decides: if a version begins with it, or if it takes the place of
another row of its key at the same instant. Otherwise the hub would depend on the order of comparison.
"""

from __future__ import annotations

from sqlglot import exp

from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import alias, column, columns, query
from dataops_assets.steps.enriching.judged_rows import note_judged
from dataops_assets.steps.enriching.rule_values import enrich_query
from dataops_assets.steps.merging import merge
from dataops_assets.steps.merging.change import Change, T, hub_columns_of, keeps_deletions, system_columns
from dataops_assets.steps.merging.row_identity import key_text
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish
from dataops_assets.storage.delta import TableVersion
from dataops_assets.storage.retyping import rows_cast_exactly

_NOW = "s_enriched_now"
_IS_FRESH = "s_is_fresh"


def exclude_failed(session: Session, enriched: TableVersion | None) -> None:
    """Create `excluded`: the rows that are known to fail a validation."""
    if enriched is None:
        merge.exclude_nothing(session)
        return
    failed = query("SELECT s_input_id, s_row_id FROM $e AS e WHERE s_status = 'fail'", e=session.scan(enriched))
    session.create(failed, T.excluded)


def may_lack_rows(session: Session, change: Change, enriched: TableVersion, own: exp.Expr) -> bool:
    """Whether change sets may lack a row, because a row that took its place does not pass the validations.

    There are two cases. The row that took its place is known to fail. Or it was not validated: then the change set has
    an `old` row, which a change set in order otherwise never has.
    """
    if not excludes_rows(change.source):
        return False
    rows = publish.scan_inputs(session, enriched, change.ids)
    if _has_rows(session, rows.where(column("s_change", "r").eq("old"))):
        return True
    failed = rows.where(column("s_status", "r").eq("fail"))
    if not _has_rows(session, failed):
        return False
    keys = query(
        "SELECT r.s_input_id, r.s_row_id, $key AS s_key FROM $rows AS r",
        key=key_text(change.source, "r"),
        rows=publish.rows_of(own, change.ids),
    )
    passed_over = query(
        """
        SELECT f.s_key FROM $failed AS f JOIN $keys AS o ON o.s_key = f.s_key
        WHERE NOT (o.s_input_id = f.s_input_id AND o.s_row_id = f.s_row_id)
        """,
        failed=failed,
        keys=keys,
    )
    return _has_rows(session, passed_over)


def excludes_rows(source: Source) -> bool:
    """Whether any validation of the source keeps rows out of the hub."""
    return any(item.severity != "warn" for item in source.validations)


def fresh_rows(
    context: SourceContext,
    session: Session,
    change: Change,
    reading: merge.Reading,
    enriched: TableVersion | None,
    lake: exp.Expr,
    *,
    anew: bool,
) -> exp.Query:
    """Return the full rows of `fresh` without deletions; none of them fails a validation.

    A deciding row that was not enriched before is enriched now. If it fails, it is excluded and the versions are
    computed again without it, until all remaining rows pass. Rows that were enriched before keep their rule values.
    With `anew` their other columns are read from the lake again.
    """
    hub_columns = hub_columns_of(context.source)
    rows = _enriched_before(context, session, enriched, lake, anew=anew)
    while True:
        known = _enriched_fresh(session, change, reading, rows)
        if known is not None and reading.planned:
            return known
        lacking = _not_enriched(session, change, reading, rows)
        if known is not None and not _has_rows(session, lacking):
            return known
        _enrich_now(context, session, lacking, lake)
        now = query("SELECT k.* FROM $now AS k", now=_NOW)
        failing = now.where(column("s_status", "k").eq("fail"))
        if not _has_rows(session, failing):
            is_fresh = column(_IS_FRESH, "k")
            if _has_rows(session, judged := now.where(exp.not_(is_fresh))):
                note_judged(session, judged)
            begun = query("SELECT $names FROM $now AS k", names=columns(hub_columns, "k"), now=_NOW)
            begun = begun.where(is_fresh.copy())
            return begun if known is None else exp.union(known, begun, distinct=False)
        note_judged(session, failing)
        places = query("SELECT f.s_input_id, f.s_row_id FROM $failing AS f", failing=failing)
        both = exp.union(query("SELECT * FROM $x AS x", x=T.excluded), places, distinct=False)
        session.create(both, "s_excluded_now")
        session.create(query("SELECT * FROM s_excluded_now"), T.excluded)
        merge.resolve(session, change, reading)
        merge.compare(session, change, reading)


def _enriched_before(
    context: SourceContext, session: Session, enriched: TableVersion | None, lake: exp.Expr, *, anew: bool
) -> exp.Expr | None:
    """Return the rows of `hub/<source>_enriched` with the types of the hub; None if the table does not exist."""
    if enriched is None:
        return None
    source = context.source
    hub_columns, system = hub_columns_of(source), system_columns(source)
    # rows that were written with an earlier declaration have its types
    read_anew = (*system, *source.column_names) if anew else system
    compiled = compile_rules(source, context.sources)
    kinds = {name: kind for name, kind in compiled.hub_columns.items() if name in hub_columns and name not in read_anew}
    rows = rows_cast_exactly(session, enriched, kinds)
    if not anew:
        return rows
    found: exp.Query = query(
        """
        SELECT $contract, $others, e.s_input_id, e.s_row_id FROM $rows AS e JOIN $lake AS r
          ON r.s_input_id = e.s_input_id AND r.s_row_id = e.s_row_id
        """,
        contract=columns(source.column_names, "r"),
        others=columns([name for name in hub_columns if name not in (*source.column_names, *system)], "e"),
        rows=rows,
        lake=lake,
    )
    return found


def _enriched_fresh(
    session: Session, change: Change, reading: merge.Reading, rows: exp.Expr | None
) -> exp.Query | None:
    """Return the full rows of `fresh` that were enriched before; None if there are no enriched rows."""
    if rows is None:
        return None
    source = change.source
    system = system_columns(source)
    fresh = _fresh(source)
    # read only the change sets of inputs that have rows to write, because there can be many
    ids = change.ids if reading.planned else publish.input_ids_of(session, fresh)
    found: exp.Query = query(
        "SELECT $values FROM $fresh AS f JOIN $rows AS e ON e.s_input_id = f.s_input_id AND e.s_row_id = f.s_row_id",
        values=[column(name, "f" if name in system else "e") for name in hub_columns_of(source)],
        fresh=fresh,
        rows=publish.rows_of(rows, ids),
    )
    return found


def _fresh(source: Source) -> exp.Select:
    """Return the rows of `fresh` that are not deletions."""
    fresh: exp.Select = query("SELECT f.* FROM $fresh AS f", fresh=T.fresh)
    return fresh.where(exp.not_(column("s_is_deleted", "f"))) if keeps_deletions(source) else fresh


def _not_enriched(session: Session, change: Change, reading: merge.Reading, rows: exp.Expr | None) -> exp.Query:
    """Return the deciding rows that were not enriched before: those of `fresh`, and others that are only validated."""
    source = change.source
    names = system_columns(source)
    wanted: exp.Query = query(
        "SELECT $names, $yes FROM $fresh AS f",
        names=columns(names, "f"),
        yes=alias(exp.true(), _IS_FRESH),
        fresh=_fresh(source),
    )
    if excludes_rows(source) and not reading.paired and not isinstance(source.refresh, AppendRefresh):
        # if each key occurs once, every deciding row is in `fresh`
        others = query(
            """
            SELECT $names, $no FROM $deciding AS d
            ANTI JOIN $fresh AS f ON f.s_input_id = d.s_input_id AND f.s_row_id = d.s_row_id
            """,
            names=columns(names, "d"),
            no=alias(exp.false(), _IS_FRESH),
            deciding=_deciding(source),
            fresh=T.fresh,
        )
        wanted = exp.union(wanted, others, distinct=False)
    if rows is None:
        return wanted
    lacking: exp.Query = query(
        """
        SELECT w.* FROM $wanted AS w
        ANTI JOIN $rows AS e ON e.s_input_id = w.s_input_id AND e.s_row_id = w.s_row_id
        """,
        wanted=wanted,
        rows=publish.rows_of(rows, publish.input_ids_of(session, wanted)),
    )
    return lacking


def _deciding(source: Source) -> exp.Query:
    """Return the rows of `timeline` that decide the versions: those that begin one, and those that replace another row.

    A row with the same content as the one before it decides nothing. The start of a timeline (rank 0) was validated
    before.
    """
    values = {
        "s_updated_at": column("s_extract_time", "t"),
        "s_valid_from": column("s_order", "t"),
        "s_valid_to": column("s_next", "t"),
        "s_is_current": column("s_next", "t").is_(exp.null()),
        "s_is_deleted": exp.false(),
    }
    rows: exp.Query = query(
        """
        SELECT $values FROM $timeline AS t LEFT JOIN (
            SELECT o.s_key, o.s_order, min(CASE WHEN o.s_deleted THEN NULL ELSE o.s_row_hash END) AS s_least,
                   max(CASE WHEN o.s_deleted THEN NULL ELSE o.s_row_hash END) AS s_most,
                   count(CASE WHEN o.s_deleted THEN 1 END) AS s_deletions
            FROM $lost AS o GROUP BY o.s_key, o.s_order
        ) AS h ON h.s_key = t.s_key AND h.s_order = t.s_order
        WHERE NOT t.s_deleted AND t.s_rank <> 0
          AND (t.s_is_event OR h.s_deletions > 0 OR h.s_least <> t.s_row_hash OR h.s_most <> t.s_row_hash)
        """,
        values=[alias(values.get(name, column(name, "t")), name) for name in system_columns(source)],
        timeline=T.timeline,
        lost=T.lost,
    )
    return rows


def _enrich_now(context: SourceContext, session: Session, lacking: exp.Query, lake: exp.Expr) -> None:
    """Create the temporary table of the enriched `lacking` rows."""
    source = context.source
    parsed = query(
        """
        SELECT $columns, $system FROM $lacking AS f JOIN $lake AS r
          ON r.s_input_id = f.s_input_id AND r.s_row_id = f.s_row_id
        """,
        lacking=lacking,
        columns=columns(source.column_names, "r"),
        system=columns((*system_columns(source), _IS_FRESH), "f"),
        lake=lake,
    )
    session.create(enrich_query(context, session, parsed), _NOW)


def _has_rows(session: Session, rows: exp.Query) -> bool:
    return bool(session.fetch(query("SELECT 1 AS one FROM $rows AS f LIMIT 1", rows=rows)).num_rows)
