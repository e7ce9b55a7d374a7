"""Links to the job of incidents: to its launchpad, filled in; and from a failed check to its open incident."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from dataops_assets.components.launchpad import launchpad
from dataops_assets.errors import StorageError
from dataops_assets.incidents.messages import JOB
from dataops_assets.metadata.incident_store import IncidentStore, Row

OP = "decide_incidents"
"""Name of the job's only op."""

MUTE_HOURS = 8.0
"""How long a mute lasts if nobody says it."""


def filled(numbers: list[int], decision: str) -> dict[str, Any]:
    """Return the configuration of the job for these incidents."""
    return {"incidents": numbers, "decision": decision, "note": "", "mute_hours": MUTE_HOURS, "by": ""}


def filled_launchpad(run: dg.DagsterRun | None, number: int, decision: str) -> str:
    """Return the address of the job's launchpad, filled in for one incident."""
    return launchpad(run, JOB, OP, filled([number], decision))


def incident_link(metadata_url: str, run: dg.DagsterRun | None) -> Callable[[str, str], Mapping[str, Any]]:
    """Return a function that gives, for an asset key and a failed check, metadata with a link to the open incident.

    The first failure of a check is reported before its incident is opened. Then the link is to the job as it is, which
    lists the incidents.
    """

    @functools.cache
    def incidents() -> Sequence[Row]:
        # the table is published already; its run does not fail because of a link
        with contextlib.suppress(StorageError):
            return IncidentStore(metadata_url).incidents()
        return ()

    def linked(asset: str, check: str) -> Mapping[str, Any]:
        later = f"[the next look opens one: list them]({launchpad(run, JOB, OP, filled([], 'acknowledge'))})"
        found: Mapping[str, Any] = {"incident": dg.MetadataValue.md(later)}
        for row in incidents():
            if f"{asset} {check}" in row["problems"]:
                number = row["incident_id"]
                link = filled_launchpad(run, number, "acknowledge")
                found = {"incident": dg.MetadataValue.md(f"[incident {number}, {row['state']}]({link})")}
        return found

    return linked
