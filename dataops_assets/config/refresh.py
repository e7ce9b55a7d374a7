"""Refresh types, which say how inputs become the hub, and how long inputs and old versions are kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from dataops_assets.config.declared import Declared, Duration
from dataops_assets.config.text_lines import compiled

_HISTORY = Field(False, description="Keep every version, with s_valid_from, s_valid_to, s_is_current and s_is_deleted.")

_UNREADABLE: Any = Field(
    "suspend_deletes",
    description="What to do if a rejected row has no readable key. `suspend_deletes`: its input deletes no rows by "
    "absence, because the rejected row may have any key. `ignore`: it deletes as if the rejected row did not exist.",
)
UnreadableRows = Literal["suspend_deletes", "ignore"]

INPUT = "input"
"""Qualifier for columns of the arriving input in the predicate of a custom refresh."""


Grain = Literal["hour", "day", "week", "month", "quarter", "year"]
Take = Literal["last", "first", "greatest", "least", "sum", "counter", "union"]
ALL_COLUMNS = "*"
"""Name in `merge` that stands for all columns that are not named, without key, order, ignored and marking columns."""


class MergedColumn(Declared):
    """How the values of one column are merged, if a word is not enough."""

    take: Take = Field(
        "last",
        description="Which value a row of the hub has: last, first, greatest or least known one, the sum, the total of "
        "a counter that begins anew when its value falls, or the union of lists.",
    )
    when: str = Field(
        "",
        description="SQL predicate on a row of the input: whether the row gives the column a value. With it a null can "
        "be given. Default: the value is not null.",
    )


def _in_full(value: Any) -> Any:
    return {"take": value} if isinstance(value, str) else value


Merged = Annotated[MergedColumn, BeforeValidator(_in_full, json_schema_input_type=Take | MergedColumn)]
"""How a column is merged; a word alone is its `take`."""


class NamedPeriod(Declared):
    """The period of an input, read from the name of its file or from its manifest."""

    pattern: str = Field(
        "",
        description="Regular expression (Python) of the whole name of a file, without its folder. The group `from` is "
        "the begin of the period; `to` is its end, which is outside, or `through` its last day, which is inside.",
    )
    begin: str = Field(
        "",
        alias="from",
        description="Instead of a pattern: dotted name of the beginning of the period in the manifest.",
    )
    to: str = Field(
        "", description="With `from`: dotted name of the end in the manifest. The end is outside the period."
    )
    through: str = Field(
        "", description="With `from`: dotted name of the last day in the manifest. This day is in the period."
    )
    format: str = Field(
        "%Y-%m-%d",
        description="Format (strptime) of the begin and the end, in the time zone of discovery.timezone, or with an "
        "offset (%z).",
    )

    @field_validator("pattern")
    @classmethod
    def _names_both_ends(cls, value: str) -> str:
        groups = set(compiled(value).groupindex)
        if value and groups not in ({"from", "to"}, {"from", "through"}):
            raise ValueError(
                f"pattern {value!r} has the groups {sorted(groups)}; known: (?P<from>…) with (?P<to>…) or "
                "(?P<through>…)"
            )
        return value

    @model_validator(mode="after")
    def _is_told_once(self) -> NamedPeriod:
        in_manifest = bool(self.begin) + bool(self.to or self.through)
        if (self.to and self.through) or in_manifest == 1 or bool(self.pattern) == bool(in_manifest):
            raise ValueError("declare either a pattern, or `from` with one of `to` and `through` for a manifest")
        return self

    @model_serializer(mode="wrap")
    def _without_the_empty(self, made: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # a hub that was merged before a setting existed has the hash of a declaration without it
        return {name: value for name, value in made(self).items() if value}

    @property
    def ends(self) -> dict[str, str]:
        """Return the names in the manifest by role (from, to, through); empty if the file name has the period."""
        found = {"from": self.begin, "to": self.to, "through": self.through}
        return {what: name for what, name in found.items() if name}

    @field_validator("format")
    @classmethod
    def _tells_a_day(cls, value: str) -> str:
        day = datetime(2024, 11, 28, tzinfo=UTC)
        try:
            found = datetime.strptime(day.strftime(value), value).replace(tzinfo=UTC)
        except ValueError as error:
            raise ValueError(f"format {value!r} cannot be read: {error}") from error
        if found != day:
            raise ValueError(f"format {value!r} does not tell a whole day; known: the directives of strptime")
        return value


class GroupDelete(Declared):
    """A row that deletes many keys: all, or those with its values in some key columns."""

    when: str = Field(min_length=1, description="SQL predicate on a row of the input; such a row deletes a group.")
    by: tuple[str, ...] = Field(
        (),
        description="Key columns. The row deletes all rows that have its values in these columns; default: all rows.",
    )


class _Keyed(Declared):
    """Base of the refresh types with a key: what they do with the values of single columns."""

    ignore_changes_in: tuple[str, ...] = Field(
        (),
        description="Columns that are ignored when deciding whether a row changed. They keep the value of the row that "
        "opened the version.",
    )
    update_in_place: tuple[str, ...] = Field(
        (), description="Columns whose change opens no new version: the present version gets the newest value."
    )
    merge: dict[str, Merged] = Field(
        {},
        description="Columns whose value is made of all rows of a key since its last deletion, e.g. {amount: last}: a "
        "null means 'unchanged'. '*' stands for all other columns.",
    )


class FullRefresh(_Keyed):
    """The hub has the rows of the newest input."""

    type: Literal["full"]
    key: tuple[str, ...] = Field((), description="Key columns. Without them whole rows are compared.")
    valid_from: str | None = Field(
        None,
        description="Column of type timestamptz, such as updated_at: with history, a version of a row begins at this "
        "time and not at the extract time. A row without a time, and a deletion, begin at the extract time.",
    )
    history: bool = _HISTORY
    unreadable_rows: UnreadableRows = _UNREADABLE
    # extracts are ordered only by their extract time, and a missing row is a delete
    order_by: ClassVar[None] = None
    range_by: ClassVar[None] = None
    delete_when: ClassVar[str] = ""
    ties: ClassVar[None] = None


class KeyRefresh(_Keyed):
    """The hub has for each key the row with the highest order."""

    type: Literal["key"]
    key: tuple[str, ...] = Field(min_length=1, description="Key columns.")
    # a missing row deletes nothing
    unreadable_rows: ClassVar[UnreadableRows] = "suspend_deletes"
    order_by: str | None = Field(None, description="Column that orders the rows of a key; default: the extract time.")
    # the order says when a version begins
    valid_from: ClassVar[None] = None
    delete_when: str = Field("", description="SQL predicate; a row for which it is true deletes its key.")
    group_deletes: tuple[GroupDelete, ...] = Field(
        (),
        description="Rows that delete many keys, such as truncate events. Each deletes the rows that come before it in "
        "the order, also those that arrive later. Such a row is no row of its own key.",
    )
    ties: Literal["delete", "row"] | None = Field(
        None,
        description="Which row of a key wins if several have the same order. `delete`: a row that deletes; `row`: a "
        "row that does not delete. Default: the newest row, by extract time, arrival, input and position in it.",
    )
    history: bool = _HISTORY
    range_by: ClassVar[None] = None


class _RowsWithoutKey(Declared):
    """Base of the refresh types without a key: they compare whole rows, or no rows."""

    key: ClassVar[tuple[str, ...]] = ()
    order_by: ClassVar[None] = None
    valid_from: ClassVar[None] = None
    delete_when: ClassVar[str] = ""
    ties: ClassVar[None] = None
    ignore_changes_in: ClassVar[tuple[str, ...]] = ()
    update_in_place: ClassVar[tuple[str, ...]] = ()
    merge: ClassVar[Mapping[str, MergedColumn]] = {}


class TimestampRefresh(_RowsWithoutKey):
    """An input replaces all rows from its earliest to its latest time, or of its `period`. The newest input decides."""

    type: Literal["timestamp"]
    range_by: str = Field(description="Column of type date, timestamp or timestamptz.")
    period: Grain | NamedPeriod | None = Field(
        None,
        description="An input replaces all rows of the whole hour, day, week, month, quarter or year of its extract "
        "time, in the time zone of discovery.timezone, or of the period that the name of its file or its manifest "
        "tells. So an input with fewer rows, or with none, deletes the others. A row outside the period is rejected. "
        "Default: an input replaces from its earliest to its latest row.",
    )
    history: bool = _HISTORY
    unreadable_rows: UnreadableRows = _UNREADABLE


class SequenceRefresh(_RowsWithoutKey):
    """An input replaces all rows from its lowest to its highest number. In an overlap the newest input decides."""

    type: Literal["sequence"]
    range_by: str = Field(description="Column of type integer, decimal (also with more than 64 bits) or double.")
    history: bool = _HISTORY
    unreadable_rows: UnreadableRows = _UNREADABLE


class AppendRefresh(_RowsWithoutKey):
    """The hub has all rows of all inputs. Two files with the same bytes are one input."""

    type: Literal["append"]
    # a missing row deletes nothing
    unreadable_rows: ClassVar[UnreadableRows] = "suspend_deletes"
    # no row replaces another one, so there are no versions to keep
    history: ClassVar[bool] = False
    range_by: ClassVar[None] = None


class CustomRefresh(_RowsWithoutKey):
    """An input removes the rows that a predicate selects, then adds its own rows."""

    type: Literal["custom"]
    delete_where: str = Field(
        min_length=1,
        description="SQL predicate. A name alone is a column of a hub row; input.<column> is a column of a row of the "
        "arriving input, e.g. 'region = input.region and day >= input.day'. A hub row is replaced if the predicate is "
        "true for any row of the input.",
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
    """How long old inputs and old table versions are kept. `dataops vacuum` removes them."""

    superseded_inputs: Duration | None = Field(
        None,
        ge=timedelta(0),
        le=timedelta(days=36_500),
        description="An input is settled when it is older than the newest input by this duration: its rows in the hub "
        "stay, and everything else of it is removed. A settled input cannot arrive again, be removed or be corrected, "
        "and new inputs of that age are refused. '90 days', '12 weeks' or ISO 8601 (P90D). Without it all inputs are "
        "kept.",
    )
    versions: Duration = Field(
        timedelta(days=7),
        ge=timedelta(0),
        le=timedelta(days=36_500),
        description="How long a table version stays readable after a newer version was committed.",
    )
