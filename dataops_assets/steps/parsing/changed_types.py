"""Applies `drift.changed_type`: refuses inputs with values of another type, or counts the values that are left out."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_assets.engines.base import Session
from dataops_assets.errors import DataOpsError, InputError
from dataops_assets.sql import query
from dataops_assets.steps.merging.row_identity import has_markers
from dataops_assets.steps.parsing.quarantined_rows import NOT_NULL, quarantined, rejected_dates
from dataops_assets.steps.parsing.typed_rows import TypedRows, fields_of, is_one_of

_EXAMPLES = 3


def changed_types(session: Session, typed: TypedRows) -> dict[str, DataOpsError]:
    """Return an error for each input with values of another type, with column, count and examples.

    Only `drift.changed_type: fail` refuses them.
    """
    if typed.source.drift.changed_type != "fail":
        return {}
    changed = session.fetch(
        query("SELECT DISTINCT s_input_id FROM $typed AS t WHERE s_fault >= 0 AND s_fault % 2 = 0", typed=typed.table)
    )
    ids = changed.column(0).to_pylist()
    if not ids:
        return {}
    rows = session.fetch(
        query(
            "SELECT s_input_id, s_column, s_reason, count(*) AS n, "
            "list(s_value ORDER BY s_row_id)[1:$most] AS examples "
            "FROM $rejected AS r WHERE s_reason <> $is_null AND s_column IS NOT NULL "
            "GROUP BY s_input_id, s_column, s_reason ORDER BY s_input_id, s_column",
            rejected=quarantined(typed, ids),
            most=_EXAMPLES,
            is_null=NOT_NULL,
        )
    ).to_pylist()
    hidden = {item.name for item in typed.source.columns if "pii" in item.tags}
    advice = rejected_dates(session, typed, ids)
    problems: dict[str, list[str]] = {}
    for row in rows:
        shown = ", ".join("***" if row["s_column"] in hidden else repr(value) for value in row["examples"])
        types = _raw_type(typed, row["s_input_id"], row["s_column"])
        problems.setdefault(row["s_input_id"], []).append(
            f"{row['s_column']}: {types}{row['s_reason']} in {row['n']:,} rows, e.g. {shown}"
        )
    return {
        input_id: InputError(
            f"reading {typed.raw.names[input_id]}",
            received=f"values of another type: {'; '.join(what)}",
            next_step="; ".join(
                [f"{name} {text}" for name, text in advice.get(input_id, {}).items()]
                or ["deliver the declared types, declare a wider type, or set drift.changed_type to evolve"]
            ),
        )
        for input_id, what in problems.items()
    }


def values_left_out(session: Session, typed: TypedRows, input_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the values of parsed rows that were left out because of their type, by input and column.

    `drift.changed_type: ignore` leaves them out, and a delete marker is accepted without them.
    """
    if typed.source.drift.changed_type != "ignore" and not has_markers(typed.source):
        return {}
    found = session.fetch(
        query(
            "SELECT s_input_id, s_number, count(*) AS n FROM ("
            "SELECT s_input_id, unnest(string_split(s_left_out, ',')) AS s_number FROM $typed AS t "
            "WHERE s_fault IS NULL AND s_left_out <> '' AND $wanted) AS u GROUP BY s_input_id, s_number",
            typed=typed.table,
            wanted=is_one_of(input_ids),
        )
    ).to_pylist()
    left_out: dict[str, dict[str, int]] = {}
    for row in sorted(found, key=lambda row: int(row["s_number"])):
        name = typed.source.columns[int(row["s_number"])].name
        left_out.setdefault(row["s_input_id"], {})[name] = row["n"]
    return left_out


def _raw_type(typed: TypedRows, input_id: str, name: str) -> str:
    """Return the type of a column in a typed format; empty for other formats."""
    item = next(item for item in typed.source.columns if item.name == name)
    for rows, _ in typed.raw.rows:
        if rows.is_typed and input_id in rows.input_ids:
            return f"{fields_of(item, rows)[0].type.lower()}, "
    return ""
