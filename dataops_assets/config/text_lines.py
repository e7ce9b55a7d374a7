"""Declared lines of text files that are no records (first and last lines with totals), and records of other types."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from dataops_assets.config.declared import Declared

ROWS = "rows"
"""The group of a control line with the number of records that the source takes."""
ALL_ROWS = "all_rows"
"""The group of a control line with the number of all records, also of other types."""


def compiled(pattern: str) -> re.Pattern[str]:
    """Return a declared pattern as Python's `re` compiles it. Raises ValueError with its fault."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression of Python: {error}") from error


class ControlLine(Declared):
    """A line that each file has before its first or after its last record, with totals that are checked."""

    pattern: str = Field(
        min_length=1,
        description="Regular expression (Python) of the whole line. Named groups are totals: `rows` is the number of "
        "records, `all_rows` that of all record types; another group is the sum of the column with its name.",
    )
    decimal_mark: str = Field("", description="Decimal mark of the totals; empty for that of the format.")
    thousands_mark: str = Field("", description="Thousands separator of the totals; empty for that of the format.")

    @field_validator("pattern")
    @classmethod
    def _is_expression(cls, value: str) -> str:
        compiled(value)
        return value

    @property
    def sums(self) -> tuple[str, ...]:
        """Return the columns whose sum the line has."""
        return tuple(name for name in compiled(self.pattern).groupindex if name not in (ROWS, ALL_ROWS))


class FieldRecordType(Declared):
    """The records of a file with several types that a source takes, by a field of the record."""

    field: int = Field(1, ge=1, description="Position of the field that has the type of the record, from 1.")
    values: tuple[str, ...] = Field(min_length=1, description="Types that this source takes.")


class PlaceRecordType(Declared):
    """The records of a file with several types that a source takes, by the characters at a place of the line."""

    start: int = Field(1, ge=1, description="Position of the first character of the type, from 1.")
    width: int = Field(ge=1, description="Number of characters of the type.")
    values: tuple[str, ...] = Field(min_length=1, description="Types that this source takes, without blanks around.")


class TextFile(Declared):
    """The settings that all formats of text lines share."""

    header_lines: tuple[ControlLine, ...] = Field(
        (),
        description="The first lines of the file, which are no records. A file whose first lines differ is refused. "
        "skip_rows counts from the line after them.",
    )
    trailer_lines: tuple[ControlLine, ...] = Field(
        (),
        description="The last lines of the file, which are no records. A file that ends otherwise is cut off, so it "
        "is refused.",
    )

    @property
    def control_lines(self) -> tuple[ControlLine, ...]:
        """Return the declared first and last lines."""
        return (*self.header_lines, *self.trailer_lines)
