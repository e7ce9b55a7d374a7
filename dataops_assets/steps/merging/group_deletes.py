"""Makes the deletions of many keys by one row: a `truncate` event, or a marker of a part of the key.

Such a row is a delete marker of every key that has its values in the columns `by`, at the row's own place in the order.
So a row that is older, and arrives later, is deleted, too. The deletion has no row of its own in the lake, like a
deletion by absence; its `s_row_id` is -2 minus the position of the marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.rules.row_condition import row_condition
from dataops_assets.sql import Relation, all_rows, column, columns, conjunction, literal, query
from dataops_assets.steps.merging import merged_values, replace_scope
from dataops_assets.steps.merging.row_identity import OF_GROUPS, group_deletes, group_marker, order_value


def without_markers(source: Source, rows: exp.Query, table: str) -> exp.Query:
    """Return `rows` of the lake, named `table`, without the rows that delete groups. They are no rows of a key."""
    return rows.where(exp.not_(exp.paren(group_marker(source, table)))) if group_deletes(source) else rows


def deletions(source: Source, lake: exp.Expr, inputs: Relation, keys: Relation) -> exp.Query:
    """Return the deletions of these keys by the markers in `lake`, as observations. The source declares such markers.

    `keys`: see `keys_once`.
    """
    carried = replace_scope.carried_as(source)
    found = [
        query(
            """
            SELECT m.s_input_id, $first - m.s_row_id AS s_row_id, k.s_key, $order AS s_order,
                   CAST(NULL AS BIGINT) AS s_row_hash, i.s_extract_time, i.s_rank, i.s_added, TRUE AS s_deleted,
                   $carried, $valueless
            FROM $lake AS m JOIN $inputs AS i ON i.s_input_id = m.s_input_id JOIN $keys AS k ON $in_group
            WHERE $marks
            """,
            first=literal(OF_GROUPS),
            order=order_value(source, "m", column("s_extract_time", "i")),
            carried=columns(carried.values(), "k"),
            valueless=merged_values.nothing(source),
            lake=lake,
            inputs=inputs,
            keys=keys,
            in_group=_is_in_group({name: column(carried[name], "k") for name in item.by}, "m"),
            marks=row_condition(item.when, source.column_names, "m"),
        )
        for item in group_deletes(source)
    ]
    return all_rows(found, distinct=True)


def keys_in_groups(source: Source, rows: exp.Expr, markers: exp.Expr) -> exp.Query:
    """Return the keys of `rows` (the lake's columns and s_key) that the rows in `markers` delete."""
    found = [
        query(
            "SELECT r.s_key FROM $rows AS r SEMI JOIN (SELECT m.* FROM $markers AS m WHERE $marks) AS g ON $in_group",
            rows=rows,
            markers=markers,
            marks=row_condition(item.when, source.column_names, "m"),
            in_group=_is_in_group({name: column(name, "r") for name in item.by}, "g"),
        )
        for item in group_deletes(source)
    ]
    return all_rows(found, distinct=True)


def keys_once(session: Session, source: Source, parts: Sequence[exp.Expr]) -> Relation:
    """Return the keys of observations or hub rows (s_key and the carried columns), each once."""
    names = ("s_key", *replace_scope.carried_names(source))
    selects = [query("SELECT $names FROM $rows AS r", names=columns(names, "r"), rows=rows) for rows in parts]
    # a part of a key that is zero has two notations
    values = [exp.alias_(query("any_value($value)", value=column(name, "k")), name) for name in names[1:]]
    return session.create(
        query("SELECT k.s_key, $values FROM $united AS k GROUP BY k.s_key", values=values, united=all_rows(selects))
    )


def _is_in_group(key: Mapping[str, exp.Expr], marker: str) -> exp.Expr:
    return conjunction([exp.EQ(this=value, expression=column(name, marker)) for name, value in key.items()])
