"""Declared relations to other sources, rules, validations, and sources to wait for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, model_validator

from dataops_assets.config.declared import Declared, Duration

VALIDITY = ("s_valid_from", "s_valid_to")
"""The columns of a hub with history that say from which moment, and up to which, a version is valid."""


class Comparison(Declared):
    """A condition of a relation that is not an equality, e.g. {column: Date, is: ">=", related: valid_from}."""

    column: str = Field(description="This source's column.")
    is_: Literal["<", "<=", ">", ">=", "<>"] = Field(alias="is", description="Comparison operator: <, <=, >, >= or <>.")
    related: str = Field(description="The related source's column.")


class Relation(Declared):
    """A named join from this source to another."""

    source: str = Field(description="Name of the related source.")
    on: dict[str, str] = Field(
        {}, description="Pairs of equal columns: a column of this source, and the column of the related source."
    )
    where: tuple[Comparison, ...] = Field((), description="Further conditions that are not equalities.")
    cardinality: Literal["to_one", "to_many"] = Field(
        "to_one",
        description="'to_one': at most one row matches; if two rows match, nothing is published. 'to_many': any number "
        "of rows matches, and rules aggregate them.",
    )
    as_of: str | None = Field(
        None,
        description="This source's column with a moment: the related row is the version that was valid then, of a "
        "source with history. Default: the current version.",
    )
    description: str = Field("", description="What the relation means.")

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, data: Any) -> Any:
        # Dagster reads YAML 1.1, where an unquoted `on` is the value true
        if isinstance(data, Mapping) and True in data and "on" not in data:
            return {"on" if key is True else key: value for key, value in data.items()}
        return data

    @model_validator(mode="after")
    def _joins_something(self) -> Relation:
        if not self.on and not self.where:
            raise ValueError("a relation needs 'on' (columns that are equal) or 'where' (other comparisons)")
        return self

    @property
    def own_columns(self) -> tuple[str, ...]:
        """Return the columns of this source that the join compares."""
        moment = (self.as_of,) if self.as_of is not None else ()
        return tuple(dict.fromkeys((*self.on, *(item.column for item in self.where), *moment)))

    @property
    def related_columns(self) -> tuple[str, ...]:
        """Return the columns of the related source that the join compares."""
        validity = VALIDITY if self.as_of is not None else ()
        return tuple(dict.fromkeys((*self.on.values(), *(item.related for item in self.where), *validity)))


class Rule(Declared):
    """One SQL expression that gives one column of the hub."""

    name: str = Field(description="Column name in the hub.")
    expression: str = Field(
        description="SQL expression. 'column' is a column of this source, 'relation.column' is looked up."
    )
    mode: Literal["snapshot", "keep_current"] = Field(
        "snapshot",
        description="'snapshot': frozen when the row is processed; 'keep_current': always as if computed now.",
    )
    type: str = Field("", description="Type to cast the result to; empty: the type of the expression.")
    compatible: str = Field(
        "",
        description="Another expression, which reproduces a known implementation to compare the column with. It "
        "replaces `expression` if the source declares `compatible: true`.",
    )
    description: str = Field("", description="What the column means; shown in the UI.")


class Validation(Declared):
    """A boolean rule about one row, in which null counts as true, as in a SQL CHECK; or columns that are unique."""

    name: str = Field(description="Validation name, shown with every failing row.")
    expression: str = Field("", description="Boolean SQL expression; rows for which it is false fail the validation.")
    unique: tuple[str, ...] = Field(
        (),
        description="Columns whose values must be unique in an input. All rows of an input with the same values fail. "
        "A null is not equal to any value.",
    )
    severity: Literal["warn", "quarantine", "fail"] = Field(
        "warn", description="'warn' marks the row, 'quarantine' keeps it out of the hub, 'fail' stops the input."
    )
    description: str = Field("", description="Why the rule exists.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Validation:
        if ("expression" in self.model_fields_set) == bool(self.unique):
            raise ValueError(f"validation {self.name!r} has either an expression or columns that are unique")
        return self


class Wait(Declared):
    """A source that must be recent enough before an input of this source is enriched."""

    source: str = Field(description="Name of the source to wait for.")
    within: Duration = Field(
        timedelta(0),
        description="How much older than the input the newest extract in the other source's hub may be: '1 day', "
        "'12 hours' or ISO 8601 (P1D). A negative duration says how much newer it must be.",
    )
