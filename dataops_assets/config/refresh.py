"""How inputs make the hub: the refresh types, and how long inputs and old versions are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from dataops_assets.config.declared import Declared, Duration

_HISTORY = Field(False, description="Keep every version, with s_valid_from, s_valid_to, s_is_current and s_is_deleted.")

_UNREADABLE: Any = Field(
    "suspend_deletes",
    description="What a rejected row whose key cannot be read means: `suspend_deletes`: its input deletes nothing by "
    "absence, because the row may be of any key; `ignore`: it deletes as if the row were not there.",
)
UnreadableRows = Literal["suspend_deletes", "ignore"]

INPUT = "input"
"""Qualifier of an arriving input's columns in a custom refresh's predicate."""


class FullRefresh(Declared):
    """The newest input is the table."""

    type: Literal["full"]
    key: tuple[str, ...] = Field((), description="Key columns; without them rows are compared whole.")
    ignore_changes_in: tuple[str, ...] = Field((), description="Columns whose change alone is no change.")
    history: bool = _HISTORY
    unreadable_rows: UnreadableRows = _UNREADABLE
    # extracts are ordered by their extract time alone, and deletes are read from absence
    order_by: ClassVar[None] = None
    range_by: ClassVar[None] = None
    delete_when: ClassVar[str] = ""


class KeyRefresh(Declared):
    """For each key the row with the highest order wins."""

    type: Literal["key"]
    key: tuple[str, ...] = Field(min_length=1, description="Key columns.")
    # absence deletes nothing
    unreadable_rows: ClassVar[UnreadableRows] = "suspend_deletes"
    order_by: str | None = Field(None, description="Column that orders a key's rows; default: the extract time.")
    delete_when: str = Field("", description="SQL predicate over the row that marks a delete.")
    ignore_changes_in: tuple[str, ...] = Field((), description="Columns whose change alone is no change.")
    history: bool = _HISTORY
    range_by: ClassVar[None] = None


class _RowsWithoutKey(Declared):
    """What types have in common whose rows are compared whole, or not at all."""

    key: ClassVar[tuple[str, ...]] = ()
    order_by: ClassVar[None] = None
    delete_when: ClassVar[str] = ""
    ignore_changes_in: ClassVar[tuple[str, ...]] = ()


class TimestampRefresh(_RowsWithoutKey):
    """An input owns the time from its earliest to its latest row; where inputs overlap, the newest owns the overlap."""

    type: Literal["timestamp"]
    range_by: str = Field(description="Column of type date, timestamp or timestamptz.")
    history: bool = _HISTORY
    unreadable_rows: UnreadableRows = _UNREADABLE


class SequenceRefresh(_RowsWithoutKey):
    """An input owns the numbers from its lowest to its highest; where inputs overlap, the newest owns the overlap."""

    type: Literal["sequence"]
    range_by: str = Field(description="Column of type integer, decimal (beyond 64 bits, too) or double.")
    history: bool = _HISTORY
    unreadable_rows: UnreadableRows = _UNREADABLE


class AppendRefresh(_RowsWithoutKey):
    """All rows of all inputs; the same bytes twice are one input."""

    type: Literal["append"]
    # absence deletes nothing
    unreadable_rows: ClassVar[UnreadableRows] = "suspend_deletes"
    # rows are never superseded, so there are no versions to keep
    history: ClassVar[bool] = False
    range_by: ClassVar[None] = None


class CustomRefresh(_RowsWithoutKey):
    """A predicate says which rows an input replaces, then its own rows are added."""

    type: Literal["custom"]
    delete_where: str = Field(
        min_length=1,
        description="SQL predicate: bare columns are those of a row in the hub, input.<column> those of any row of the "
        "arriving input, e.g. 'region = input.region and day >= input.day'. A row is replaced if it holds for one.",
    )
    history: bool = _HISTORY
    unreadable_rows: UnreadableRows = _UNREADABLE
    range_by: ClassVar[None] = None


Refresh = Annotated[
    FullRefresh | KeyRefresh | TimestampRefresh | SequenceRefresh | AppendRefresh | CustomRefresh,
    Field(discriminator="type"),
]


RANGE_TYPES = {"timestamp": ("date", "timestamp", "timestamptz"), "sequence": ("integer", "decimal", "double")}


class Retention(Declared):
    """How long what is not needed any more is kept. `dataops vacuum` removes it."""

    superseded_inputs: Duration | None = Field(
        None,
        ge=timedelta(0),
        le=timedelta(days=36_500),
        description="How much older than the newest an input must be to be settled: what it brought to the hub stays, "
        "and everything else of it is removed. A settled input cannot come again, be removed or be corrected, and "
        "nothing as old is taken any more. '90 days', '12 weeks' or ISO 8601 (P90D). Without it all inputs are kept.",
    )
    versions: Duration = Field(
        timedelta(days=7),
        ge=timedelta(0),
        le=timedelta(days=36_500),
        description="How long a version of a table can be read after a newer one took its place.",
    )
