"""Defines the inputs of a step and its report, which the Dagster layer turns into metadata and check results."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from dataops_assets.errors import DataOpsError

PER_INPUT = ("ingest", "parse", "cdc", "enrich", "refresh")
"""The steps that process an input, in order."""

REMOVED = "removed"
"""Key of the count of an input that the step removed from the hub."""


IN_ORDER = attrgetter("extract_time", "arrival", "input_id")
"""The key by which inputs are sorted. It makes the same order as comparing them, in a fraction of the time."""


@dataclass(frozen=True, order=True)
class Input:
    """One input of a source: a file, an extract or a slice of a stream, for one extract time.

    Sorts by (extract time, arrival, id): a later input replaces an earlier one. Both times have a time zone (UTC) and
    microsecond precision.
    * `arrival`: the modification time of the newest file version with this content, or the time when the extract of a
      hook was first recorded.
    * `digest`: the sha256 of the bytes as received.
    * `content`: the sha256 of the uncompressed bytes, and of the manifest if it has one. It equals `digest` if they are
      not compressed.
    * `manifest`: the text of the manifest file that was delivered with it; '' without one.
    """

    extract_time: dt.datetime
    arrival: dt.datetime
    input_id: str
    digest: str
    origin: str
    size: int
    content: str
    manifest: str = ""


CheckKind = Literal[
    "contract",
    "volume",
    "schema",
    "distribution",
    "validation",
    "deletes",
    "suspended_deletes",
    "waits_for",
    "delivery",
]


@dataclass(frozen=True)
class CheckOutcome:
    """The result of one check on one asset, for one input where `input_id` is set.

    `chart`: a picture of it in Markdown, to show and not to store; '' without one.
    """

    asset: str
    check: CheckKind
    passed: bool
    severity: Literal["warn", "fail"]
    explanation: str
    input_id: str | None = None
    numbers: Mapping[str, float | int | str | None] = field(default_factory=dict)
    chart: str = field(default="", compare=False)


@dataclass(frozen=True)
class InputReport:
    """Result of a step for one input. If `error` is set, the step published nothing of this input.

    * `kept_out`: number of rows that the step keeps out of the hub, by rule.
    * `written`: id of the write that has the input's rows in the table of the step. For the hub it is the write to the
      lake.
    """

    input_id: str
    counts: Mapping[str, int] = field(default_factory=dict)
    error: DataOpsError | None = None
    checks: tuple[CheckOutcome, ...] = ()
    kept_out: Mapping[str, int] = field(default_factory=dict)
    written: str = ""


@dataclass(frozen=True)
class RuleReceipt:
    """Result of computing a rule for stored rows.

    * `rows_seen`: number of rows for which the rule was computed.
    * `rows_changed`: number of these rows with a new value, or that are new.
    * `version`: version of the rule. It changes with its expression, types, relations and the rules it uses.
    """

    rule: str
    version: str
    rows_seen: int
    rows_changed: int


@dataclass(frozen=True)
class StepReport:
    """Result of a step: for each input, and for its table.

    * `rows`: row count of the table after the step; None if the step was not run, because no input could be started.
    * `version`: its Delta version (None for raw, and if the step was not run). `commit_id`: the commit that made this
      version.
    * `columns`: its column names and SQL types, in order.
    * `notes`: short facts to show (files rewritten, ...).
    * `receipts`: for each computed rule, the number of rows.
    * `read`: by asset key, the versions of the tables that it was computed from; None for a table without rows.
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
    def result(self) -> str:
        """Return in words what the step left: the rows and version of its table, or that it made none."""
        if self.rows is None:
            return "no table was made"
        return f"{self.rows:,} rows" + ("" if self.version is None else f" in version {self.version}")

    @property
    def failures(self) -> tuple[InputReport, ...]:
        """Return the inputs that failed in this step."""
        return tuple(item for item in self.inputs if item.error is not None)

    @property
    def outcomes(self) -> tuple[CheckOutcome, ...]:
        """Return all check results: of the table, then of each input."""
        return self.checks + tuple(check for item in self.inputs for check in item.checks)
