"""How a reproduced release is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dataops_assets.operations.answer import Column, Shown, Table
from dataops_assets.operations.reproduce import Reproduced


def shown(found: Reproduced) -> Iterator[Shown]:
    """Return the tables with what differs, and the possible reasons."""
    columns = (
        Column("table"),
        Column("rows", number=True),
        Column("made again", number=True),
        Column("only in release", number=True),
        Column("only made again", number=True),
        Column("columns that differ"),
    )
    numbers = ("rows", "rows_again", "only_in_release", "only_again")
    rows = [
        [item.asset, *(f"{getattr(item, name):,}" for name in numbers), ", ".join(item.columns)]
        for item in found.tables
    ]
    yield Table(columns, rows)
    differ = sum(not item.is_equal for item in found.tables)
    same = f"all {len(found.tables)} tables are equal, in every row and column"
    yield f"{differ} of {len(found.tables)} tables differ" if differ else same
    yield from (f"  {reason}" for reason in found.reasons)
    if found.kept:
        yield f'kept: eval "$(dataops env variables {found.kept})"'


def as_data(found: Reproduced) -> dict[str, Any]:
    """Return it as values of JSON."""
    tables = [{**asdict(item), "is_equal": item.is_equal} for item in found.tables]
    return {**asdict(found), "tables": tables, "is_equal": found.is_equal}
