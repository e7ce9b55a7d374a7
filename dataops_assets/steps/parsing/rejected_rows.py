"""Uses what can be read of rejected rows: delete markers, and keys that are present in the input.

A delete marker needs only its key, its order and the columns of its predicate. It is accepted even if other columns are
wrong. The key of other rejected rows can often be read: then it is known that the key is present.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from dataops_assets.config.refresh import FullRefresh, Refresh
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.rules.row_condition import row_condition
from dataops_assets.sql import column, columns, conjunction, query
from dataops_assets.steps.merging.change import absence_deletes
from dataops_assets.steps.merging.input_statistics import decisive_columns, is_missing, needed_by_marker
from dataops_assets.steps.merging.row_identity import (
    filtering_columns,
    group_deletes,
    has_markers,
    key_text,
    made_of,
    marking_columns,
    value_text,
)
from dataops_assets.storage.delta import TableVersion

MALFORMED = -1
"""The fault of a record that has no fields at all."""
UNDECIDED = "s_undecided"
"""Name of the column that says whether a value of another type hides if a row is a delete marker."""
_WRONG = "s_wrong"


def deciding_columns(source: Source) -> frozenset[str]:
    """Return the columns that decide whether a row is kept, is a delete marker, and where its place is."""
    return made_of(source, decisive_columns(source)) | marking_columns(source) | filtering_columns(source)


def columns_of_faults(source: Source) -> tuple[str, ...]:
    """Return the names of the columns that `faults_of_types` returns."""
    return (_WRONG, UNDECIDED) if has_markers(source) else ()


def faults_of_types(source: Source, wrong: Mapping[int, exp.Expr]) -> list[exp.Expr]:
    """Return the columns that `with_markers` needs besides `s_fault`, from the wrong types by column number."""
    if not has_markers(source):
        return []
    names = source.column_names
    deciding = deciding_columns(source)
    numbers = [query("CASE WHEN $wrong THEN $n END", wrong=hit.copy(), n=str(index)) for index, hit in wrong.items()]
    undecided = [
        query("coalesce($wrong, FALSE)", wrong=hit) for index, hit in wrong.items() if names[index] in deciding
    ]
    joined = exp.Anonymous(this="concat_ws", expressions=[exp.Literal.string(","), *numbers])
    return [
        exp.alias_(joined if numbers else exp.cast(exp.null(), "VARCHAR"), _WRONG),
        exp.alias_(exp.or_(*undecided) if undecided else exp.false(), UNDECIDED),
    ]


def with_markers(source: Source, rows: exp.Query) -> exp.Query:
    """Return `rows` (contract columns, `s_fault`, `s_left_out`, `faults_of_types`) without faults of delete markers.

    Values of a delete marker with a wrong type become null and are counted as left out.
    """
    if not has_markers(source):
        return rows
    is_marker = query(
        "p.s_fault > $malformed AND NOT p.s_undecided AND $marker",
        malformed=MALFORMED,
        marker=exp.or_(*_markers_with_their_columns(source, "p")),
    )
    left_out = exp.Anonymous(
        this="concat_ws",
        expressions=[exp.Literal.string(","), query("nullif(p.s_left_out, '')"), query("nullif(p.s_wrong, '')")],
    )
    found: exp.Query = query(
        """
        SELECT q.s_input_id, q.s_row_id, $names, CASE WHEN q.s_is_marker THEN NULL ELSE q.s_fault END AS s_fault,
               CASE WHEN q.s_is_marker THEN q.s_all_left_out ELSE q.s_left_out END AS s_left_out
        FROM (SELECT p.*, $is_marker AS s_is_marker, $left_out AS s_all_left_out FROM $rows AS p) AS q
        """,
        names=columns(source.column_names, "q"),
        is_marker=is_marker,
        left_out=left_out,
        rows=rows,
    )
    return found


def _markers_with_their_columns(source: Source, table: str) -> list[exp.Expr]:
    """Return a condition for each kind of marker: the row is one, and the columns that it needs have a value."""
    kinds = [(item.when, needed_by_marker(source, item)) for item in group_deletes(source)]
    if source.refresh.delete_when:
        kinds.append((source.refresh.delete_when, decisive_columns(source)))
    return [
        exp.and_(
            row_condition(text, source.column_names, table),
            *[exp.not_(exp.paren(is_missing(source, name, table))) for name in needed],
        )
        for text, needed in kinds
    ]


@dataclass(frozen=True)
class RejectedKeys:
    """The keys of rejected rows: `rows` have s_input_id and s_key of the rows whose key can be read.

    `spares` are the inputs of these rows. `unreadable` are the inputs with rejected rows whose key cannot be read; they
    delete nothing by absence.
    """

    rows: exp.Expr | None = None
    spares: frozenset[str] = frozenset()
    unreadable: frozenset[str] = frozenset()


def rejected_keys(session: Session, source: Source, quarantine: TableVersion | None) -> RejectedKeys:
    """Return the keys of the rejected rows in the quarantine; nothing if absence does not delete."""
    if quarantine is None or not absence_deletes(source):
        return RejectedKeys()
    # an old quarantine table has no keys
    key = column("s_key", "q") if "s_key" in quarantine.columns else exp.cast(exp.null(), "VARCHAR")
    rows = query("SELECT q.s_input_id, $key AS s_key FROM $rows AS q", key=key, rows=session.scan(quarantine))
    counted = query(
        "SELECT r.s_input_id, count(*) AS n, count(r.s_key) AS readable FROM $rows AS r GROUP BY r.s_input_id",
        rows=rows,
    )
    found = session.fetch(counted).to_pylist()
    is_ignored = source.refresh.unreadable_rows == "ignore"
    return RejectedKeys(
        query("SELECT r.* FROM $rows AS r WHERE NOT r.s_key IS NULL", rows=rows),
        frozenset(row["s_input_id"] for row in found if row["readable"]),
        frozenset(row["s_input_id"] for row in found if row["readable"] < row["n"] and not is_ignored),
    )


def place_columns(refresh: Refresh) -> tuple[str, ...]:
    """Return the columns that say which rows a rejected row stands for; none if absence does not delete."""
    return refresh.key if isinstance(refresh, FullRefresh) else tuple(filter(None, [refresh.range_by]))


def readable_key(source: Source, table: str) -> exp.Expr:
    """Return the `s_key` of a rejected row, or the text of its value in the range column, if it can be read.

    Null if it cannot be read, or if absence does not delete, because then it is not needed.
    """
    refresh = source.refresh
    asked = place_columns(refresh)
    kinds = {item.name: item.type for item in source.columns}
    # the default is also used for a value that cannot be read
    if not asked or any(item.default is not None for item in source.columns if item.name in asked):
        return exp.cast(exp.null(), "VARCHAR")
    known = [exp.not_(exp.paren(is_missing(source, name, table))) for name in asked]
    is_range = refresh.range_by is not None
    text = value_text(column(asked[0], table), kinds[asked[0]]) if is_range else key_text(source, table)
    found: exp.Expr = query(
        "CASE WHEN $fault <> $malformed AND $known THEN $text END",
        fault=column("s_fault", table),
        malformed=MALFORMED,
        known=conjunction(known),
        text=text,
    )
    return found
