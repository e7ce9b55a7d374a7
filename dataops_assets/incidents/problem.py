"""A problem: one thing that is wrong with one table now. Several problems with one cause are one incident."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dataops_assets.config.quality import Severity

FAILED, CRASHED, HELD, LATE, STALE, UNSEEN = "failed", "crashed", "held", "late", "stale", "unseen"
STANDING = frozenset({FAILED, CRASHED, HELD, LATE, STALE, UNSEEN})
"""Kinds whose present problems are all known at each look: one that is not there any more is over.

The other kinds are checks. The problem of a check is over when the check passes.
"""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a table.

    * `kind`: a kind of `STANDING`, or the name of a check.
    * `began`, `last`: times of the first and the newest evidence of it.
    * `source`, `area`, `owners`: of the table; the source is '' for a table of the warehouse.
    * `inputs`, `columns`, `rows`: what is concerned, as far as known.
    * `downstream`: the tables below.
    """

    asset: str
    kind: str
    severity: Severity
    began: dt.datetime
    last: dt.datetime
    summary: str
    next_step: str = ""
    source: str = ""
    area: str = ""
    owners: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: int | None = None
    downstream: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return what identifies the problem: a problem of the same kind in the same table is the same one again."""
        return f"{self.asset} {self.kind}"

    def is_like(self, other: Problem) -> bool:
        """Return whether a message about the other problem would say the same."""
        return (self.severity, self.inputs, self.columns, self.rows) == (
            other.severity,
            other.inputs,
            other.columns,
            other.rows,
        )

    def as_data(self) -> dict[str, Any]:
        """Return the problem as values of JSON."""
        return {**asdict(self), "began": self.began.isoformat(), "last": self.last.isoformat()}


def problem_of(data: Mapping[str, Any]) -> Problem:
    """Return the problem of values that `as_data` made; values that this version does not know are left out."""
    known = {field.name: data[field.name] for field in fields(Problem) if field.name in data}
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    times = {name: dt.datetime.fromisoformat(known[name]) for name in ("began", "last")}
    return Problem(**{**known, **lists, **times})


def is_check(key: str) -> bool:
    """Return whether the problem with this key is a failed check."""
    return key.rpartition(" ")[2] not in STANDING
