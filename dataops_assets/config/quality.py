"""What must hold of a source's tables: checks that report, and gates that stop a publication."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from dataops_assets.config.declared import Declared

Severity = Literal["warn", "fail"]


class Gate(Declared):
    """A blocking contract: a pandera schema checked before the table is published."""

    contract: str = Field(
        description="'module:attribute' of a pandera DataFrameSchema or DataFrameModel, evaluated in the engine."
    )
    severity: Severity = Field("fail", description="'fail' publishes nothing; 'warn' only reports.")


class FreshnessCheck(Declared):
    """How recent the source's tables must be."""

    enabled: bool = True
    warn_after_hours: float = Field(24.0, gt=0, description="Hours without a materialization before a warning.")
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
    def warn_window(self) -> timedelta:
        """`warn_after_hours` as a duration."""
        return timedelta(hours=self.warn_after_hours)

    @property
    def fail_window(self) -> timedelta:
        """`fail_after_hours` as a duration."""
        return timedelta(hours=self.fail_after_hours)


class VolumeCheck(Declared):
    """Rows (bytes for raw) of one input, against fixed limits and against the inputs before it."""

    enabled: bool = True
    severity: Severity = "warn"
    min_rows: int = Field(1, ge=0, description="Fewest rows of one input.")
    max_rows: int | None = Field(None, ge=0, description="Most rows of one input.")
    max_change_ratio: float = Field(
        10.0, gt=1, description="Largest factor, up or down, against the median of the last inputs."
    )


class SchemaCheck(Declared):
    """Columns and types of the table against the contract."""

    enabled: bool = True
    severity: Severity = "warn"


class DistributionCheck(Declared):
    """Null shares and means of one input's columns, against the inputs before it."""

    enabled: bool = True
    severity: Severity = "warn"
    max_null_share_increase: float = Field(0.2, gt=0, le=1, description="Largest rise of a column's share of nulls.")
    max_mean_shift: float = Field(
        6.0,
        gt=0,
        description="Largest shift of a numeric column's mean, in standard deviations of earlier inputs' means.",
    )
    ignore: tuple[str, ...] = Field((), description="Columns that are not looked at.")


class Checks(Declared):
    """The four kinds of check, on by default for every table of the source."""

    freshness: FreshnessCheck = FreshnessCheck()
    volume: VolumeCheck = VolumeCheck()
    table_schema: SchemaCheck = Field(SchemaCheck(), alias="schema")
    distribution: DistributionCheck = DistributionCheck()

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def look_at_tables(self) -> bool:
        """Whether any check looks at what a step wrote."""
        return self.volume.enabled or self.table_schema.enabled or self.distribution.enabled


class DeleteGuard(Declared):
    """When an input is held because of what would be lost by it. One that a person approved goes on.

    An extract that leaves no row at all is held whatever `min_rows` is.
    """

    max_share: float = Field(
        0.2, ge=0, le=1, description="Largest share that may be lost of what an input covers; 1 holds nothing."
    )
    min_rows: int = Field(50, ge=1, description="A loss of fewer rows than these is not held.")

    @property
    def is_on(self) -> bool:
        """Whether any input can be held."""
        return self.max_share < 1


class Gates(Declared):
    """What must hold before anything is published: contracts by layer, and a limit to implied deletes."""

    lake: Gate | None = Field(None, description="Checked on parsed rows before the lake is written.")
    hub: Gate | None = Field(None, description="Checked on enriched rows before the hub is changed.")
    current: Gate | None = Field(None, description="Checked on recalculated rows before sales_current is changed.")
    deletes: DeleteGuard = Field(DeleteGuard(), description="Limit to the deletes that an input implies.")
