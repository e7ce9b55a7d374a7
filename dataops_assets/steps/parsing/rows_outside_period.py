"""Rejects rows whose time lies outside the declared period of their input.

They would replace nothing, and their day would have them twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from dataops_assets.config.refresh import NamedPeriod
from dataops_assets.config.source import Source
from dataops_assets.engines.base import Session
from dataops_assets.errors import InputError
from dataops_assets.sql import Relation, column, columns, literal, query
from dataops_assets.steps.merging import replace_scope
from dataops_assets.steps.merging.input_periods import Told, declared_period, period_of, periods

REASON = "outside the period of its input"
"""The reason for which such a row is rejected."""


def fault_outside(source: Source) -> int:
    """Return the `s_fault` of a row outside the period. It is odd, because the value has the right type."""
    return 2 * len(source.columns) + 1


def input_periods(session: Session, source: Source, told: Mapping[str, Told]) -> Relation | None:
    """Make a small table of the periods of inputs; None without declared periods."""
    return None if declared_period(source) is None else periods(session, source, told)


def without_period(source: Source, told: Mapping[str, Told]) -> dict[str, InputError]:
    """Return an error for each input whose name or manifest should tell its period and does not."""
    errors = {}
    for input_id, item in told.items() if isinstance(declared_period(source), NamedPeriod) else ():
        try:
            period_of(source, item)
        except InputError as error:
            errors[input_id] = error
    return errors


def with_outside(source: Source, rows: exp.Query, declared: Relation, others: Sequence[str]) -> exp.Query:
    """Return typed `rows` in which a row outside the period of its input has a fault, if it has no other one.

    `declared`: see `input_periods`. `others` are further columns of `rows`.
    """
    value = column(str(source.refresh.range_by), "r")
    is_outside = query(
        "NOT $value BETWEEN $low AND $high",
        value=value,
        low=column(replace_scope.LOW, "p"),
        high=column(replace_scope.HIGH, "p"),
    )
    found: exp.Query = query(
        """
        SELECT r.s_input_id, r.s_row_id, $names,
               CAST(CASE WHEN NOT r.s_fault IS NULL THEN r.s_fault WHEN $outside THEN $fault END AS INTEGER) AS s_fault,
               r.s_left_out, $others
        FROM $rows AS r JOIN $periods AS p ON p.s_input_id = r.s_input_id
        """,
        names=columns(source.column_names, "r"),
        outside=is_outside,
        fault=literal(fault_outside(source)),
        others=columns(others, "r"),
        rows=rows,
        periods=declared,
    )
    return found
