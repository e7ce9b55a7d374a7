"""Finds the keys that a change can affect, with their hub rows and their observations."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.sql import Relation, column, columns, query
from dataops_assets.steps.merging import (
    group_deletes,
    input_periods,
    merged_values,
    replace_scope,
    settled_inputs,
    validity,
)
from dataops_assets.steps.merging.change import (
    Change,
    absence_deletes,
    is_event,
    is_gone,
    no_hub_rows,
    observed_columns,
)
from dataops_assets.steps.merging.observations import Delivery, observed_in_lake, settled_start
from dataops_assets.steps.merging.row_identity import key_text
from dataops_assets.storage.publish import rows_of


@dataclass(frozen=True)
class AffectedKeys:
    """The keys whose versions a change can change.

    * `added`: the observations of the added inputs.
    * `covers`: the part of the table that each input covers. None if an input covers the whole table, or nothing.
    """

    keys: Relation
    added: Relation
    covers: Relation | None = None


@dataclass(frozen=True)
class Observed:
    """The observations of the affected keys, and their rows in the hub. Both decide the versions.

    * `rows`: the observations of the keys.
    * `existing`: the hub rows of the keys as they are, with file and position.
    * `covers`: as in `AffectedKeys`.
    """

    delivery: Delivery
    rows: Relation
    existing: Relation
    covers: Relation | None = None


def affected_keys(session: Session, delivery: Delivery, hub: exp.Expr | None, lake: exp.Expr) -> AffectedKeys:
    """Find the keys whose versions can change: those in the added inputs, and those that the inputs delete."""
    change, source = delivery.change, delivery.source
    covers = _covers(session, delivery, lake) if replace_scope.is_partial(source) else None
    added = session.create(query("SELECT d.* FROM $delivered AS d", delivered=delivery.rows))
    if hub is None:
        keys = query("SELECT a.s_key FROM $added AS a", added=added)
        if change.settled is not None:
            start = query("SELECT s.s_key FROM $start AS s", start=settled_start(change, lake))
            keys = exp.union(keys, start, distinct=False)
    elif delivery.late:
        keys = _affected_keys_late(session, change, hub, lake)
    else:
        hub = validity.newest(source, hub)
        keys = _changed_keys(source, hub, added)
        if covers is not None:
            keys = exp.union(keys, _keys_absent_from_coverage(source, hub, added, covers), distinct=False)
        elif absence_deletes(source):
            keys = exp.union(keys, _keys_absent_from_extracts(change, hub, added), distinct=False)
    return AffectedKeys(session.create(query("SELECT DISTINCT s_key FROM $keys AS k", keys=keys)), added, covers)


def _covers(session: Session, delivery: Delivery, lake: exp.Expr) -> Relation:
    """Return the part of the table that each input covers.

    For a change in order only the added inputs count. An incomplete input (`Change.incomplete`) covers
    nothing, because it is not known which other rows it contained.
    """
    if input_periods.declared_period(delivery.source) is not None:
        return session.create(_covered_periods(session, delivery))
    rows = query(
        """
        SELECT r.*, i.s_extract_time, i.s_rank, i.s_added FROM $lake AS r
        JOIN $inputs AS i ON i.s_input_id = r.s_input_id WHERE i.s_complete
        """,
        lake=lake,
        inputs=delivery.inputs,
    )
    if not delivery.late:
        rows = rows.where(column("s_added", "i"))
    origin = ("s_input_id", "s_extract_time", "s_rank", "s_added")
    return session.create(replace_scope.covers(delivery.source, rows, origin))


def _covered_periods(session: Session, delivery: Delivery) -> exp.Query:
    change = delivery.change
    source = delivery.source
    applied = {
        item.input_id: input_periods.told_by(source, item.as_input) for item in change.applied_after() if item.complete
    }
    wanted = applied if delivery.late else {key: applied[key] for key in change.ids if key in applied}
    found: exp.Query = query(
        """
        SELECT p.*, i.s_extract_time, i.s_rank, i.s_added FROM $periods AS p
        JOIN $inputs AS i ON i.s_input_id = p.s_input_id
        """,
        periods=input_periods.periods(session, source, wanted),
        inputs=delivery.inputs,
    )
    return found


def _keys_absent_from_coverage(source: Source, hub: exp.Expr, added: Relation, covers: Relation) -> exp.Expr:
    """Return the keys of the hub that an added input covers and does not contain."""
    return query(
        """
        SELECT h.s_key FROM $hub AS h JOIN $covers AS n ON $is_covered
        ANTI JOIN $added AS a ON a.s_key = h.s_key AND a.s_rank = n.s_rank
        """,
        hub=hub,
        covers=covers,
        is_covered=replace_scope.is_covered(source, "h", "n"),
        added=added,
    )


def _changed_keys(source: Source, hub: exp.Expr, added: Relation) -> exp.Query:
    """Return the keys whose row in an added input differs from the hub, or that an added input deletes."""
    if merged_values.merges(source):
        # the values of a row are not those of the hub
        return query("SELECT a.s_key FROM $added AS a", added=added)
    return query(
        """
        SELECT a.s_key FROM $added AS a LEFT JOIN $hub AS h ON h.s_key = a.s_key
        WHERE $is_event
        """,
        added=added,
        hub=hub,
        is_event=is_event("a", "h", is_gone(source, "h")),
    )


def _keys_absent_from_extracts(change: Change, hub: exp.Expr, added: Relation) -> exp.Expr:
    """Return the keys of the hub that at least one of the added extracts does not contain."""
    return query(
        """
        SELECT h.s_key FROM $hub AS h
        LEFT JOIN (SELECT s_key, count(DISTINCT s_rank) AS s_seen FROM $added AS a GROUP BY s_key) AS p
          ON p.s_key = h.s_key
        WHERE coalesce(p.s_seen, 0) < $extracts AND NOT $gone
        """,
        hub=hub,
        gone=is_gone(change.source, "h"),
        added=added,
        extracts=len(change.adding),
    )


def _affected_keys_late(session: Session, change: Change, hub: exp.Expr, lake: exp.Expr) -> exp.Expr:
    """Return the keys that a late change can affect.

    These are the keys that the reached inputs contain or cover. With full extracts, or where rows of an applied input
    were parsed again, all keys of the concerned rows can change.
    """
    source, reached = change.source, change.reached
    concerned = query("SELECT r.* FROM $lake AS r WHERE $concerned", lake=lake, concerned=change.concerned("r"))
    key = key_text(source, "r")
    if change.settled is not None:
        # a key without key columns depends on all rows of its input, and some of them were removed
        key = query("coalesce($known, $key)", known=column(settled_inputs.KEY, "r"), key=key)
    rows = query("SELECT r.*, $key AS s_key FROM $rows AS r", key=key, rows=concerned)
    keys = query("SELECT r.s_key FROM $rows AS r", rows=rows)
    if change.is_remade:
        return exp.union(keys, query("SELECT h.s_key FROM $hub AS h", hub=hub), distinct=False)
    if not absence_deletes(source):
        keys = query("SELECT r.s_key FROM $rows AS r", rows=rows_of(rows, reached))
        if change.deletes_groups(reached):
            deleted = group_deletes.keys_in_groups(source, rows, rows_of(lake, reached))
            keys = exp.union(keys, deleted, distinct=False)
    elif replace_scope.is_partial(source):
        covered = query(
            "SELECT r.s_key FROM $rows AS r SEMI JOIN $reached AS n ON $is_covered",
            rows=rows,
            reached=input_periods.covers_of(session, source, lake, change.told_of(reached)),
            is_covered=replace_scope.is_covered(source, "r", "n", replace_scope.probe(source)),
        )
        keys = exp.union(query("SELECT r.s_key FROM $rows AS r", rows=rows_of(rows, reached)), covered, distinct=False)
    stored = query("SELECT h.s_key FROM $hub AS h", hub=rows_of(hub, change.moved))
    return exp.union(keys, stored, distinct=False)


def observe_keys(
    session: Session, delivery: Delivery, affected: AffectedKeys, hub: exp.Expr | None, lake: exp.Expr
) -> Observed:
    """Read the observations and the hub rows of the affected keys."""
    existing = session.create(
        no_hub_rows(delivery.source)
        if hub is None
        else query(
            "SELECT h.* FROM $hub AS h SEMI JOIN $affected AS t ON t.s_key = h.s_key", hub=hub, affected=affected.keys
        )
    )
    if delivery.late:
        rows = session.create(observed_in_lake(session, delivery, affected.keys, lake))
    else:
        rows = session.define(_observed_in_order(delivery, affected, None if hub is None else existing, lake))
    return Observed(delivery, rows, existing, affected.covers)


def _observed_in_order(
    delivery: Delivery, affected: AffectedKeys, existing: Relation | None, lake: exp.Expr
) -> exp.Query:
    """Return the observations of the added inputs, after the start of the timelines: the hub as it is."""
    change, source = delivery.change, delivery.source
    own: exp.Query = query(
        "SELECT $names, a.s_extract_time AS s_created_at FROM $added AS a",
        names=columns(observed_columns(source), "a"),
        added=affected.added,
    )
    if existing is None:
        return own if change.settled is None else exp.union(own, settled_start(change, lake), distinct=False)
    own = query(
        "SELECT o.* FROM $own AS o SEMI JOIN $affected AS t ON t.s_key = o.s_key", own=own, affected=affected.keys
    )
    start = query(
        """
        SELECT s_input_id, s_row_id, s_key, s_order, s_row_hash, s_updated_at AS s_extract_time,
               CAST(0 AS BIGINT) AS s_rank, FALSE AS s_added, $gone AS s_deleted, $carried, s_created_at
        FROM $newest AS e
        """,
        gone=is_gone(source, "e"),
        carried=columns((*replace_scope.carried_names(source), *merged_values.carried_names(source)), "e"),
        newest=validity.newest(source, query("SELECT x.* FROM $existing AS x", existing=existing)),
    )
    return exp.union(own, start, distinct=False)
