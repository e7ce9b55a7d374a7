"""Applies corrections to raw rows when they are parsed: a corrected value replaces the value of the input.

A corrected value has the same notation for every input format: numbers with a decimal point, times in ISO 8601 or the
column's `date_format`. So a correction keeps its meaning when the marks of the format change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.contract import Column
from dataops_assets.config.source import Source
from dataops_assets.config.types import sql_type
from dataops_assets.connections.formats.staging import RawRows
from dataops_assets.engines.base import Session
from dataops_assets.sql import DIALECT, Relation, column, query
from dataops_assets.steps.parsing.typed_values import TextMarks, converted
from dataops_assets.steps.source_context import SourceContext

_MARKS = TextMarks(has_iso_times=True)


@dataclass(frozen=True)
class Corrected:
    """The corrections of some inputs, as a table of the session (None if there are none).

    `columns` are the positions in the contract of the corrected columns. `unknown` are corrected names that it lacks.
    """

    table: Relation | None = None
    input_ids: frozenset[str] = frozenset()
    columns: frozenset[int] = frozenset()
    unknown: tuple[str, ...] = ()

    def concerns(self, rows: RawRows) -> bool:
        """Whether any of these rows may have a correction."""
        return not self.input_ids.isdisjoint(rows.input_ids)

    def joined(self, rows: RawRows) -> exp.Query:
        """Return `rows` with a mark and a text for each corrected column. A corrected row always has fields."""
        found: exp.Query = query(
            """
            SELECT r.s_input_id, r.s_row_id, CASE WHEN c.s_row_id IS NULL THEN r.s_problem END AS s_problem, $fields,
                   $own FROM $rows AS r
            LEFT JOIN $corrections AS c ON c.s_input_id = r.s_input_id AND c.s_row_id = r.s_row_id
            """,
            fields=[column(item.column, "r") for item in rows.fields],
            own=[column(name, "c") for name in self.names],
            rows=rows.query,
            corrections=self.table,
        )
        return found

    def joined_to(self, rows: exp.Select, left: str) -> exp.Select:
        """Join `rows` with the corrections of its table `left`, as `c`."""
        if self.table is None:
            return rows
        on = exp.and_(*[column(name, "c").eq(column(name, left)) for name in ("s_input_id", "s_row_id")])
        found: exp.Select = rows.join(self.table.reference, on=on, join_type="left", join_alias="c", copy=False)
        return found

    @property
    def names(self) -> list[str]:
        """Return the names of the marks and texts of the corrected columns."""
        return [name for index in sorted(self.columns) for name in (_mark(index), _text(index))]

    def is_given(self, index: int, otherwise: exp.Expr) -> exp.Expr:
        """Return the condition that the column has a value: by its correction, or by `otherwise`."""
        return _chosen(index, exp.not_(exp.Is(this=column(_text(index)), expression=exp.null())), otherwise)

    def value(self, index: int, item: Column, otherwise: exp.Expr) -> exp.Expr:
        """Return the column's typed value: that of its correction, or `otherwise`."""
        return _chosen(index, correction(column(_text(index)), item), otherwise)

    def raw_text(self, index: int, otherwise: exp.Expr) -> exp.Expr:
        """Return the text of a corrected column, for rows that are joined with the corrections as `c`."""
        return _chosen(index, column(_text(index), "c"), otherwise, "c")


def corrections_for(context: SourceContext, session: Session, input_ids: Sequence[str]) -> Corrected:
    """Return the valid corrections of these inputs; the context's source has also their undeclared columns."""
    source = context.source
    found = context.corrections.corrected(set(input_ids))
    if not found:
        return Corrected()
    positions = {item.name: index for index, item in enumerate(source.columns)}
    corrected = sorted({positions[name] for values in found.values() for name in values if name in positions})
    data: dict[str, list[str | int | bool | None]] = {
        "s_input_id": [input_id for input_id, _ in found],
        "s_row_id": [row for _, row in found],
    }
    types = {"s_input_id": pa.string(), "s_row_id": pa.int64()}
    for index in corrected:
        name = source.columns[index].name
        data[_mark(index)] = [name in values for values in found.values()]
        data[_text(index)] = [values.get(name) for values in found.values()]
        types |= {_mark(index): pa.bool_(), _text(index): pa.string()}
    table = session.register(pa.table({name: pa.array(data[name], kind) for name, kind in types.items()}))
    unknown = sorted({name for values in found.values() for name in values if name not in positions})
    return Corrected(table, frozenset(input_id for input_id, _ in found), frozenset(corrected), tuple(unknown))


def correction(text: exp.Column, item: Column) -> exp.Expr:
    """Convert the text of a corrected value to the column's type; null if that fails."""
    target = exp.DataType.build(sql_type(item.type), dialect=DIALECT)
    found: exp.Expr = exp.cast(converted(text, "VARCHAR", item, _MARKS), target)
    return found


def unconvertible(session: Session, source: Source, given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the values (column name and text) that cannot be converted to their column's type."""
    by_column: dict[str, list[str]] = {}
    for name, text in dict.fromkeys(given):
        by_column.setdefault(name, []).append(text)
    declared: Mapping[str, Column] = {item.name: item for item in source.columns}
    wrong = []
    for name, texts in by_column.items():
        values = session.register(pa.table({"s_text": pa.array(texts, pa.string())}))
        found = session.fetch(
            query(
                "SELECT g.s_text FROM $given AS g WHERE $value IS NULL",
                given=values,
                value=correction(column("s_text", "g"), declared[name]),
            )
        )
        wrong += [(name, text) for text in found.column("s_text").to_pylist()]
    return wrong


def _mark(index: int) -> str:
    return f"h{index}"


def _text(index: int) -> str:
    return f"w{index}"


def _chosen(index: int, corrected: exp.Expr, otherwise: exp.Expr, table: str = "") -> exp.Expr:
    found: exp.Expr = query(
        "CASE WHEN $mark THEN $corrected ELSE $otherwise END",
        mark=column(_mark(index), table),
        corrected=corrected,
        otherwise=otherwise,
    )
    return found
