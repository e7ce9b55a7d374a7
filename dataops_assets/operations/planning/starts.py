"""Finds the columns that a piece of work changes itself, from the declarations that it is done for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dataops_assets.components.declarations import Declarations
from dataops_assets.config.source import Source
from dataops_assets.operations.planning.changes import Change
from dataops_assets.operations.planning.reach import ROWS, Graph, Node
from dataops_assets.operations.planning.work import Work

# changes of a source that can concern every row
_OF_ROWS = ("columns", "drift", "filter", "format", "refresh")


def starts_of(work: Work, found: Sequence[Change], declared: Declarations, graph: Graph) -> Iterator[Node]:
    """Return the columns of tables that a piece of work changes itself; `found` are all changes."""
    mine = [item for item in found if item.subject == work.subject]
    if work.kind in ("apply rules", "recalculate"):
        yield from _of_rules(work, mine, declared.sources[work.subject])
        return
    columns = {
        item.name.partition(".")[2]: item
        for item in mine
        if item.kind == "column" and item.weight in ("breaking", "additive")
    }
    if work.kind in ("build", "judge again") or not columns or any(item.kind in _OF_ROWS for item in mine):
        yield work.table, ROWS
        return
    yield from _of_columns(work, columns, declared.sources[work.subject], graph)


def _of_rules(work: Work, mine: Sequence[Change], source: Source) -> Iterator[Node]:
    tables = [work.table] if work.kind == "recalculate" else [work.table, f"hub/{source.name}_enriched"]
    yield from ((table, column) for table in tables for column in work.columns)
    stops = any(item.severity != "warn" for item in source.validations)
    lifted = any(
        item.kind == "validation" and (item.action == "removed" or any(one.name == "severity" for one in item.fields))
        for item in mine
    )
    if "s_status" in work.columns and (stops or lifted):
        yield work.table, ROWS


def _of_columns(work: Work, columns: Mapping[str, Change], source: Source, graph: Graph) -> Iterator[Node]:
    lake, hub = f"lake/{source.name}", f"hub/{source.name}"
    for name, item in columns.items():
        yield work.table, name
        yield from ((hub, one) for one in (name, "s_row_hash", "s_updated_at"))
        if _can_reject(name, item, source):
            yield lake, ROWS
        if (source.refresh.history or not source.refresh.key) and name not in graph.columns.get(lake, ()):
            # what is gone has no edges, but it made versions
            yield hub, ROWS


def _can_reject(name: str, item: Change, source: Source) -> bool:
    """Return whether rows may be rejected because of a column, or were because of what it was."""
    before = {field.name: field.before for field in item.fields}
    now = next((one for one in source.columns if one.name == name), None)
    if now is None:
        # a row that was rejected for it may be kept now
        return True
    # a field that is not there is as by default: text, and nulls are allowed
    was_strict = (before.get("type", now.type) or "text") != "text" or before.get("nullable", now.nullable) is False
    return bool(was_strict) or now.type != "text" or not now.nullable
