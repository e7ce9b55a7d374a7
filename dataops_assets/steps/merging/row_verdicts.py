"""Validates all rows that decide the hub, and excludes those that fail.

Enrich validates the rows of change sets. A row that changed nothing when its input was compared is in no change set, so
it was not validated. It is validated here if it decides: if a version begins with it, or if it takes the place of
another row of its key at the same instant. Otherwise the hub would depend on the order of comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.sql import DIALECT, Relation, alias, column, columns, query
from dataops_assets.steps.enriching.rule_values import enrich_query
from dataops_assets.steps.merging import merged_values
from dataops_assets.steps.merging.change import Change, hub_columns_of, keeps_deletions, system_columns
from dataops_assets.steps.merging.hub_diff import HubDiff
from dataops_assets.steps.merging.merge import Timeline, compare, nothing_excluded, order
from dataops_assets.steps.merging.read_tables import ReadTables
from dataops_assets.steps.merging.row_identity import key_text, order_type
from dataops_assets.steps.merging.single_pass import Pairs
from dataops_assets.steps.merging.timelines import Ordered
from dataops_assets.storage import publish
from dataops_assets.storage.retyping import rows_cast_exactly

_IS_FRESH = "s_is_fresh"


@dataclass(frozen=True)
class PassingDiff:
    """A difference in which no row fails a validation.

    * `timeline`, `diff`: computed without the rows that fail.
    * `rows`: the full rows of `diff.insert`, without deletions.
    * `judged`: rows that were validated just now and are in no change set.
    """

    timeline: Timeline
    diff: HubDiff
    rows: exp.Query
    judged: tuple[exp.Query, ...] = ()


def known_failures(tables: ReadTables) -> Relation:
    """Return the rows that are known to fail a validation: `s_input_id` and `s_row_id`."""
    session = tables.session
    if tables.enriched is None:
        return nothing_excluded(session)
    scan = session.scan(tables.enriched)
    return session.create(query("SELECT s_input_id, s_row_id FROM $e AS e WHERE s_status = 'fail'", e=scan))


def may_lack_rows(tables: ReadTables, change: Change) -> bool:
    """Whether change sets may lack a row, because a row that took its place does not pass the validations.

    There are two cases. The row that took its place is known to fail. Or it was not validated: then the change set has
    an `old` row, which a change set in order otherwise never has.
    """
    session = tables.session
    if tables.enriched is None or not excludes_rows(change.source):
        return False
    rows = publish.scan_inputs(session, tables.enriched, change.ids)
    if _has_rows(session, rows.where(column("s_change", "r").eq("old"))):
        return True
    failed = rows.where(column("s_status", "r").eq("fail"))
    if not _has_rows(session, failed):
        return False
    keys = query(
        "SELECT r.s_input_id, r.s_row_id, $key AS s_key FROM $rows AS r",
        key=key_text(change.source, "r"),
        rows=publish.rows_of(tables.own, change.ids),
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


def without_failing(tables: ReadTables, timeline: Timeline, diff: HubDiff) -> PassingDiff:
    """Return the difference in which every row passes the validations, with its full rows.

    A deciding row that was not enriched before is enriched now. If it fails, it is excluded and the versions are
    computed again without it, until all remaining rows pass. Rows that were enriched before keep their rule values.
    """
    session, source = tables.session, tables.source
    rows = _enriched_before(tables)
    judged: list[exp.Query] = []
    while True:
        known = _enriched_fresh(session, timeline, diff, rows)
        if known is not None and timeline.delivery.planned:
            return PassingDiff(timeline, diff, known, tuple(judged))
        lacking = _not_enriched(session, timeline, diff, rows)
        if known is not None and not _has_rows(session, lacking):
            return PassingDiff(timeline, diff, known, tuple(judged))
        now = _enriched_now(tables, lacking)
        failing = query("SELECT k.* FROM $now AS k", now=now).where(column("s_status", "k").eq("fail"))
        if not _has_rows(session, failing):
            others = query("SELECT k.* FROM $now AS k", now=now).where(exp.not_(column(_IS_FRESH, "k")))
            if _has_rows(session, others):
                judged.append(others)
            begun = query("SELECT $names FROM $now AS k", names=columns(hub_columns_of(source), "k"), now=now)
            begun = begun.where(column(_IS_FRESH, "k"))
            written = begun if known is None else exp.union(known, begun, distinct=False)
            return PassingDiff(timeline, diff, written, tuple(judged))
        judged.append(failing)
        places = query("SELECT f.s_input_id, f.s_row_id FROM $failing AS f", failing=failing)
        before = query("SELECT * FROM $x AS x", x=timeline.excluded)
        timeline = order(session, timeline.seen, session.create(exp.union(before, places, distinct=False)))
        diff = compare(session, timeline)


def _enriched_before(tables: ReadTables) -> exp.Expr | None:
    """Return the rows of `hub/<source>_enriched` with the types of the hub; None if the table does not exist."""
    if tables.enriched is None:
        return None
    source = tables.source
    hub_columns, system = hub_columns_of(source), system_columns(source)
    # rows that were written with an earlier declaration have its types
    read_anew = (*system, *source.column_names) if tables.anew else system
    compiled = compile_rules(source, tables.context.sources)
    kinds = {name: kind for name, kind in compiled.hub_columns.items() if name in hub_columns and name not in read_anew}
    rows = rows_cast_exactly(tables.session, tables.enriched, kinds)
    if not tables.anew:
        return rows
    found: exp.Query = query(
        """
        SELECT $contract, $others, e.s_input_id, e.s_row_id FROM $rows AS e JOIN $lake AS r
          ON r.s_input_id = e.s_input_id AND r.s_row_id = e.s_row_id
        """,
        contract=columns(source.column_names, "r"),
        others=columns([name for name in hub_columns if name not in (*source.column_names, *system)], "e"),
        rows=rows,
        lake=tables.lake,
    )
    return found


def _enriched_fresh(session: Session, timeline: Timeline, diff: HubDiff, rows: exp.Expr | None) -> exp.Query | None:
    """Return the full rows of `diff.insert` that were enriched before; None if there are no enriched rows."""
    if rows is None:
        return None
    source = timeline.change.source
    system = system_columns(source)
    fresh = _fresh(source, diff)
    # read only the change sets of inputs that have rows to write, because there can be many
    ids = timeline.change.ids if timeline.delivery.planned else publish.input_ids_of(session, fresh)
    found: exp.Query = query(
        "SELECT $values FROM $fresh AS f JOIN $rows AS e ON e.s_input_id = f.s_input_id AND e.s_row_id = f.s_row_id",
        values=[column(name, "f" if name in system else "e") for name in hub_columns_of(source)],
        fresh=fresh,
        rows=publish.rows_of(rows, ids),
    )
    return found


def _fresh(source: Source, diff: HubDiff) -> exp.Select:
    """Return the rows of `diff.insert` that are not deletions."""
    fresh: exp.Select = query("SELECT f.* FROM $fresh AS f", fresh=diff.insert)
    return fresh.where(exp.not_(column("s_is_deleted", "f"))) if keeps_deletions(source) else fresh


def _not_enriched(session: Session, timeline: Timeline, diff: HubDiff, rows: exp.Expr | None) -> exp.Query:
    """Return the deciding rows that were not enriched before: those to insert, and others that are only validated."""
    source = timeline.change.source
    names = system_columns(source)
    wanted: exp.Query = query(
        "SELECT $names, $yes FROM $fresh AS f",
        names=columns(names, "f"),
        yes=alias(exp.true(), _IS_FRESH),
        fresh=_fresh(source, diff),
    )
    is_compared = not isinstance(timeline.seen, Pairs) and not isinstance(source.refresh, AppendRefresh)
    if excludes_rows(source) and is_compared:
        # if each key occurs once, every deciding row is among those to insert
        others = query(
            """
            SELECT $names, $no FROM $deciding AS d
            ANTI JOIN $fresh AS f ON f.s_input_id = d.s_input_id AND f.s_row_id = d.s_row_id
            """,
            names=columns(names, "d"),
            no=alias(exp.false(), _IS_FRESH),
            deciding=_counting(source, timeline.ordered)
            if merged_values.merges(source)
            else _deciding(source, timeline.ordered),
            fresh=diff.insert,
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


def _deciding(source: Source, ordered: Ordered) -> exp.Query:
    """Return the observations that decide the versions: those that begin one, and those that replace another row.

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
        timeline=ordered.rows,
        lost=ordered.lost,
    )
    return rows


def _counting(source: Source, ordered: Ordered) -> exp.Query:
    """Return all observations that are rows, because a row can give a value to a version that it does not begin."""
    order = exp.cast(exp.null(), order_type(source), dialect=DIALECT)
    values = {
        "s_updated_at": column("s_extract_time", "o"),
        "s_valid_from": column("s_order", "o"),
        "s_valid_to": order,
        "s_is_current": exp.false(),
        "s_is_deleted": exp.false(),
    }
    rows: exp.Query = query(
        "SELECT $values FROM $every AS o WHERE NOT o.s_deleted AND o.s_rank <> 0",
        values=[alias(values.get(name, column(name, "o")), name) for name in system_columns(source)],
        every=ordered.every,
    )
    return rows


def _enriched_now(tables: ReadTables, lacking: exp.Query) -> Relation:
    """Return the `lacking` rows with their rule values and status."""
    source = tables.source
    parsed = query(
        """
        SELECT $columns, $system FROM $lacking AS f JOIN $lake AS r
          ON r.s_input_id = f.s_input_id AND r.s_row_id = f.s_row_id
        """,
        lacking=lacking,
        columns=columns(source.column_names, "r"),
        system=columns((*system_columns(source), _IS_FRESH), "f"),
        lake=tables.lake,
    )
    return tables.session.create(enrich_query(tables.context, tables.session, parsed))


def _has_rows(session: Session, rows: exp.Query) -> bool:
    return bool(session.fetch(query("SELECT 1 AS one FROM $rows AS f LIMIT 1", rows=rows)).num_rows)
