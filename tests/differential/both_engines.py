"""Comparing what two engines made: table for table, row for row, value for value."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.sql import query
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage.delta import Table

TABLES = ("lake", "quarantine", "changes", "enriched", "hub", "current")


def exact(value: Any) -> Any:
    """A value that equals another only if both have the same type, bits and digits; instants in UTC."""
    if isinstance(value, float):
        # the two zeros are one value; which of them a file keeps is up to its writer's dictionary
        return ("double", "nan" if math.isnan(value) else (value + 0.0).hex())
    if isinstance(value, dt.datetime):
        return ("instant", value.astimezone(dt.UTC)) if value.tzinfo else ("time", value)
    return (type(value).__name__, str(value))


def contents(reader: DuckDBEngine, table: Table) -> tuple[Mapping[str, str], Counter[tuple[Any, ...]]] | None:
    """Columns of a table, and how often it has each row, as the embedded engine reads it."""
    snapshot = table.snapshot()
    if snapshot is None:
        return None
    with reader.session() as session:
        found = session.fetch(query("SELECT * FROM $t AS t", t=session.scan(snapshot)))
    return dict(snapshot.columns), Counter(tuple(exact(value) for value in row.values()) for row in found.to_pylist())


def assert_same(reader: DuckDBEngine, one: SourceContext, other: SourceContext, tables: Sequence[str] = TABLES) -> None:
    """Both workspaces hold the same tables."""
    for name in tables:
        ours, theirs = contents(reader, getattr(one, name)), contents(reader, getattr(other, name))
        assert (ours is None) == (theirs is None), name
        if ours is None or theirs is None:
            continue
        assert ours[0] == theirs[0], f"columns of {name}"
        names = list(ours[0])
        missing, further = [
            [dict(zip(names, row, strict=True)) for row in rows] for rows in (ours[1] - theirs[1], theirs[1] - ours[1])
        ]
        assert not missing, f"{len(missing)} rows of {name}, e.g. {missing[0]}; instead {further[:1]}"
        assert not further, f"{len(further)} further rows of {name}, e.g. {further[0]}"
