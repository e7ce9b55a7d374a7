"""Parts of SQL statements, and rows, that several stores of the metadata need."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dataops_assets.metadata import tables
from dataops_assets.report import Input

# SQLite takes 32,766 parameters in one statement
_IDS_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True)
class Existing:
    """How an insert of rows changes the rows that exist: those with the same values in `by` (default: the key).

    The columns `keep` stay, `change` is set as given, and the other columns get the new values. Rows that differ in
    `only_same` stay as they are.
    """

    by: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    change: Mapping[str, Any] = field(default_factory=dict)
    only_same: tuple[str, ...] = ()


def insert_of(dialect: str) -> Callable[..., Any]:
    """Return the `insert` of a dialect, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return postgresql.insert if dialect == "postgresql" else sqlite.insert


def portions(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Return the ids in portions that fit into one statement."""
    return (ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE))


def is_newer_version(newer: sa.FromClause, older: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that the input `newer` is a later version of the file of the input `older`."""
    return sa.and_(
        newer.c.source == older.c.source,
        newer.c.extract_time == older.c.extract_time,
        newer.c.origin == older.c.origin,
        sa.tuple_(newer.c.arrival, newer.c.input_id) > sa.tuple_(older.c.arrival, older.c.input_id),
    )


def is_removed(of: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that a person or a rollback took out the input of a row with source and input_id."""
    removed = tables.removals
    return sa.exists().where(removed.c.source == of.c.source, removed.c.input_id == of.c.input_id)


def count_in(counts: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[int]:
    """Return a number of the JSON object of counts; null if it has none. It can have more than 32 bits."""
    return sa.cast(counts[name].as_string(), sa.BigInteger)


def row_of_input(source: str, item: Input, registered_at: dt.datetime) -> dict[str, Any]:
    """Return an input as a row of the table `inputs`."""
    return {
        "source": source,
        "input_id": item.input_id,
        "extract_time": item.extract_time,
        "arrival": item.arrival,
        "digest": item.digest,
        "origin": item.origin,
        "size": item.size,
        "content": item.content,
        "manifest": item.manifest,
        "registered_at": registered_at,
    }


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, all with the same columns. Without rows it does nothing: SQLAlchemy would insert defaults."""
    if rows:
        connection.execute(table.insert(), [dict(row) for row in rows])


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    existing: Existing | None = None,
    *,
    returning: Sequence[sa.Column[Any]] = (),
) -> list[sa.Row[Any]]:
    """Insert rows, all with the same columns; change rows that exist as `existing` says (default: all columns).

    Give rows in key order: writers that lock rows in one order do not deadlock.
    """
    existing = existing or Existing()
    result: list[sa.Row[Any]] = []
    found_by = existing.by or tuple(table.primary_key.columns.keys())
    by_input = "input_id" in found_by
    of_inputs = [row for row in rows if not by_input or row["input_id"] is not None]
    of_table = [row for row in rows if by_input and row["input_id"] is None]
    without_input = tuple(name for name in found_by if name != "input_id")
    # two unique indexes: one with the input, one for rows without an input
    for some, target, index_where in (
        (of_inputs, found_by, None),
        (of_table, without_input, sa.text("input_id IS NULL")),
    ):
        if not some:
            continue
        statement = insert_of(connection.dialect.name)(table)
        stays = {*found_by, *existing.keep}
        values = {name: statement.excluded[name] for name in some[0] if name not in stays}
        same = [table.c[name] == statement.excluded[name] for name in existing.only_same]
        statement = statement.on_conflict_do_update(
            index_elements=target,
            index_where=index_where,
            set_={**values, **existing.change},
            where=sa.and_(*same) if same else None,
        )
        if returning:
            result.extend(connection.execute(statement.returning(*returning), some))
        else:
            connection.execute(statement, some)
    return result


def delete_inputs(connection: sa.Connection, table: sa.Table, source: str, input_ids: Sequence[str]) -> None:
    """Delete the rows of these inputs."""
    for some in portions(sorted(set(input_ids))):
        connection.execute(table.delete().where(table.c.source == source, table.c.input_id.in_(some)))


def utc_now() -> dt.datetime:
    """Return the time of a record, aware and in UTC."""
    return dt.datetime.now(dt.UTC)


def columns_of(table: sa.Table, kind: type[Any]) -> list[sa.Column[Any]]:
    """Return the columns of a table that are the fields of a dataclass, in the order of the fields."""
    return [table.c[field.name] for field in fields(kind)]
