"""What a step takes and tells: inputs, and a report that the edge turns into metadata and check results."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dataops_assets.errors import DataOpsError

PER_INPUT = ("ingest", "parse", "cdc", "enrich", "refresh")
"""The steps an input goes through, in order."""


@dataclass(frozen=True, order=True)
class Input:
    """One content that a source was given for one extract time.

    Sorts by (extract time, arrival, id), the order in which inputs supersede each other. Both times are aware, in UTC,
    at microsecond precision. `arrival` is when the newest version of a file with this content was made (its
    modification time), or when the extract of a hook was first recorded. `digest` is the sha256 of the bytes as
    received, `content` that of what they unpack to: the same where they are not compressed.
    """

    extract_time: dt.datetime
    arrival: dt.datetime
    input_id: str
    digest: str
    origin: str
    size: int
    content: str


CheckKind = Literal[
    "contract", "volume", "schema", "distribution", "validation", "deletes", "suspended_deletes", "waits_for"
]


@dataclass(frozen=True)
class CheckOutcome:
    """The result of one check on one asset, for one input where `input_id` is set."""

    asset: str
    check: CheckKind
    passed: bool
    severity: Literal["warn", "fail"]
    explanation: str
    input_id: str | None = None
    numbers: Mapping[str, float | int | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class InputReport:
    """What a step did with one input. `error` set: nothing of this input was published by this step.

    `kept_out` counts rows that the step keeps out of the hub, by the rule that does. `written` is the id of the write
    that has the input's rows in the step's table (of the hub: of its rows in the lake).
    """

    input_id: str
    counts: Mapping[str, int] = field(default_factory=dict)
    error: DataOpsError | None = None
    checks: tuple[CheckOutcome, ...] = ()
    kept_out: Mapping[str, int] = field(default_factory=dict)
    written: str = ""


@dataclass(frozen=True)
class RuleReceipt:
    """What computing a rule over stored rows came to.

    `rows_seen` were computed again, in `rows_changed` of them its value is another, or the row is new. `version` is
    the rule's: another one wherever its expression, types, relations or the rules it uses are others.
    """

    rule: str
    version: str
    rows_seen: int
    rows_changed: int


@dataclass(frozen=True)
class StepReport:
    """What a step did: per input, and to its table.

    `rows` is the table's row count after the step, `version` its Delta version (None for raw) and `commit_id` the
    commit that made it, `columns` its column names and SQL types in order, `notes` short facts worth showing
    (partitions touched, files rewritten, ...), `receipts` what each rule was computed for, `read` the versions of the
    tables it was computed from by asset key, None for one without rows.
    """

    step: str
    asset: str
    inputs: tuple[InputReport, ...]
    rows: int | None
    version: int | None
    columns: Mapping[str, str]
    seconds: float
    checks: tuple[CheckOutcome, ...] = ()
    notes: Mapping[str, str | int | float] = field(default_factory=dict)
    receipts: tuple[RuleReceipt, ...] = ()
    read: Mapping[str, int | None] = field(default_factory=dict)
    commit_id: str = ""

    @property
    def failures(self) -> tuple[InputReport, ...]:
        """The inputs that this step could not take."""
        return tuple(item for item in self.inputs if item.error is not None)

    @property
    def outcomes(self) -> tuple[CheckOutcome, ...]:
        """All check results: of the table, then of each input."""
        return self.checks + tuple(check for item in self.inputs for check in item.checks)
