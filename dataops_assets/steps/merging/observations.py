"""Makes the observations of keys: rows of a key at an order, delete markers, and the rows of settled inputs."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.refresh import AppendRefresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.sql import DIALECT, Relation, column, columns, query
from dataops_assets.steps.merging import group_deletes, merged_values, replace_scope, settled_inputs
from dataops_assets.steps.merging.change import Change, observed_columns
from dataops_assets.steps.merging.row_identity import delete_marker, key_text, order_type, order_value, row_hash
from dataops_assets.steps.merging.row_identity import group_deletes as declared_groups


@dataclass(frozen=True)
class Delivery:
    """The observations of the inputs that a change adds.

    * `inputs`: the applied and added inputs in order.
    * `rows`: the observations.
    * `late`: the whole timelines of the affected keys come from the lake.
    * `planned`: the observations come from enriched change sets. So absent keys are listed already, and new versions
      are enriched already.
    * `spared`: keys of rejected rows; their absence deletes nothing. None if there are none.
    """

    change: Change
    inputs: Relation
    rows: Relation
    late: bool
    planned: bool = False
    spared: Relation | None = None

    @property
    def source(self) -> Source:
        """Return the source of the change."""
        return self.change.source


def is_late(session: Session, change: Change) -> bool:
    """Whether the lake must be read.

    So it is if an added observation may come before an applied one, or the hub does not tell enough to go on with it.
    """
    if change.removing or change.revisited or change.has_known_inputs:
        return True
    if isinstance(change.source.refresh, AppendRefresh) or not change.manifest.inputs:
        return False
    if merged_values.needs_whole_timelines(change.source):
        return True
    order_by = change.source.refresh.order_by
    if order_by is None:
        return not change.manifest.is_before(change.adding)
    highs = [item.high for item in change.manifest.inputs.values() if item.high is not None]
    spans = [change.extents[item].spans[order_by] for item in change.ids if item in change.extents]
    lows = [span.low for span in spans if span.low is not None]
    if not highs or not lows:
        return False
    # as rows and not as literals, because a text may have characters that a literal cannot have
    ends = [{"s_end": high, "s_applied": True} for high in highs] + [{"s_end": low, "s_applied": False} for low in lows]
    registered = session.register(pa.Table.from_pylist(ends))
    order = exp.cast(column("s_end"), order_type(change.source), dialect=DIALECT)
    found = session.fetch(
        query(
            """
            SELECT min(CASE WHEN NOT s_applied THEN $order END) <= max(CASE WHEN s_applied THEN $order END) AS late
            FROM $ends AS e
            """,
            order=order,
            ends=registered,
        )
    )
    return bool(found.column("late")[0].as_py())


def ranked_inputs(session: Session, change: Change, *, late: bool) -> Relation:
    """Return the inputs ranked in order from 1, each with the rank of the next complete one.

    Rank 0 is the start of timelines: the hub as it is, or for whole timelines the settled inputs. Repeated inputs of an
    `append` source are left out, so they have no observations. Without `late` only the added inputs are returned: what
    the others say is in the hub.
    """
    repeated, added = change.repeated, set(change.ids)
    applied = [item for item in change.applied_after() if item.input_id not in repeated]
    # settled inputs are before all others, the hub as it is only before the added ones
    is_whole = change.settled is not None and late
    following: list[int | None] = [None] * (len(applied) + 1)
    for rank in range(len(applied) - 1, 0, -1):
        following[rank] = rank + 1 if applied[rank].complete else following[rank + 1]
    following[0] = next(
        (i for i, item in enumerate(applied, 1) if item.complete and (is_whole or item.input_id in added)), None
    )
    wanted = [(rank, item) for rank, item in enumerate(applied, 1) if late or item.input_id in added]
    return session.register(
        pa.table(
            {
                "s_input_id": pa.array([None, *(item.input_id for _, item in wanted)], pa.string()),
                "s_extract_time": pa.array(
                    [None, *(item.extract_time for _, item in wanted)], pa.timestamp("us", tz="UTC")
                ),
                "s_rank": pa.array([0, *(rank for rank, _ in wanted)], pa.int64()),
                "s_added": pa.array([False, *(item.input_id in added for _, item in wanted)], pa.bool_()),
                "s_complete": pa.array([False, *(item.complete for _, item in wanted)], pa.bool_()),
                "s_next_rank": pa.array([following[0], *(following[rank] for rank, _ in wanted)], pa.int64()),
            }
        ),
    )


def spared_keys(session: Session, change: Change, inputs: Relation, *, late: bool) -> Relation | None:
    """Return the keys of rejected rows with the rank of their input. In order only added inputs count."""
    if change.spared is None or not change.is_sparing(late=late):
        return None
    rows = query(
        "SELECT DISTINCT x.s_key, i.s_rank FROM $spared AS x JOIN $inputs AS i ON i.s_input_id = x.s_input_id",
        spared=change.spared,
        inputs=inputs,
    )
    return session.create(rows if late else rows.where(column("s_added", "i")))


def observations(source: Source, rows: exp.Expr, inputs: Relation) -> exp.Query:
    """Return the observations of parsed rows: identity, key, order, content hash, delete marker.

    Rows that delete groups of keys are left out, see `group_deletes`.
    """
    found = query(
        """
        SELECT r.s_input_id, r.s_row_id, $key AS s_key, $order AS s_order, $hash AS s_row_hash,
               i.s_extract_time, i.s_rank, i.s_added, $deleted AS s_deleted, $carried
        FROM $rows AS r JOIN $inputs AS i ON i.s_input_id = r.s_input_id
        """,
        key=key_text(source, "r"),
        order=order_value(source, "r", column("s_extract_time", "i")),
        hash=row_hash(source, "r", without=merged_values.merged_columns(source)),
        deleted=delete_marker(source, "r"),
        carried=[*replace_scope.carried_columns(source, "r"), *merged_values.delivered(source, "r")],
        rows=rows,
        inputs=inputs,
    )
    return group_deletes.without_markers(source, found, "r")


def observed_in_lake(session: Session, delivery: Delivery, keys: Relation, lake: exp.Expr) -> exp.Query:
    """Return the observations of the whole timelines of these keys."""
    rows = _rows_in_lake(delivery, keys, lake)
    if not declared_groups(delivery.source):
        return rows
    stored = session.create(rows)
    of_keys = group_deletes.keys_once(session, delivery.source, [query("SELECT s.* FROM $stored AS s", stored=stored)])
    deleted = query(
        "SELECT d.*, d.s_extract_time AS s_created_at FROM $deletions AS d",
        deletions=group_deletes.deletions(delivery.source, lake, delivery.inputs, of_keys),
    )
    return exp.union(query("SELECT s.* FROM $stored AS s", stored=stored), deleted, distinct=False)


def _rows_in_lake(delivery: Delivery, keys: Relation, lake: exp.Expr) -> exp.Query:
    change, source = delivery.change, delivery.source
    rows = query("SELECT r.* FROM $lake AS r WHERE $concerned", lake=lake, concerned=change.concerned("r"))
    # the key of a row without key columns is its content and its place, so it needs all equal rows of its input
    if source.refresh.key:
        rows = query(
            "SELECT r.* FROM $rows AS r SEMI JOIN $affected AS t ON t.s_key = $key",
            rows=rows,
            affected=keys,
            key=key_text(source, "r"),
        )
    found: exp.Query = query(
        """
        SELECT $names, o.s_extract_time AS s_created_at FROM $observations AS o
        SEMI JOIN $affected AS t ON t.s_key = o.s_key
        """,
        names=columns(observed_columns(source), "o"),
        observations=observations(source, rows, delivery.inputs),
        affected=keys,
    )
    if change.settled is None:
        return found
    start = query(
        "SELECT s.* FROM $start AS s SEMI JOIN $affected AS t ON t.s_key = s.s_key",
        start=settled_start(change, lake),
        affected=keys,
    )
    return exp.union(found, start, distinct=False)


def settled_start(change: Change, lake: exp.Expr) -> exp.Query:
    """Return the start of timelines after settled inputs: the rows of the hub when it had only these inputs."""
    rows: exp.Query = query(
        """
        SELECT r.s_input_id, r.s_row_id, $key AS s_key, $extracted AS s_order, $hash AS s_row_hash,
               $extracted AS s_extract_time, CAST(0 AS BIGINT) AS s_rank, FALSE AS s_added, FALSE AS s_deleted,
               $carried, $created AS s_created_at
        FROM $lake AS r WHERE $key IS NOT NULL
        """,
        key=column(settled_inputs.KEY, "r"),
        extracted=column(settled_inputs.EXTRACTED_AT, "r"),
        hash=row_hash(change.source, "r"),
        carried=replace_scope.carried_columns(change.source, "r"),
        created=column(settled_inputs.CREATED_AT, "r"),
        lake=lake,
    )
    return rows
