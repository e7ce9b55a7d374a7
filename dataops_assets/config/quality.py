"""Declared checks and gates of a source: checks report, gates stop a publication."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from dataops_assets.config.declared import Declared, Duration

Severity = Literal["warn", "fail"]


class Gate(Declared):
    """A blocking contract: a pandera schema checked before the table is published."""

    contract: str = Field(
        description="'module:attribute' of a pandera DataFrameSchema or DataFrameModel. The engine evaluates it."
    )
    severity: Severity = Field("fail", description="'fail' publishes nothing; 'warn' only reports.")


class FreshnessCheck(Declared):
    """How recent the source's tables must be. Limits that are not declared are learnt from the arrivals of inputs."""

    enabled: bool = Field(True, description="Whether the check is made.")
    warn_after_hours: float = Field(
        24.0,
        gt=0,
        description="Hours without a materialization before a warning. Default: the limits are learnt from arrivals "
        "of inputs, as soon as there are enough of them.",
    )
    fail_after_hours: float = Field(48.0, gt=0, description="Hours without a materialization before a failure.")

    @model_validator(mode="after")
    def _ordered(self) -> FreshnessCheck:
        if self.warn_after_hours >= self.fail_after_hours:
            raise ValueError(
                f"freshness: warn_after_hours ({self.warn_after_hours}) must be below fail_after_hours "
                f"({self.fail_after_hours})"
            )
        return self

    @property
    def is_declared(self) -> bool:
        """Return whether YAML sets the limits, so that they replace the learnt limits."""
        return not self.model_fields_set.isdisjoint({"warn_after_hours", "fail_after_hours"})

    @property
    def warn_window(self) -> timedelta:
        """Return `warn_after_hours` as a duration."""
        return timedelta(hours=self.warn_after_hours)

    @property
    def fail_window(self) -> timedelta:
        """Return `fail_after_hours` as a duration."""
        return timedelta(hours=self.fail_after_hours)


class VolumeCheck(Declared):
    """Compares the rows (bytes for raw) of one input with fixed limits and with the inputs before it."""

    enabled: bool = Field(True, description="Whether the check is made.")
    severity: Severity = Field("warn", description="'fail' stops the input; 'warn' only reports.")
    min_rows: int = Field(1, ge=0, description="Minimum number of rows of one input.")
    max_rows: int | None = Field(None, ge=0, description="Maximum number of rows of one input.")
    max_change_ratio: float | None = Field(
        None,
        gt=1,
        description="Maximum factor, up or down, between the input and the median of the last inputs. Without it the "
        "limits are learnt (`checks.control`); 10 until there are enough inputs to learn from.",
    )


class SchemaCheck(Declared):
    """Compares the columns and types of the table with the contract."""

    enabled: bool = Field(True, description="Whether the check is made.")
    severity: Severity = Field("warn", description="'fail' stops the input; 'warn' only reports.")


class DistributionCheck(Declared):
    """Compares null shares, distinct values and means of one input's columns with those of the inputs before it."""

    enabled: bool = Field(True, description="Whether the check is made.")
    severity: Severity = Field("warn", description="'fail' stops the input; 'warn' only reports.")
    max_null_share_increase: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Maximum increase of a column's share of nulls. Without it the limits are learnt "
        "(`checks.control`); 0.2 until there are enough inputs to learn from.",
    )
    max_mean_shift: float | None = Field(
        None,
        gt=0,
        description="Maximum shift of a numeric column's mean, in standard deviations of earlier inputs' means. "
        "Without it the limits are learnt (`checks.control`); 6 until there are enough inputs to learn from.",
    )
    ignore: tuple[str, ...] = Field((), description="Columns that the check ignores.")


class ProcessControl(Declared):
    """How the checks `volume` and `distribution` learn their limits from the inputs before."""

    false_alarms: str = Field(
        "1 a week",
        pattern=r"^\d{1,6}(\.\d{1,6})? a (day|week|month|year)$",
        description="How many false alarms the deployment may raise: '1 a week', '2 a day', '0.5 a month'. The source "
        "and its tables take an even share of it.",
    )
    country: str | None = Field(
        None,
        description="Country whose public holidays count, such as 'DE', or a part of it, such as 'DE-BY' or 'US-NY'.",
    )
    accept_after: Duration = Field(
        timedelta(days=7),
        gt=timedelta(0),
        description="How long values must stay at a new level until it is the expected one; at least five inputs.",
    )
    new_normal: tuple[date, ...] = Field(
        (),
        description="Days from which on a new level of the values is right, although it differs from earlier values.",
    )

    @field_validator("country")
    @classmethod
    def _country_is_known(cls, country: str | None) -> str | None:
        if country is None:
            return None
        name, _, part = country.partition("-")
        # imported late: it takes 0.1 s, and most deployments declare no country
        import holidays

        known = holidays.list_supported_countries()
        if name not in known:
            raise ValueError(f"country {name!r} has no known holidays; known: {', '.join(sorted(known))}")
        if part and part not in known[name]:
            raise ValueError(f"{name} has no part {part!r}; known: {', '.join(known[name]) or 'none'}")
        return country

    @property
    def false_alarms_a_day(self) -> float:
        """Return `false_alarms` as a rate."""
        number, _, unit = self.false_alarms.split()
        return float(number) / {"day": 1, "week": 7, "month": 30.44, "year": 365.25}[unit]


class Checks(Declared):
    """The four kinds of check, on by default for every table of the source."""

    freshness: FreshnessCheck = Field(FreshnessCheck(), description="How recent the tables must be.")
    volume: VolumeCheck = Field(VolumeCheck(), description="How many rows an input may have.")
    table_schema: SchemaCheck = Field(
        SchemaCheck(), alias="schema", description="Whether columns and types are those of the contract."
    )
    distribution: DistributionCheck = Field(
        DistributionCheck(), description="How far the values of columns may move from input to input."
    )
    control: ProcessControl = Field(
        ProcessControl(), description="How volume and distribution learn their limits from the inputs before."
    )

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def compare_inputs(self) -> bool:
        """Return whether any check compares an input with the inputs before it."""
        return self.volume.enabled or self.distribution.enabled

    @property
    def look_at_tables(self) -> bool:
        """Return whether any check examines the table that a step wrote."""
        return self.volume.enabled or self.table_schema.enabled or self.distribution.enabled


class DeleteGuard(Declared):
    """Limits to the rows that an input may delete by absence. Beyond them it is held until a person approves it.

    An extract that would leave no row in the table is always held, whatever `min_rows` is.
    """

    max_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Maximum share that an input may delete of the rows that it covers; with 1 no input is held.",
    )
    min_rows: int = Field(50, ge=1, description="Inputs that delete fewer rows than this are not held.")

    @property
    def is_on(self) -> bool:
        """Return whether any input can be held."""
        return self.max_share < 1


class Gates(Declared):
    """Checks that must pass before anything is published: contracts by layer, deletes, and anomalies."""

    lake: Gate | None = Field(None, description="Contract for parsed rows, checked before the lake is written.")
    hub: Gate | None = Field(None, description="Contract for enriched rows, checked before the hub is changed.")
    current: Gate | None = Field(
        None, description="Contract for recalculated rows, checked before `<source>_current` is changed."
    )
    deletes: DeleteGuard = Field(DeleteGuard(), description="Limits to the rows that an input deletes by absence.")
    on_anomaly: Literal["report", "hold"] = Field(
        "report",
        description="What becomes of an input whose parsed rows fail the check `volume` or `distribution`: 'report' "
        "lets it go on; 'hold' keeps it out of the hub until a person approves it.",
    )

    @property
    def holds_anomalies(self) -> bool:
        """Return whether an input with an anomaly waits for a person."""
        return self.on_anomaly == "hold"
