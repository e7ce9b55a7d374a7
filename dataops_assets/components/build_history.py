"""The numbers of rows of a warehouse table after its last builds; process control judges the next build by them.

The newest event of a table carries them, so that one event is read and not one for each build.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dataops_assets.config.quality import Checks
from dataops_assets.profiles import Profile
from dataops_assets.quality.checks import Compared, judged
from dataops_assets.quality.control.verdicts import Judgement

MOST_BUILDS = 90
"""How many builds an event tells of: its own, and those before."""


@dataclass(frozen=True)
class Build:
    """One build of a table: when, and the rows of the table after it."""

    at: dt.datetime
    rows: int


def as_data(builds: Sequence[Build]) -> list[list[int]]:
    """Return builds as values of JSON: seconds since 1970 and rows of each, the oldest first."""
    return [[round(build.at.timestamp()), build.rows] for build in builds[-MOST_BUILDS:]]


def builds_of(data: Any) -> list[Build]:
    """Return the builds in values that `as_data` made; none from a form that this code version does not know."""
    if not isinstance(data, list) or not all(isinstance(item, list) and len(item) == 2 for item in data):
        return []
    if not all(isinstance(number, int) for item in data for number in item):
        return []
    return [Build(dt.datetime.fromtimestamp(seconds, dt.UTC), rows) for seconds, rows in data]


def judged_rows(asset: str, build: Build, before: Sequence[Build], checks: Checks, tables: int) -> Judgement | None:
    """Return what process control says of the rows of a build; `tables` share the budget of false alarms.

    Builds have no extract time, so they stand at the time when they were made. Columns are not judged.
    """
    profiles = [
        Profile(asset, f"{item.at:%Y-%m-%dT%H%M%S}_{number}", item.rows, ())
        for number, item in enumerate((*before, build))
    ]
    newest = profiles[-1]
    return judged([newest], Compared(profiles, tables), checks).get(newest.input_id)
