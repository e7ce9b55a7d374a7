"""Words that cannot be the name of a column without quotes, in the engines of the warehouse."""

from __future__ import annotations

import functools

import duckdb

# https://docs.snowflake.com/en/sql-reference/reserved-keywords
_SNOWFLAKE = (
    "account all alter and any as between by case cast check column connect connection constraint create cross "
    "current current_date current_time current_timestamp current_user database delete distinct drop else exists "
    "false following for from full grant group gscluster having ilike in increment inner insert intersect into is "
    "issue join lateral left like localtime localtimestamp minus natural not null of on or order organization "
    "qualify regexp revoke right rlike row rows sample schema select set some start table tablesample then to "
    "trigger true try_cast union unique update using values view when whenever where with"
)


def is_reserved(name: str) -> bool:
    """Return whether DuckDB or Snowflake reads a name without quotes as a word of SQL."""
    return name.lower() in _words()


@functools.cache
def _words() -> frozenset[str]:
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        ).fetchall()
    return frozenset((*(name for (name,) in found), *_SNOWFLAKE.split()))
