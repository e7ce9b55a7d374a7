"""The schema contract of a source: its columns, and what happens when an input's columns differ from them."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dataops_assets.config.declared import Declared
from dataops_assets.config.number_format import NumberFormat
from dataops_assets.config.types import base_type, suggested_type

SYSTEM_PREFIX = "s_"
# engines and Delta tables add columns with these names to every table; upper and lower case are the same
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
    """Return why a column cannot have this name; empty if it can."""
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


_PRESENCE = "\N{THERE EXISTS}"
COLUMN_TYPE = re.compile(
    r"^(text|boolean|integer|double|date|timestamp|timestamptz|binary|decimal\(\d{1,2},\d{1,2}\))$"
)


BinaryFormat = Literal["utf-8", "hex", "base64"]
"""How bytes are written as text."""


class Column(Declared):
    """One column of the schema contract."""

    name: str = Field(description="Column name in the lake.")
    type: str = Field(
        "text",
        description="text, boolean, integer (64 bit), double, decimal(p,s), date, timestamp, timestamptz or binary.",
    )
    source_name: str = Field("", description="Column name in the raw data, if it is another one.")
    renamed_from: tuple[str, ...] = Field(
        (),
        description="Earlier column names in the raw data. An input may use any of the names, but only one of them.",
    )
    description: str = Field("", description="What the column means; shown in the UI.")
    nullable: bool = Field(
        True, description="Whether nulls are allowed; a null in a non-nullable column rejects the row."
    )
    date_format: str | tuple[str, ...] = Field(
        "",
        description="Format of dates and timestamps in text data, as in Python's strptime. Of several formats the "
        "first that fits is used. Empty: ISO 8601. For numbers since 1970, also in typed data: epoch_days, "
        "epoch_seconds, epoch_milliseconds or epoch_microseconds.",
    )
    number_format: NumberFormat | None = Field(
        None,
        description="Notation of numbers in text data: marks, place of the minus, units. Default: as in the format.",
    )
    binary_format: BinaryFormat = Field(
        "utf-8",
        description="How bytes are written in text data: as a text in UTF-8; in hexadecimal digits, perhaps after \\x "
        "or 0x; or in base64 of the standard alphabet.",
    )
    null_words: tuple[str, ...] | None = Field(
        None, description="Texts that mean null in this column, instead of the format's null_words."
    )
    expression: str = Field(
        "",
        description="SQL expression that computes the column while parsing, from other columns of the row and "
        "s_extract_time (the input's extract time in discovery.timezone). Such a column is not in the raw data.",
    )
    presence_of: str = Field(
        "",
        description="Name of a field in the raw data: the column says whether a record has this field, also with a "
        "null. Its type is boolean.",
    )
    default: str | None = Field(None, description='SQL literal that replaces null while parsing, e.g. "0" or "\'\'".')
    tags: dict[str, str] = Field({}, description="Free tags, e.g. {pii: email}.")

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if not COLUMN_TYPE.match(value):
            meant = suggested_type(value)
            hint = f", did you mean {meant!r}?" if meant else ""
            raise ValueError(
                f"unknown column type {value!r}{hint}; known: text, boolean, integer, double, decimal(p,s), date, "
                "timestamp, timestamptz, binary"
            )
        return value

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        problem = name_problem(value)
        if problem:
            raise ValueError(f"column {value!r}: {problem}; set source_name and another name")
        return value

    @model_validator(mode="after")
    def _computed_or_read(self) -> Column:
        unused = ("source_name", "renamed_from", "null_words", "default", "number_format")
        given = [name for name in unused if self.expression and getattr(self, name)]
        if given:
            raise ValueError(
                f"column {self.name!r} is computed by its expression, so it has no {' and no '.join(given)}; leave out "
                "one of them"
            )
        return self

    @model_validator(mode="after")
    def _presence_alone(self) -> Column:
        if not self.presence_of:
            return self
        unused = ("expression", "source_name", "renamed_from", "null_words", "date_format", "default")
        if given := [name for name in unused if getattr(self, name)]:
            raise ValueError(
                f"column {self.name!r} says whether a field is there, so it has no {' and no '.join(given)}"
            )
        if self.type != "boolean":
            raise ValueError(f"column {self.name!r} says whether a field is there, so its type is boolean")
        return self

    @model_validator(mode="after")
    def _numbers_have_the_format(self) -> Column:
        if self.number_format is not None and base_type(self.type) not in ("integer", "double", "decimal"):
            raise ValueError(f"column {self.name!r} is {self.type}, so it has no number_format")
        return self

    @model_validator(mode="after")
    def _bytes_have_the_format(self) -> Column:
        if self.binary_format != "utf-8" and (self.type != "binary" or self.expression):
            made = "computed" if self.expression else self.type
            raise ValueError(f"column {self.name!r} is {made}, so it has no binary_format")
        return self

    @property
    def date_formats(self) -> tuple[str, ...]:
        """Return the formats of dates and times in text, in order; an empty format is ISO 8601."""
        formats = (self.date_format,) if isinstance(self.date_format, str) else self.date_format
        return formats or ("",)

    @property
    def raw_name(self) -> str:
        """Return the column's name in the raw data; a computed column has none there.

        The presence of a field has a name of its own there.
        """
        return _PRESENCE + self.presence_of if self.presence_of else self.source_name or self.name

    @property
    def raw_names(self) -> tuple[str, ...]:
        """Return all names of the column in the raw data, the present one first; none if it is computed."""
        return () if self.expression else (self.raw_name, *self.renamed_from)


class EvolvedColumn(Column):
    """A column that inputs have and the contract does not: nullable text until it is declared. Not used in YAML."""


class Drift(Declared):
    """Drift policies: what to do if an input's columns differ from the contract, for each kind of difference."""

    new_column: Literal["evolve", "ignore", "fail"] = Field(
        "ignore",
        description="An input has a column that is not in the contract. 'ignore': drop the column and report it; "
        "'evolve': keep it as nullable text in lake and hub until it is declared; 'fail': only this input fails.",
    )
    missing_column: Literal["evolve", "ignore", "fail"] = Field(
        "fail",
        description="An input lacks a column of the contract. 'fail': only this input fails; 'ignore': the values are "
        "null, and rows are rejected if the column is not nullable; 'evolve': nulls are allowed in that input.",
    )
    changed_type: Literal["evolve", "ignore", "fail"] = Field(
        "evolve",
        description="An input has values of another type than declared. 'evolve': cast the values that the cast does "
        "not change, and reject the rows with other values; 'ignore': replace such values by null and count them; "
        "'fail': only this input fails. No policy ever changes a value.",
    )
