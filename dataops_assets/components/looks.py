"""The rows and the column statistics of a table, as tables that Dagster shows with a materialization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from dataops_assets.components.graph import StepNode
from dataops_assets.components.personal import hidden_columns
from dataops_assets.engines.base import Engine
from dataops_assets.errors import DataOpsError
from dataops_assets.masking import MASK, mask
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.quality.looks import MOST_COLUMNS, ColumnLook, Look, look_at, rows_of_table
from dataops_assets.rules.compiler import CompiledRules
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.storage import publish

PREVIEW = "preview"
"""Metadata key of a few rows of the table."""
STATISTICS = "column_statistics"
"""Metadata key of the statistics of the columns."""
BASIS = "statistics_of"
"""Metadata key of the text that says which rows the statistics are of."""

# system columns that say something to a person, beside the columns of the business
_SYSTEM = ("s_change", "s_status", "s_failed", "s_valid_from", "s_valid_to", "s_is_current", "s_is_deleted")
_LONGEST = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
_NONE = "·"
# these steps make one table of all inputs; the tables of the others have the rows of each input as they came
_WHOLE_TABLE = ("refresh", "recalculate")


def step_look(
    engine: Engine, context: SourceContext, rules: CompiledRules, node: StepNode, input_id: str
) -> dict[str, Any]:
    """Return preview and column statistics of a step's table: of the rows of one input, or of the whole table.

    `engine` is DuckDB, whichever engine wrote the table, because it reads few rows quickly. The step is done, so an
    error here is shown in the metadata and not raised.
    """
    if node.name == "ingest":
        return {}
    try:
        return _step_look(engine, context, rules, node, input_id)
    except DataOpsError as error:
        return {BASIS: f"nothing, because the table could not be read: {mask(str(error))}"}


def _step_look(
    engine: Engine, context: SourceContext, rules: CompiledRules, node: StepNode, input_id: str
) -> dict[str, Any]:
    snapshot = context.table(node.key).snapshot()
    if snapshot is None:
        return {}
    types = {name: kind for name, kind in snapshot.columns.items() if not name.startswith("s_")}
    types |= {name: snapshot.columns[name] for name in _SYSTEM if name in snapshot.columns}
    hidden = hidden_columns(context.source, rules)
    with engine.session() as session:
        if node.name in _WHOLE_TABLE:
            look = look_at(session, rows_of_table(session, snapshot), types, hidden, snapshot.rows)
            return metadata_of(look, len(types), "the table")
        look = look_at(session, publish.scan_inputs(session, snapshot, [input_id]), types, hidden)
    profile = (
        context.metadata.profiles.of_input(context.source.name, node.key, input_id) if look.seen < look.total else None
    )
    return metadata_of(look if profile is None else look.with_profile(profile), len(types), f"input {input_id}")


def profiled_look(profile: Profile, rows: Sequence[Sequence[str | None]]) -> dict[str, Any]:
    """Return the metadata of a table that has a profile, and a few rows with the columns of the profile.

    A column has no least value, although it has values, if these may not be shown.
    """
    columns = [ColumnLook(item, hidden=item.min is None and item.nulls < profile.rows) for item in profile.columns]
    hidden = {item.profile.name for item in columns if item.hidden}
    shown = [
        {
            item.name: MASK if value is not None and item.name in hidden else value
            for item, value in zip(profile.columns, row, strict=True)
        }
        for row in rows
    ]
    look = Look(tuple(shown), tuple(columns[:MOST_COLUMNS]), profile.rows, profile.rows)
    return metadata_of(look, len(columns), "the table")


def metadata_of(look: Look, columns: int, what: str) -> dict[str, Any]:
    """Return the metadata of a look at `what`, a table with `columns` columns to show."""
    return {
        PREVIEW: preview([(item.profile.name, item.profile.type) for item in look.columns], look.rows),
        STATISTICS: statistics(look.columns, look.total if look.profiled else look.seen),
        BASIS: _basis(look, columns, what),
    }


def preview(types: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, str | None]]) -> dg.TableMetadataValue:
    """Return rows as a table; long values are cut, and secrets are masked."""
    names = [name for name, _ in types]
    return dg.MetadataValue.table(
        records=[dg.TableRecord({name: _short(row[name]) for name in names}) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in types]),
    )


def statistics(columns: Sequence[ColumnLook], rows: int) -> dg.TableMetadataValue:
    """Return the statistics of columns over `rows` rows as a table, one row a column."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord(_statistics(item, rows)) for item in columns],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in _STATISTICS.items()]),
    )


_STATISTICS = {
    "column": "string",
    "type": "string",
    "nulls": "int",
    "null share": "string",
    "distinct": "int",
    "least": "string",
    "most": "string",
    "mean": "float",
    "top values": "string",
    "histogram": "string",
}


def _statistics(item: ColumnLook, rows: int) -> dict[str, str | int | float | None]:
    profile = item.profile
    return {
        "column": profile.name,
        "type": profile.type,
        "nulls": profile.nulls,
        "null share": f"{profile.nulls / rows:.1%}" if rows else "",
        # an estimate can be too large
        "distinct": min(profile.distinct, max(rows - profile.nulls, 0)),
        "least": MASK if item.hidden else _short(profile.min),
        "most": MASK if item.hidden else _short(profile.max),
        "mean": _mean(profile),
        "top values": MASK if item.hidden else ", ".join(f"{_short(value)} ({count:,})" for value, count in item.top),
        "histogram": _blocks(item.histogram),
    }


def _mean(profile: ColumnProfile) -> float | None:
    return None if profile.mean is None else float(f"{profile.mean:.6g}")


def _blocks(counts: Sequence[int]) -> str:
    """Draw a histogram as a line of blocks; a part without values is a dot."""
    most = max(counts, default=0)
    return "".join(_BLOCKS[(count * len(_BLOCKS) - 1) // most] if count else _NONE for count in counts)


def _short(text: str | None) -> str | None:
    if text is None:
        return None
    text = mask(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _basis(look: Look, columns: int, what: str) -> str:
    if look.seen == look.total:
        found = f"all {look.total:,} rows of {what}"
    elif look.profiled:
        found = f"all {look.total:,} rows of {what}; top values and histogram: the first {look.seen:,} rows"
    else:
        found = f"a sample of {look.seen:,} of {look.total:,} rows of {what}"
    return found if columns <= MOST_COLUMNS else f"{found}; the first {MOST_COLUMNS} of {columns} columns"
