"""Parts of SQL statements, and rows, that several stores of the metadata need."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dataops_assets.report import Input

_IDS_AT_ONCE = 10_000


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
