"""Filters rows by `keep_when` of a source. A filtered row is counted; it is neither parsed nor rejected."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.rules.row_condition import row_condition
from dataops_assets.sql import columns, query
from dataops_assets.steps.merging.row_identity import filtering_columns
from dataops_assets.steps.parsing.rejected_rows import MALFORMED, columns_of_faults

FILTERED = -2
"""The `s_fault` of a row that is filtered."""
UNREADABLE = "s_unreadable"
"""Name of the column that says whether a value of another type hides if a row is kept."""


def unreadable_condition(source: Source, wrong: Mapping[int, exp.Expr]) -> list[exp.Expr]:
    """Return the column that `with_filtered` needs besides `s_fault`, from the wrong types by column number."""
    if not source.keep_when:
        return []
    read = filtering_columns(source)
    unreadable = [hit.copy() for index, hit in wrong.items() if source.columns[index].name in read]
    known = query("coalesce($any, FALSE)", any=exp.or_(*unreadable)) if unreadable else exp.false()
    return [exp.alias_(known, UNREADABLE)]


def with_filtered(source: Source, rows: exp.Query) -> exp.Query:
    """Return typed `rows` in which the fault of rows that are not kept is FILTERED, whatever else is wrong with them.

    A row whose condition cannot be decided is not filtered but rejected: it has no fields, or a column of the condition
    has a value of another type.
    """
    if not source.keep_when:
        return rows
    found: exp.Query = query(
        """
        SELECT f.s_input_id, f.s_row_id, $names,
               CASE WHEN coalesce(f.s_fault, 0) <> $malformed AND NOT f.s_unreadable AND NOT $kept
                    THEN CAST($filtered AS INTEGER) ELSE f.s_fault END AS s_fault,
               f.s_left_out, $others
        FROM $rows AS f
        """,
        names=columns(source.column_names, "f"),
        others=columns(columns_of_faults(source), "f"),
        malformed=MALFORMED,
        kept=row_condition(source.keep_when, source.column_names, "f"),
        filtered=FILTERED,
        rows=rows,
    )
    return found
