"""The schema contract of a source: its columns, and what happens when an input's columns differ from them."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from dataops_assets.config.declared import Declared

SYSTEM_PREFIX = "s_"
# columns that engines and Delta tables add to every table under these names, in any case of letters
_OF_ENGINES = (
    "filename",
    "file_index",
    "file_row_number",
    "rowid",
    "_metadata",
    "_tmp_metadata_row_index",
    "_change_type",
    "_commit_version",
    "_commit_timestamp",
)
_LONGEST_NAME = 255


def name_problem(name: str) -> str:
    """Why a column of a table cannot be called `name`; empty where it can."""
    if name.lower().startswith(SYSTEM_PREFIX):
        return "the prefix 's_' belongs to system columns"
    if name.lower() in _OF_ENGINES:
        return "engines have a column of that name in every table"
    if not name or name != name.strip():
        return "a name is not empty and has no spaces at its ends"
    if not name.replace(" ", "").isprintable():
        return "a name has no line ends or other control characters"
    if len(name) > _LONGEST_NAME:
        return f"a name has at most {_LONGEST_NAME} characters"
    return ""


COLUMN_TYPE = re.compile(
    r"^(text|boolean|integer|double|date|timestamp|timestamptz|binary|decimal\(\d{1,2},\d{1,2}\))$"
)


class Column(Declared):
    """One column of the schema contract, with its checks."""

    name: str = Field(description="Column name in the lake.")
    type: str = Field(
        "text",
        description="text, boolean, integer (64 bit), double, decimal(p,s), date, timestamp, timestamptz or binary.",
    )
    source_name: str = Field("", description="Name in the raw data when it differs.")
    renamed_from: tuple[str, ...] = Field(
        (),
        description="Earlier names in the raw data. An input may have the column under any of its names, but only one.",
    )
    description: str = Field("", description="What the column means; shown in the UI.")
    nullable: bool = Field(
        True, description="Whether nulls are allowed; a null in a non-nullable column rejects the row."
    )
    date_format: str | tuple[str, ...] = Field(
        "",
        description="How dates and timestamps are written in text data: a format of Python's strptime, or several, of "
        "which the first that fits is used. Empty is ISO 8601.",
    )
    default: str | None = Field(None, description='SQL literal that replaces null while parsing, e.g. "0" or "\'\'".')
    tags: dict[str, str] = Field({}, description="Free tags, e.g. {pii: email}.")

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if not COLUMN_TYPE.match(value):
            raise ValueError(
                f"unknown column type {value!r}; known: text, boolean, integer, double, decimal(p,s), date, timestamp, "
                "timestamptz, binary"
            )
        return value

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        problem = name_problem(value)
        if problem:
            raise ValueError(f"column {value!r}: {problem}; set source_name and another name")
        return value

    @property
    def date_formats(self) -> tuple[str, ...]:
        """The formats of dates and times in text, in order; an empty one is ISO 8601."""
        formats = (self.date_format,) if isinstance(self.date_format, str) else self.date_format
        return formats or ("",)

    @property
    def raw_name(self) -> str:
        """The column's name in the raw data."""
        return self.source_name or self.name

    @property
    def raw_names(self) -> tuple[str, ...]:
        """All names that the column has or had in the raw data, the present one first."""
        return (self.raw_name, *self.renamed_from)


class EvolvedColumn(Column):
    """A column that inputs have and the contract does not: nullable text, until it is declared. Never in YAML."""


class Drift(Declared):
    """What happens when an input's columns differ from the contract: one policy for each kind of difference."""

    new_column: Literal["evolve", "ignore", "fail"] = Field(
        "ignore",
        description="A column the contract does not know. 'ignore': not kept, but told; 'evolve': kept as nullable "
        "text in the lake and the hub, until it is declared; 'fail': the input fails alone.",
    )
    missing_column: Literal["evolve", "ignore", "fail"] = Field(
        "fail",
        description="A contract column the input lacks. 'fail': the input fails alone; 'ignore': nulls, and where "
        "nulls are not allowed the rows are rejected; 'evolve': nulls are allowed in that input.",
    )
    changed_type: Literal["evolve", "ignore", "fail"] = Field(
        "evolve",
        description="Values of another type than declared. 'evolve': a value that stays the same becomes the declared "
        "type, a row with any other is rejected; 'ignore': such values are left out (null) and counted; 'fail': the "
        "input fails alone. None of them ever changes a value.",
    )
