"""Finds the rows of an input that repeat values that must be unique in it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from dataops_assets.engines.base import Session
from dataops_assets.rules.stage import REPEATED_PREFIX, Stage
from dataops_assets.sql import alias, column, columns, query
from dataops_assets.steps.merging.row_identity import delete_marker
from dataops_assets.steps.source_context import SourceContext
from dataops_assets.steps.stored_rows import lake_of, lake_rows
from dataops_assets.storage.publish import rows_of


def with_repeats(
    context: SourceContext, session: Session, stage: Stage, rows: exp.Query, input_ids: Sequence[str]
) -> exp.Query:
    """Return `rows` of these inputs with the internal columns that validations of uniqueness read.

    A row is compared with all rows of its input in the lake, also with rows that change nothing in the hub. So the
    result depends on the input alone. Delete markers and rows with a null are not compared.
    """
    wanted = [item for item in stage.validations if item.unique]
    if not wanted or not input_ids:
        return rows
    source = context.source
    marks: list[exp.Expr] = []
    for item in wanted:
        values = columns(item.unique, "r")
        several = query("count(*) OVER (PARTITION BY r.s_input_id, $values) > 1", values=values)
        known = [query("$value IS NOT NULL", value=value.copy()) for value in values]
        marks.append(alias(exp.and_(*known, several), REPEATED_PREFIX + item.name))
    names = [REPEATED_PREFIX + item.name for item in wanted]
    found: exp.Query = query(
        """
        SELECT e.*, $marks FROM $rows AS e
        LEFT JOIN $compared AS u ON u.s_input_id = e.s_input_id AND u.s_row_id = e.s_row_id
        """,
        marks=[alias(query("coalesce($mark, FALSE)", mark=column(name, "u")), name) for name in names],
        rows=rows,
        compared=query(
            "SELECT r.s_input_id, r.s_row_id, $marks FROM $lake AS r WHERE NOT $deleted",
            marks=marks,
            lake=rows_of(lake_rows(session, source, lake_of(context)), input_ids),
            deleted=delete_marker(source, "r"),
        ),
    )
    return found
