"""Compares observations in order directly with the hub, if each key occurs once.

Each observation is joined with the current version of its key in the hub. A new version begins where the two differ,
and it replaces or ends the version in the hub. Nothing is sorted and no timeline is read. Merged values are
made of the observation and that version.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.refresh import FullRefresh, KeyRefresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import FILE, POSITION, Session
from dataops_assets.sql import DIALECT, Relation, alias, column, columns, query
from dataops_assets.steps.merging import merged_values, replace_scope, validity
from dataops_assets.steps.merging.affected_keys import AffectedKeys
from dataops_assets.steps.merging.change import (
    ABSENT,
    Change,
    current_row_count,
    differs,
    is_event,
    is_gone,
    no_hub_rows,
    observed_columns,
    system_columns,
)
from dataops_assets.steps.merging.observations import Delivery
from dataops_assets.steps.merging.row_identity import order_type
from dataops_assets.storage.delta import TableVersion


@dataclass(frozen=True)
class Pairs:
    """Each observation of the added inputs, joined with the current version of its key in the hub.

    Each key occurs once, so `rows` have all that decides the versions.
    """

    delivery: Delivery
    rows: Relation


def pairs_suffice(change: Change, base: TableVersion | None) -> bool:
    """Whether a change in order needs only the current versions of the hub, if each key occurs once in it."""
    if base is None and change.settled is not None:
        return False
    is_one_extract = isinstance(change.source.refresh, FullRefresh) and len(change.adding) == 1
    if change.source.refresh.update_in_place or (change.source.refresh.merge and is_one_extract):
        # a version can change where none begins; a full extract is compared without its equal rows
        return False
    if validity.begins_in_rows(change.source):
        # a new version can change older ones
        return False
    if change.deletes_groups(change.ids):
        # one row concerns many keys
        return False
    if change.is_sparing(late=False):
        # a key without a parsed row can be present in the extract, as a rejected row
        return False
    return is_one_extract or isinstance(change.source.refresh, KeyRefresh)


def pairs_by_key(session: Session, delivery: Delivery, hub: exp.Expr | None) -> Pairs | AffectedKeys:
    """Join each observation with the current version of its key in the hub.

    Returns the affected keys instead, if a key occurs several times.
    """
    source = delivery.source
    present = _present(source, hub)
    delivered = query("SELECT d.* FROM $delivered AS d", delivered=delivery.rows)
    if source.refresh.merge:
        # read once, although they are joined twice: for the values, and then for the versions
        rows = session.create(delivered)
        delivered = query("SELECT d.* FROM $rows AS d", rows=rows)
        near = query("SELECT p.* FROM $hub AS p SEMI JOIN $rows AS d ON d.s_key = p.s_key", hub=present, rows=rows)
        present = query("SELECT n.* FROM $near AS n", near=session.create(near))
        delivered = merged_values.merged_with(source, delivered, present, observed_columns(source))
    pairs = session.create(
        query(
            """
            SELECT $names, a.s_extract_time AS s_created_at, h.s_gone AS s_deleted_before, FALSE AS s_is_old,
                   $is_event AS s_is_event,
                   CASE WHEN h.s_gone = FALSE THEN h.s_created_at ELSE a.s_extract_time END AS s_life_started_at,
                   $nothing AS s_next, $stored
            FROM $delivered AS a LEFT JOIN $hub AS h ON h.s_key = a.s_key
            """,
            names=columns(observed_columns(source), "a"),
            is_event=is_event("a", "h", column("s_gone", "h")),
            nothing=exp.cast(exp.null(), order_type(source), dialect=DIALECT),
            stored=_stored_columns(source),
            delivered=delivered,
            hub=present,
        )
    )
    repeated = query("SELECT p.s_key FROM $pairs AS p GROUP BY p.s_key HAVING count(*) > 1", pairs=pairs)
    if not session.fetch(query("SELECT 1 AS one FROM $repeated AS r LIMIT 1", repeated=repeated)).num_rows:
        return Pairs(delivery, pairs)
    if source.refresh.merge:
        # rows of one key count together, so each is taken as it was delivered
        keys = query("SELECT DISTINCT p.s_key FROM $pairs AS p", pairs=pairs)
        return AffectedKeys(keys=session.create(keys), added=delivery.rows)
    observed = query("SELECT $names FROM $pairs AS p", names=columns(observed_columns(source), "p"), pairs=pairs)
    keys = query("SELECT DISTINCT p.s_key FROM $pairs AS p WHERE p.s_is_event", pairs=pairs)
    return AffectedKeys(keys=session.create(keys), added=session.define(observed))


def pairs_by_extract(
    session: Session, delivery: Delivery, base: TableVersion | None, hub: exp.Expr | None
) -> Pairs | None:
    """Join a full extract with the hub, and keep the rows that differ and the absences.

    Most rows of a full extract are equal to the hub, and these are not stored. Returns None if the extract has a key
    several times: then a row that is equal to the hub was not stored, although another row of its key differs.
    """
    change, source, (item,) = delivery.change, delivery.source, delivery.change.adding
    pairs = session.create(
        query(
            """
            SELECT $input_id AS s_input_id, coalesce(d.s_row_id, $absent) AS s_row_id,
                   coalesce(d.s_key, h.s_key) AS s_key, $time AS s_order, d.s_row_hash, $time AS s_extract_time,
                   CAST($rank AS BIGINT) AS s_rank, TRUE AS s_added, d.s_key IS NULL AS s_deleted, $carried,
                   $time AS s_created_at, h.s_gone AS s_deleted_before, FALSE AS s_is_old,
                   $complete OR NOT d.s_key IS NULL AS s_is_event,
                   CASE WHEN h.s_gone = FALSE THEN h.s_created_at ELSE $time END AS s_life_started_at,
                   CAST(NULL AS TIMESTAMPTZ) AS s_next, $stored
            FROM $delivered AS d FULL JOIN $hub AS h ON h.s_key = d.s_key
            WHERE CASE WHEN d.s_key IS NULL THEN NOT h.s_gone ELSE $differs END
            """,
            input_id=item.input_id,
            absent=ABSENT,
            time=item.extract_time,
            rank=len(change.applied_after()),
            carried=[
                alias(exp.func("coalesce", column(name, "d"), column(name, "h")), name)
                for name in replace_scope.carried_names(source)
            ],
            complete=item.input_id not in change.incomplete,
            stored=_stored_columns(source),
            differs=differs("d", "h", column("s_gone", "h")),
            delivered=delivery.rows,
            hub=_present(source, hub),
        ),
    )
    return Pairs(delivery, pairs) if _is_each_once(session, delivery, pairs, base) else None


def _is_each_once(session: Session, delivery: Delivery, pairs: Relation, base: TableVersion | None) -> bool:
    """Whether each key occurs once in the extract, so that each of its rows has at most one partner in the hub."""
    tally = query(
        """
        SELECT count(*) AS pairs, count(DISTINCT p.s_key) AS keys,
               count(CASE WHEN NOT p.s_deleted THEN 1 END) AS observed,
               count(CASE WHEN p.s_deleted_before = FALSE THEN 1 END) AS standing
        FROM $pairs AS p
        """,
        pairs=pairs,
    )
    found = session.fetch(tally).to_pylist()[0]
    # rows that were not stored, of the extract and of the hub: the numbers are equal if each has one partner
    rows = sum(delivery.change.rows(input_id) for input_id in delivery.change.ids)
    standing = current_row_count(session, delivery.source, base)
    return found["pairs"] == found["keys"] and rows - found["observed"] == standing - found["standing"]


def pairs_not_excluded(pairs: Pairs, excluded: Relation) -> exp.Query:
    """Return the pairs without the `excluded` rows."""
    kept: exp.Query = query(
        """
        SELECT p.* FROM $pairs AS p
        ANTI JOIN $excluded AS x ON x.s_input_id = p.s_input_id AND x.s_row_id = p.s_row_id
        """,
        pairs=pairs.rows,
        excluded=excluded,
    )
    return kept


def replaced_rows(timeline: Relation) -> exp.Select:
    """Return file and position of the hub rows that new versions replace or (with history) end."""
    replaced: exp.Select = query(
        "SELECT t.s_file, t.s_position FROM $timeline AS t WHERE t.s_is_event AND NOT t.s_file IS NULL",
        timeline=timeline,
    )
    return replaced


def ended_versions(source: Source, timeline: Relation) -> exp.Query:
    """Return the hub versions that end where a new one begins, with file and position; none without history."""
    names = _held_columns(source)
    if not source.refresh.history:
        nothing: exp.Query = query(
            "SELECT $names FROM $none AS n", names=columns((*names, FILE, POSITION)), none=no_hub_rows(source)
        )
        return nothing
    ends = {"s_valid_to": column("s_order", "t"), "s_is_current": exp.false()}
    values = [alias(ends.get(name, column(f"s_held_{name}", "t")), name) for name in names]
    return replaced_rows(timeline).select(*values, append=False).select(*columns((FILE, POSITION), "t"))


def _present(source: Source, hub: exp.Expr | None) -> exp.Query:
    """Return the current versions of the hub; `s_gone` is true for a deletion."""
    rows = hub if hub is not None else no_hub_rows(source)
    found: exp.Query = query("SELECT h.*, $gone AS s_gone FROM $rows AS h", gone=is_gone(source, "h"), rows=rows)
    return found


def _held_columns(source: Source) -> tuple[str, ...]:
    return (*system_columns(source), *merged_values.value_names(source))


def _stored_columns(source: Source) -> list[exp.Expr]:
    """Return the columns of the hub that `pairs` has: file and position, and with history the system columns."""
    ended = [alias(column(name, "h"), f"s_held_{name}") for name in _held_columns(source) if source.refresh.history]
    return [*columns((FILE, POSITION), "h"), *ended]
