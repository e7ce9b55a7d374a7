"""Null words: the texts of a raw column that mean null, with and without quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from dataops_assets.config.connection import CsvFormat, ExcelFormat, FileFormat
from dataops_assets.connections.formats.staging import RawField, Reading, Wanted
from dataops_assets.sql import literal, query


class NullWords:
    """The words for null of a format and of the contract's columns.

    A column's own words replace those of the format. Only delimited text knows quotes: there `quoted_nulls` says
    whether a quoted text can be null.
    """

    def __init__(self, layout: FileFormat, wanted: Wanted) -> None:
        self._wanted = wanted
        self._of_format = layout.null_words if isinstance(layout, CsvFormat | ExcelFormat) else ()
        self._quoted_nulls = "all"
        self._marks: tuple[str, ...] = ()
        self._delimiter = ""
        if isinstance(layout, CsvFormat) and layout.quote:
            self._quoted_nulls = layout.quoted_nulls
            self._delimiter = layout.delimiter
            self._marks = tuple(mark for mark in (layout.quote, layout.escape) if mark)

    def of(self, name: str) -> tuple[str, ...]:
        """All words for null of the column with this raw name."""
        return self._wanted.null_words.get(name, self._of_format)

    def however_written(self, name: str) -> tuple[str, ...]:
        """The words that mean null in quotes too."""
        if self._quoted_nulls == "all":
            return self.of(name)
        return ("",) if self._quoted_nulls == "empty" and "" in self.of(name) else ()

    def unquoted(self, name: str) -> frozenset[str]:
        """The words that mean null only without quotes. What can stand in quotes only is none."""
        words = frozenset(self.of(name)) - frozenset(self.however_written(name))
        return frozenset(word for word in words if not any(mark in word for mark in (self._delimiter, "\n", "\r")))

    def for_engine(self, header: Sequence[str]) -> frozenset[str] | None:
        """Return the unquoted null words that all columns share, for the engine's reader; None if they differ."""
        of_columns = {self.unquoted(name) for name in header}
        if len(of_columns) != 1:
            return None
        (words,) = of_columns
        # it takes no word that holds a mark, or is a part of one
        if any(mark in word or (word and word in self._delimiter) for word in words for mark in self._marks):
            return None
        return words

    def in_quotes(self) -> tuple[str, ...]:
        """Texts of which one is in every file that has an unquoted word in quotes."""
        words = frozenset[str]().union(self.unquoted(""), *(self.unquoted(name) for name in self._wanted.null_words))
        found = []
        for word in words:
            quote = self._marks[0]
            places = [place for mark in self._marks if (place := word.find(mark)) >= 0]
            # a mark in it can be written in more than one way
            found.append(quote + (word[: min(places)] if places else word + quote))
        return tuple(sorted(found))

    def tell(self, reading: Reading) -> None:
        """Set on the fields of a reading which of their texts still mean null."""
        for index, rows in enumerate(reading.rows):
            fields = tuple(replace(item, null_words=self.however_written(item.name)) for item in rows.fields)
            reading.rows[index] = replace(rows, fields=fields)


def present(value: exp.Expression, item: RawField) -> exp.Expression:
    """A field's value, or null where it is one of its words for null."""
    if item.type != "VARCHAR":
        return value
    return without(value, item.null_words)


def without(value: exp.Expression, words: Sequence[str]) -> exp.Expression:
    """A text, or null where it is one of the words."""
    if not words:
        return value
    if len(words) == 1:
        return query("nullif($value, $word)", value=value, word=words[0])
    return query(
        "CASE WHEN $value IN ($words) THEN NULL ELSE $value END", value=value, words=[literal(word) for word in words]
    )
