"""Divides a table of PostgreSQL into ranges of its pages, in the order in which one connection reads the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from dataops_assets.errors import ConfigError

if TYPE_CHECKING:
    from psycopg2 import extensions

RANGE_BYTES = 16 << 20
"""Size of a range: some portions, so that a reader rarely waits with a full range for those before it."""

_FIRST_VERSION = 140000
_LAYOUT = """
SELECT c.relkind, a.amname, EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = c.oid), pg_relation_size(c.oid),
  current_setting('block_size'), current_setting('server_version_num')
FROM pg_class AS c LEFT JOIN pg_am AS a ON a.oid = c.relam WHERE c.oid = to_regclass(%s)
"""
_NEXT_STEP = "leave out parallel: one connection reads the same rows"


def ranges_of(cursor: extensions.cursor, table: exp.Table, attempted: str) -> list[exp.Expr]:
    """Return the conditions of the ranges of a table that this transaction has looked at already.

    Rows that were added later are on any page, but this transaction does not see them. Raises ConfigError if the server
    or the table has no ranges.
    """
    cursor.execute(_LAYOUT, (table.sql("postgres"),))
    kind, method, has_children, size, page, version = cursor.fetchone()
    if int(version) < _FIRST_VERSION:
        raise ConfigError(
            attempted,
            received=f"server version {version}, which reads the whole table for each part",
            known=["PostgreSQL 14 and later"],
            next_step=_NEXT_STEP,
        )
    if kind != "r" or method != "heap" or has_children:
        received = {"p": "a partitioned table", "v": "a view", "m": "a materialized view", "f": "a foreign table"}
        raise ConfigError(
            attempted,
            received=received.get(kind, "a table with child tables" if has_children else f"a table of {method}"),
            known=["a plain table of PostgreSQL"],
            next_step=_NEXT_STEP,
        )
    pages, step = int(size) // int(page), max(RANGE_BYTES // int(page), 1)
    starts = range(0, max(pages, 1), step)
    return [_between(start, start + step if start + step < pages else None) for start in starts]


def _between(first: int, end: int | None) -> exp.Expr:
    """Return the condition of rows on the pages from `first` on; the last range has no end."""
    begins = exp.GTE(this=exp.column("ctid"), expression=_row_place(first))
    return begins if end is None else exp.and_(begins, exp.LT(this=exp.column("ctid"), expression=_row_place(end)))


def _row_place(page: int) -> exp.Expr:
    return exp.Literal.string(f"({page},0)")
