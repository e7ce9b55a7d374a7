"""Null words: the texts of a raw column that mean null, with and without quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from dataops_assets.config.connection import CsvFormat, ExcelFormat, FixedWidthFormat, RawFormat, TextFormat
from dataops_assets.connections.formats.staging import RawField, Reading, Wanted
from dataops_assets.sql import literal, query


class NullWords:
    """The null words of a format and of the contract's columns.

    A column's own words replace those of the format. Only delimited text has quotes: `quoted_nulls` says whether a
    quoted text can be null.
    """

    def __init__(self, layout: RawFormat, wanted: Wanted) -> None:
        self._wanted = wanted
        of_texts = CsvFormat | FixedWidthFormat | TextFormat | ExcelFormat
        self._of_format = layout.null_words if isinstance(layout, of_texts) else ()
        self._quoted_nulls = "all"
        self._marks: tuple[str, ...] = ()
        self._delimiter = ""
        if isinstance(layout, CsvFormat) and layout.quote:
            self._quoted_nulls = layout.quoted_nulls
            self._delimiter = layout.delimiter
            self._marks = tuple(mark for mark in (layout.quote, layout.escape) if mark)

    def of(self, name: str) -> tuple[str, ...]:
        """Return all null words of the column with this raw name."""
        return self._wanted.null_words.get(name, self._of_format)

    def however_written(self, name: str) -> tuple[str, ...]:
        """Return the null words of a column that mean null also in quotes."""
        if self._quoted_nulls == "all":
            return self.of(name)
        return ("",) if self._quoted_nulls == "empty" and "" in self.of(name) else ()

    def unquoted(self, name: str) -> frozenset[str]:
        """Return the null words of a column that mean null only without quotes.

        A word with a delimiter or a line end is left out, because a field can contain it only in quotes.
        """
        words = frozenset(self.of(name)) - frozenset(self.however_written(name))
        return frozenset(word for word in words if not any(mark in word for mark in (self._delimiter, "\n", "\r")))

    def for_engine(self, header: Sequence[str]) -> frozenset[str] | None:
        """Return the unquoted null words that all columns share, for the engine's reader; None if they differ."""
        of_columns = {self.unquoted(name) for name in header}
        if len(of_columns) != 1:
            return None
        (words,) = of_columns
        # the engine refuses a word that contains a mark or is a part of one
        if any(mark in word or (word and word in self._delimiter) for word in words for mark in self._marks):
            return None
        return words

    def in_quotes(self) -> tuple[str, ...]:
        """Return texts to search for: a file with none of them has no quoted text that equals an unquoted null word."""
        words = frozenset[str]().union(self.unquoted(""), *(self.unquoted(name) for name in self._wanted.null_words))
        found = []
        for word in words:
            quote = self._marks[0]
            places = [place for mark in self._marks if (place := word.find(mark)) >= 0]
            # a mark in the word can be written in several ways, so only the part before it is searched for
            found.append(quote + (word[: min(places)] if places else word + quote))
        return tuple(sorted(found))

    def tell(self, reading: Reading) -> None:
        """Set the null words of the fields of a reading that its query does not yet turn into null."""
        for index, rows in enumerate(reading.rows):
            fields = tuple(replace(item, null_words=self.however_written(item.name)) for item in rows.fields)
            reading.rows[index] = replace(rows, fields=fields)


def present(value: exp.Expression, item: RawField) -> exp.Expression:
    """Return a field's value, or null if it is one of the field's null words."""
    if item.type != "VARCHAR":
        return value
    return without(value, item.null_words)


def without(value: exp.Expression, words: Sequence[str]) -> exp.Expression:
    """Return a text, or null if it is one of the words."""
    if not words:
        return value
    if len(words) == 1:
        return query("nullif($value, $word)", value=value, word=words[0])
    return query(
        "CASE WHEN $value IN ($words) THEN NULL ELSE $value END", value=value, words=[literal(word) for word in words]
    )
