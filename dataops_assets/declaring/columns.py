"""Suggests the columns of a contract: names, types, null words. Each type is proved with the conversions of parse."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from dataops_assets.config.connection import CsvFormat, ExcelFormat, FileFormat, NestedRecords
from dataops_assets.config.contract import Column, name_problem
from dataops_assets.connections.formats.null_words import without
from dataops_assets.declaring.column_facts import ColumnFacts
from dataops_assets.declaring.delivered_rows import DeliveredRows
from dataops_assets.declaring.nested_names import hold_records, nested_name
from dataops_assets.declaring.value_types import (
    MARKS,
    PLAIN,
    TypedText,
    ValueType,
    is_null_word,
    number_type,
    text_type,
)
from dataops_assets.engines.base import Session
from dataops_assets.quality.families import family_of
from dataops_assets.sql import Relation, alias, column, query
from dataops_assets.steps.parsing.typed_values import TextMarks, converted

_COLUMNS_A_QUERY = 16
_LOOKED_AT = 100
_PRECISE = {"UBIGINT": "decimal(20,0)", "HUGEINT": "decimal(38,0)"}
_NUMBERS = ("integer", "double")


@dataclass(frozen=True)
class SuggestedColumn:
    """A column of the contract, the facts it was made of, and notes for a person."""

    declared: Column
    facts: ColumnFacts
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SuggestedColumns:
    """The columns of a contract, the format that reads them, and the typed rows as a table.

    `typed` has `s_file`, `s_row_id` and the columns by their names in `facts`.
    """

    layout: FileFormat
    columns: tuple[SuggestedColumn, ...]
    typed: Relation


def suggest_columns(session: Session, delivered: DeliveredRows, facts: Sequence[ColumnFacts]) -> SuggestedColumns:
    """Return the contract's columns for the rows of the files."""
    layout, marks = _notation(delivered.layout, facts)
    found = [_typed(item, layout, marks, is_typed=delivered.is_typed) for item in facts]
    names = _names([item.name for item in facts], is_nested=isinstance(layout, NestedRecords))
    row = delivered.feed.row if delivered.feed else ""
    columns = [
        _suggested(item, text, name, row, is_whole=raw.files == len(delivered.names))
        for item, text, name, raw in zip(facts, found, names, delivered.columns, strict=True)
    ]
    columns = _proved(session, delivered, columns, marks)
    typed = _typed_rows(session, delivered, columns, marks)
    layout, columns = _shared_words(layout, columns)
    return SuggestedColumns(layout, tuple(columns), typed)


def _notation(layout: FileFormat, facts: Sequence[ColumnFacts]) -> tuple[FileFormat, TextMarks]:
    """Return the format with the notation of numbers in which the most columns are numbers."""
    if not isinstance(layout, CsvFormat):
        return layout, TextMarks(has_iso_times=True) if isinstance(layout, ExcelFormat) else PLAIN
    candidates = [item for item in facts if any(sign in value for value in item.values for sign in ",.' \u00a0")]
    best, most = PLAIN, _numbers(candidates, PLAIN)
    for marks in MARKS[1:]:
        count = _numbers(candidates, marks)
        if count > most and not _is_unclear(candidates, marks):
            best, most = marks, count
    return layout.model_copy(update={"decimal_mark": best.decimal_mark, "thousands_mark": best.thousands_mark}), best


def _numbers(facts: Sequence[ColumnFacts], marks: TextMarks) -> int:
    """Return how many columns are numbers in this notation, apart from words that mean null."""
    texts = ([value for value in item.values if not is_null_word(value)] for item in facts)
    return sum(bool(values) and number_type(values, has_nulls=False, marks=marks) is not None for values in texts)


def _is_unclear(facts: Sequence[ColumnFacts], marks: TextMarks) -> bool:
    """Return whether a mark may be the decimal mark as well as the thousands mark: `1,234` alone says neither."""
    mark = marks.thousands_mark or (marks.decimal_mark if marks.decimal_mark == "," else "")
    if mark not in (",", "."):
        return False
    if (
        marks.thousands_mark
        and marks.decimal_mark in (",", ".")
        and any(marks.decimal_mark in value and mark in value for item in facts for value in item.values)
    ):
        return False
    parts = [value.strip().lstrip("-").split(mark) for item in facts for value in item.values if mark in value]
    numbers = [part for part in parts if all(piece.isdigit() for piece in part)]
    if any(len(part) > 2 for part in numbers):
        return False
    return all(len(part[1]) == 3 and len(part[0]) <= 3 and part[0] != "0" for part in numbers if len(part) == 2)


def _typed(item: ColumnFacts, layout: FileFormat, marks: TextMarks, *, is_typed: bool) -> TypedText:
    if item.is_text and not is_typed:
        if not item.present:
            return TypedText(ValueType("text"), note="no value in any file: the type is not known")
        is_excel = isinstance(layout, ExcelFormat)
        return text_type(item.name, item.values, has_nulls=item.nulls > 0, marks=marks, dates_have_clock=is_excel)
    family = family_of(item.kind)
    if item.kind in _PRECISE:
        return TypedText(ValueType(_PRECISE[item.kind]))
    if family == "decimal":
        return TypedText(ValueType(item.kind.lower().replace(" ", "")))
    return TypedText(ValueType("text" if family == "other" else family))


def _names(raw: Sequence[str], *, is_nested: bool) -> list[str]:
    """Return names that a column may have, each once in any case of letters."""
    taken: set[str] = set()
    names = []
    for place, given in enumerate(raw, 1):
        name = nested_name(given) if is_nested else given
        if name_problem(name):
            name = " ".join("".join(sign if sign.isprintable() else " " for sign in given).split())[:200]
            name = f"column_{name}" if name_problem(name) else name
            name = f"column_{place}" if name_problem(name) else name
        number, wanted = 2, name
        while name.lower() in taken:
            again = f"{wanted}_{number}"
            name, number = f"column_{place}" if name_problem(again) else again, number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def _suggested(item: ColumnFacts, found: TypedText, name: str, row: str, *, is_whole: bool) -> SuggestedColumn:
    """Return a column; `row` is the path of the row's values within a record."""
    notes = [note for note in (found.note, found.type.note) if note]
    if not is_whole:
        notes.append("not in all files")
    if hold_records(itertools.islice(item.values, _LOOKED_AT)):
        notes.append(
            f"its items are rows: make a source of them with 'dataops init NAME FILES --explode {item.name}', and "
            "leave the column out here"
        )
    formats = found.type.formats
    date_format: str | tuple[str, ...] = formats if len(formats) > 1 else "".join(formats)
    declared = Column(
        name=name,
        type=found.type.type,
        source_name="" if name == item.name else f"{row}.{item.name}" if row else item.name,
        date_format=date_format,
        null_words=("", *found.null_words) if found.null_words else None,
    )
    return SuggestedColumn(declared, item, tuple(dict.fromkeys(notes)))


def _value(item: SuggestedColumn) -> exp.Expression:
    return without(column(item.facts.column, "r"), item.declared.null_words or ())


def _proved(
    session: Session, delivered: DeliveredRows, columns: Sequence[SuggestedColumn], marks: TextMarks
) -> list[SuggestedColumn]:
    """Return the columns; one whose type does not take all values of the files is text."""
    proved = []
    for start in range(0, len(columns), _COLUMNS_A_QUERY):
        part = columns[start : start + _COLUMNS_A_QUERY]
        counts = [
            alias(
                exp.func(
                    "count_if",
                    query(
                        "NOT $value IS NULL AND $made IS NULL",
                        value=_value(item),
                        made=converted(_value(item), item.facts.kind, item.declared, marks),
                    ),
                ),
                item.facts.column,
            )
            for item in part
        ]
        wrong = session.fetch(query("SELECT $counts FROM $rows AS r", counts=counts, rows=delivered.table)).to_pylist()[
            0
        ]
        proved += [_as_text(item, wrong[item.facts.column]) if wrong[item.facts.column] else item for item in part]
    return proved


def _as_text(item: SuggestedColumn, count: int) -> SuggestedColumn:
    note = f"{count:,} values are no {item.declared.type}"
    text = item.declared.model_copy(update={"type": "text", "date_format": "", "null_words": None})
    return replace(item, declared=text, notes=(*item.notes, note))


def _shared_words(layout: FileFormat, columns: Sequence[SuggestedColumn]) -> tuple[FileFormat, list[SuggestedColumn]]:
    """Return format and columns; a null word that occurs only where it means null belongs to the format."""
    if not isinstance(layout, CsvFormat | ExcelFormat):
        return layout, list(columns)
    means_null = {word for item in columns for word in item.declared.null_words or () if word}
    kept = {
        value
        for item in columns
        if item.declared.type == "text" or not item.declared.null_words
        for value in item.facts.values
        if value in means_null
    }
    if not means_null:
        return layout, list(columns)
    if isinstance(layout, CsvFormat):
        # a writer that quotes all fields quotes its null words, too
        layout = layout.model_copy(update={"quoted_nulls": "all"})
    if kept:
        return layout, list(columns)
    shared = layout.model_copy(update={"null_words": ("", *sorted(means_null))})
    return shared, [replace(item, declared=item.declared.model_copy(update={"null_words": None})) for item in columns]


def _typed_rows(
    session: Session, delivered: DeliveredRows, columns: Sequence[SuggestedColumn], marks: TextMarks
) -> Relation:
    selected = [
        alias(converted(_value(item), item.facts.kind, item.declared, marks), item.facts.column) for item in columns
    ]
    return session.create(
        query("SELECT r.s_file, r.s_row_id, $selected FROM $rows AS r", selected=selected, rows=delivered.table)
    )
