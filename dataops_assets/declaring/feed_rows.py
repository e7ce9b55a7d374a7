"""Finds the rows that a change feed, or a list in records, is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from dataops_assets.declaring.change_feeds import change_feed_of
from dataops_assets.declaring.delivered_rows import DeliveredRows, RawColumn
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputError
from dataops_assets.sql import Relation, column, query


def rows_of_feed(session: Session, found: DeliveredRows, explode: Sequence[str]) -> DeliveredRows:
    """Return the rows of a table as its change feed or its records tell them; plain rows as they are.

    With `explode` they are the items of a list. Raises InputError if no record has that list.
    """
    return _items(session, found, explode) if explode else _changes(session, found)


def _items(session: Session, found: DeliveredRows, explode: Sequence[str]) -> DeliveredRows:
    """Return the rows of items, with their parents as keyed rows."""
    number = next((item.column for item in found.columns if item.name == f"{explode[-1]}#"), "")
    places = exp.cast(column(number, "r"), "BIGINT") if number else exp.convert(0)
    if not _count(session, found.table, query("$places > 0", places=places)):
        raise InputError(
            "reading the items of a list",
            received=f"no record with a list {explode[-1]!r} that has items",
            known=[item.name for item in found.columns if not item.name.endswith("#")],
            next_step="name a list of the records; a list within a list is named after it: --explode a --explode a.b",
        )
    parents = query("SELECT r.s_file, r.s_row_id FROM $rows AS r WHERE $places = 0", rows=found.table, places=places)
    return replace(found, keyed=session.create(parents))


def _changes(session: Session, found: DeliveredRows) -> DeliveredRows:
    feed = change_feed_of([item.name for item in found.columns])
    if feed is None:
        return found
    by_name = {item.name: item for item in found.columns}
    rows, keyed = found.table, None
    if feed.change:
        change = column(by_name[feed.change].column, "r")
        if _count(session, rows, exp.not_(_is_one_of(change, feed.words))):
            # a column of that name with other words
            return found
        inserts = _is_one_of(change, feed.inserts)
        keyed = session.create(
            query("SELECT r.s_file, r.s_row_id FROM $rows AS r WHERE $inserts", rows=rows, inserts=inserts)
        )
        deletions = _is_one_of(change, feed.deletions)
        rows = session.create(
            query("SELECT * FROM $rows AS r WHERE coalesce(NOT $deletions, TRUE)", rows=rows, deletions=deletions)
        )
    count = _count(session, rows, exp.true())
    if not count:
        return found
    numbers = tuple(name for name in feed.positions if _are_numbers(session, found.table, by_name[name]))
    values = [replace(by_name[f"{feed.row}.{name}" if feed.row else name], name=name) for name in feed.names]
    return replace(
        found, table=rows, columns=tuple(values), rows=count, feed=replace(feed, positions=numbers), keyed=keyed
    )


def _is_one_of(value: exp.Expr, words: Sequence[str]) -> exp.In:
    return exp.In(this=value.copy(), expressions=[exp.Literal.string(word) for word in words])


def _count(session: Session, rows: Relation, condition: exp.Expr) -> int:
    counted = query("SELECT count(*) AS n FROM $rows AS r WHERE $condition", rows=rows, condition=condition)
    return int(session.fetch(counted).column("n").to_pylist()[0])


def _are_numbers(session: Session, rows: Relation, item: RawColumn) -> bool:
    value = query("TRY_CAST($value AS BIGINT) IS NULL", value=column(item.column, "r"))
    return _count(session, rows, value) == 0
