"""Computes the timelines of keys: their observations in order, with those that start or end a version."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.sql import DIALECT, Relation, alias, column, columns, query
from dataops_assets.steps.merging import merged_values, replace_scope
from dataops_assets.steps.merging.affected_keys import Observed
from dataops_assets.steps.merging.change import (
    ABSENT,
    absence_deletes,
    is_event,
    null_carried_columns,
    observed_columns,
)
from dataops_assets.steps.merging.row_identity import order_type, position_in_input, rank_in_order, value_text

_FACTS = ("s_deleted_before", "s_is_old", "s_is_event", "s_life_started_at", "s_next")


@dataclass(frozen=True)
class Ordered:
    """The observations of the affected keys, without those that are excluded.

    * `rows`: one observation of a key for each instant, with facts about its neighbours.
    * `lost`: observations that lost to another one at the same instant.
    * `every`: all observations, with the absences.

    Columns of `rows` besides those of an observation:
    * `s_is_event`: a version starts or ends here.
    * `s_next`: the order of the next event.
    * `s_is_old`: an applied input has a later observation of the key.
    * with `update_in_place`, see `merged_values.updated_in_place`.
    """

    rows: Relation
    lost: Relation
    every: Relation


def ordered(session: Session, observed: Observed, excluded: Relation) -> Ordered:
    """Order the observations of each key. Of several observations at one instant the last one counts."""
    source = observed.delivery.source
    every = session.create(_with_absences(observed, excluded))
    if not merged_values.merges(source):
        return _ordered(session, source, every)
    names = (*observed_columns(source), "s_created_at")
    found = _ordered(session, source, session.create(merged_values.merged(source, every, names)))
    if not source.refresh.update_in_place:
        return found
    return replace(found, rows=session.create(merged_values.updated_in_place(source, found.rows, (*names, *_FACTS))))


def _ordered(session: Session, source: Source, every: Relation) -> Ordered:
    repeated = query(
        "SELECT o.s_key FROM $seen AS o WHERE o.s_rank <> 0 GROUP BY o.s_key HAVING count(*) > 1", seen=every
    )
    if not session.fetch(query("SELECT 1 AS one FROM $repeated AS r LIMIT 1", repeated=repeated)).num_rows:
        return Ordered(session.create(_unsorted_timelines(source, every)), session.define(no_rows_of(every)), every)
    keys = session.create(repeated)
    once = session.create(
        query("SELECT o.* FROM $seen AS o ANTI JOIN $repeated AS r ON r.s_key = o.s_key", seen=every, repeated=keys)
    )
    rows = session.create(
        exp.union(_unsorted_timelines(source, once), _sorted_timelines(source, every, keys), distinct=False)
    )
    lost = query(
        """
        SELECT o.* FROM $seen AS o SEMI JOIN $repeated AS r ON r.s_key = o.s_key
        ANTI JOIN $timeline AS t ON t.s_input_id = o.s_input_id AND t.s_row_id = o.s_row_id
        """,
        seen=every,
        repeated=keys,
        timeline=rows,
    )
    return Ordered(rows, session.define(lost), every)


def no_rows_of(rows: Relation) -> exp.Query:
    """Return an empty relation with the columns of `rows`."""
    nothing: exp.Query = query("SELECT o.* FROM $rows AS o WHERE FALSE", rows=rows)
    return nothing


def observations_not_excluded(observed: Observed, excluded: Relation) -> exp.Query:
    """Return the observations without the `excluded` rows."""
    kept: exp.Query = query(
        """
        SELECT $names, o.s_created_at FROM $observed AS o
        ANTI JOIN $excluded AS x ON x.s_input_id = o.s_input_id AND x.s_row_id = o.s_row_id
        """,
        names=columns(observed_columns(observed.delivery.source), "o"),
        observed=observed.rows,
        excluded=excluded,
    )
    return kept


def _with_absences(observed: Observed, excluded: Relation) -> exp.Query:
    """Return the observations without the excluded rows, and the absences of keys. Change sets list the absences."""
    seen = observations_not_excluded(observed, excluded)
    if observed.delivery.planned or not absence_deletes(observed.delivery.source):
        return seen
    absences = _absences_from_extracts if observed.covers is None else _absences_from_coverage
    return exp.union(seen, absences(observed), distinct=False)


def _absences_from_extracts(observed: Observed) -> exp.Query:
    """Return, for full extracts, the absence of each key from the first complete extract after one that contained it.

    Extracts of the same time are a tie, so each of them has its own observation. Keys of rejected
    rows count as present.
    """
    source, delivery = observed.delivery.source, observed.delivery
    names = replace_scope.carried_names(source)
    # an excluded row is still present in its extract, so all observations count here
    present: exp.Query = query(
        "SELECT o.s_key, o.s_rank, $carried FROM $observed AS o", carried=columns(names, "o"), observed=observed.rows
    )
    carried: list[exp.Expr] = columns(names, "o")
    if delivery.spared is not None:
        rejected = query(
            "SELECT x.s_key, x.s_rank, $nothing FROM $spared AS x SEMI JOIN $observed AS o ON o.s_key = x.s_key",
            nothing=null_carried_columns(source),
            spared=delivery.spared,
            observed=observed.rows,
        )
        present = exp.union(present, rejected, distinct=False)
        # a rejected row has no carried values, so take those of the other rows of its key
        carried = [
            alias(query("max($value) OVER (PARTITION BY o.s_key)", value=column(name, "o")), name) for name in names
        ]
    rows: exp.Query = query(
        """
        SELECT n.s_input_id, CAST($absent AS BIGINT) AS s_row_id, p.s_key, n.s_extract_time AS s_order,
               CAST(NULL AS BIGINT) AS s_row_hash, n.s_extract_time, n.s_rank, n.s_added, TRUE AS s_deleted,
               $carried, $valueless, n.s_extract_time AS s_created_at
        FROM (
            SELECT o.s_key, o.s_rank, $whole,
                   lead(o.s_rank) OVER (PARTITION BY o.s_key ORDER BY o.s_rank) AS s_present_again
            FROM (SELECT s_key, s_rank, $any FROM $present AS o GROUP BY s_key, s_rank) AS o
        ) AS p
        JOIN $inputs AS i ON i.s_rank = p.s_rank
        JOIN $inputs AS f ON f.s_rank = i.s_next_rank
        JOIN $inputs AS n ON n.s_complete AND n.s_rank >= f.s_rank AND n.s_extract_time = f.s_extract_time
        WHERE p.s_present_again IS NULL OR n.s_rank < p.s_present_again
        """,
        absent=ABSENT,
        inputs=delivery.inputs,
        carried=columns(names, "p"),
        valueless=merged_values.nothing(source),
        whole=carried,
        any=[alias(exp.Min(this=column(name)), name) for name in names],
        present=present,
    )
    return rows


def _absences_from_coverage(observed: Observed) -> exp.Query:
    """Return the absence of each row from the later inputs that cover it."""
    source, delivery = observed.delivery.source, observed.delivery
    rows: exp.Query = query(
        """
        SELECT DISTINCT n.s_input_id, CAST($absent AS BIGINT) AS s_row_id, k.s_key, n.s_extract_time AS s_order,
               CAST(NULL AS BIGINT) AS s_row_hash, n.s_extract_time, n.s_rank, n.s_added, TRUE AS s_deleted,
               $carried_on, n.s_extract_time AS s_created_at
        FROM (SELECT s_key, $carried, min(s_rank) AS s_first FROM $observed AS o GROUP BY s_key, $carried) AS k
        JOIN $covers AS n ON n.s_rank > k.s_first AND $is_covered
        ANTI JOIN $observed AS p ON p.s_key = k.s_key AND p.s_rank = n.s_rank
        """,
        absent=ABSENT,
        carried=columns(replace_scope.carried_names(source)),
        carried_on=columns(replace_scope.carried_names(source), "k"),
        observed=observed.rows,
        covers=observed.covers,
        is_covered=replace_scope.is_covered(source, "k", "n"),
    )
    by = source.refresh.range_by
    if delivery.spared is None or by is None:
        return rows
    # a rejected row with the same range value may be this row
    kind = next(item.type for item in source.columns if item.name == by)
    kept: exp.Query = query(
        "SELECT d.* FROM $rows AS d ANTI JOIN $spared AS x ON x.s_rank = d.s_rank AND x.s_key = $text",
        rows=rows,
        spared=delivery.spared,
        text=value_text(column(replace_scope.carried_as(source)[by], "d"), kind),
    )
    return kept


def _unsorted_timelines(source: Source, seen: Relation) -> exp.Query:
    """Return the timelines of keys with one observation, or with one after the start (rank 0), without sorting.

    The observation comes after the hub as it is, or the whole timeline was read and has no start.
    """
    starts = query("SELECT o.* FROM $seen AS o WHERE o.s_rank = 0", seen=seen)
    later = query("SELECT o.* FROM $seen AS o WHERE o.s_rank <> 0", seen=seen)
    begins_or_ends = is_event("a", "h", column("s_deleted", "h"))
    first = query(
        """
        SELECT $names, h.s_created_at, CAST(NULL AS BOOLEAN) AS s_deleted_before, FALSE AS s_is_old, TRUE AS s_is_event,
               h.s_created_at AS s_life_started_at,
               CASE WHEN NOT a.s_key IS NULL AND $is_event THEN a.s_order END AS s_next
        FROM $starts AS h LEFT JOIN $later AS a ON a.s_key = h.s_key
        """,
        names=columns(observed_columns(source), "h"),
        is_event=begins_or_ends,
        starts=starts,
        later=later,
    )
    after = query(
        """
        SELECT $names, a.s_created_at, h.s_deleted AS s_deleted_before, FALSE AS s_is_old, $is_event AS s_is_event,
               CASE WHEN h.s_deleted = FALSE THEN h.s_created_at ELSE a.s_created_at END AS s_life_started_at,
               $nothing AS s_next
        FROM $later AS a LEFT JOIN $starts AS h ON h.s_key = a.s_key
        """,
        names=columns(observed_columns(source), "a"),
        is_event=begins_or_ends,
        nothing=exp.cast(exp.null(), order_type(source), dialect=DIALECT),
        starts=starts,
        later=later,
    )
    return exp.union(first, after, distinct=False)


def _sorted_timelines(source: Source, seen: Relation, repeated: Relation) -> exp.Query:
    """Return the timelines of the `repeated` keys, which have several observations, by sorting."""
    rows: exp.Query = query(
        """
        WITH latest AS (
            SELECT o.* FROM $seen AS o SEMI JOIN $repeated AS r ON r.s_key = o.s_key
            QUALIFY row_number() OVER (
                PARTITION BY s_key, s_order ORDER BY $rank DESC, $position DESC
            ) = 1
        ), placed AS (
            SELECT o.*,
                   lag(s_deleted) OVER w AS s_deleted_before,
                   lag(s_row_hash) OVER w AS s_hash_before,
                   coalesce(sum(CASE WHEN s_deleted THEN 1 ELSE 0 END) OVER (
                       PARTITION BY s_key ORDER BY s_order ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
                       AS s_life,
                   coalesce(max(CASE WHEN s_added THEN 0 ELSE 1 END) OVER (
                       PARTITION BY s_key ORDER BY s_order ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 0) = 1
                       AS s_is_old
            FROM latest AS o
            WINDOW w AS (PARTITION BY s_key ORDER BY s_order)
        ), marked AS (
            SELECT p.*,
                   coalesce(CASE WHEN s_deleted THEN s_rank = 0 OR s_deleted_before = FALSE
                                 ELSE s_deleted_before IS NULL OR s_deleted_before OR s_hash_before <> s_row_hash END,
                            FALSE) AS s_is_event,
                   first_value(s_created_at) OVER (PARTITION BY s_key, s_life ORDER BY s_order) AS s_life_started_at
            FROM placed AS p
        )
        SELECT $names, t.s_created_at, t.s_deleted_before, t.s_is_old, t.s_is_event, t.s_life_started_at,
               min(CASE WHEN s_is_event THEN s_order END) OVER (
                   PARTITION BY s_key ORDER BY s_order ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS s_next
        FROM marked AS t
        """,
        names=columns(observed_columns(source), "t"),
        rank=rank_in_order(source, "o"),
        position=position_in_input(source, "o"),
        seen=seen,
        repeated=repeated,
    )
    return query("SELECT s.* FROM $rows AS s", rows=rows)
