"""What is computed and validated: relations to other sources, rules, validations, and sources to wait for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, model_validator

from dataops_assets.config.declared import Declared, Duration


class Comparison(Declared):
    """One further condition of a relation, e.g. {column: Date, is: ">=", related: valid_from}."""

    column: str = Field(description="This source's column.")
    is_: Literal["<", "<=", ">", ">=", "<>"] = Field(alias="is", description="How it compares: <, <=, >, >= or <>.")
    related: str = Field(description="The related source's column.")


class Relation(Declared):
    """A named join from this source to another."""

    source: str = Field(description="Name of the related source.")
    on: dict[str, str] = Field({}, description="This source's column: the related source's column that equals it.")
    where: tuple[Comparison, ...] = Field((), description="Further conditions, other than equality.")
    cardinality: Literal["to_one", "to_many"] = Field(
        "to_one",
        description="'to_one': at most one row matches; where two do, nothing is published. 'to_many': any number, "
        "and rules aggregate them.",
    )
    description: str = Field("", description="What the relation means.")

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, data: Any) -> Any:
        # YAML 1.1, which Dagster reads, takes a bare `on` for true
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
        """Columns of this source that decide which rows match."""
        return tuple(dict.fromkeys((*self.on, *(item.column for item in self.where))))

    @property
    def related_columns(self) -> tuple[str, ...]:
        """Columns of the related source that decide which rows match."""
        return tuple(dict.fromkeys((*self.on.values(), *(item.related for item in self.where))))


class Rule(Declared):
    """One SQL expression giving one column of the hub."""

    name: str = Field(description="Column name in the hub.")
    expression: str = Field(
        description="SQL expression; bare columns are this source's, 'relation.column' is looked up."
    )
    mode: Literal["snapshot", "keep_current"] = Field(
        "snapshot", description="'snapshot': frozen when the row is processed; 'keep_current': as if computed now."
    )
    type: str = Field("", description="Result type to cast to; empty keeps the expression's own.")
    compatible: str = Field(
        "",
        description="Another expression that reproduces a known implementation the column is compared with; it takes "
        "the place of `expression` when the source says `compatible: true`.",
    )
    description: str = Field("", description="What the column means; shown in the UI.")


class Validation(Declared):
    """A boolean rule over one row, where null counts as true, as in a SQL CHECK; or columns that tell rows apart."""

    name: str = Field(description="Validation name, shown with every failing row.")
    expression: str = Field("", description="SQL boolean expression; rows where it is false fail the validation.")
    unique: tuple[str, ...] = Field(
        (),
        description="Columns: all rows of an input fail that share their values with another row of the same input. A "
        "null is like no other value.",
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
    """Another source that must be recent enough before an input is enriched."""

    source: str = Field(description="Name of the source that is waited for.")
    within: Duration = Field(
        timedelta(0),
        description="How much older than the input the newest extract in its hub may be: '1 day', '12 hours' or ISO "
        "8601 (P1D). Negative: how much newer it must be.",
    )
