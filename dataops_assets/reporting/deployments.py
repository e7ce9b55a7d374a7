"""Finds the deployments that a failure followed in what they changed, and their share of all deployments.

A deployment failed if an incident of severity `fail` began in a source or model that it changed, within a day and
before the next deployment. Deliveries that are late are nobody's deployment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from dataops_assets.reporting.facts import Row

WITHIN = dt.timedelta(days=1)
"""So long after a deployment an incident counts as its failure."""

_NOT_CAUSED = ("late",)


@dataclass(frozen=True)
class Deployment:
    """One deployment: when it began to run, the declarations that it changed, and the incidents that followed."""

    number: int
    at: dt.datetime
    changed: tuple[str, ...]
    incidents: tuple[int, ...]
    seconds_to_repair: float | None = None

    @property
    def failed(self) -> bool:
        """Return whether an incident followed in a source or model that the deployment changed."""
        return bool(self.incidents)


def deployments(loads: Sequence[Row], incidents: Sequence[Row]) -> list[Deployment]:
    """Return the deployments, the newest first. `loads`: `load_id`, `at` and `changed` (kind and name), in order."""
    ends = [*(load["at"] for load in loads[1:]), None][: len(loads)]
    found = []
    for load, end in zip(loads, ends, strict=True):
        until = load["at"] + WITHIN if end is None else min(end, load["at"] + WITHIN)
        names = {name for _, name in load["changed"]}
        after = [
            row
            for row in incidents
            if row["severity"] == "fail"
            and row["kind"] not in _NOT_CAUSED
            and load["at"] <= row["began_at"] < until
            and names & {row["source"], row["asset"].rpartition("/")[2]}
        ]
        ended = [row["resolved_at"] for row in after]
        repaired = (max(ended) - load["at"]).total_seconds() if ended and all(ended) else None
        changed = tuple(f"{kind} {name}" for kind, name in load["changed"])
        numbers = tuple(sorted(row["incident_id"] for row in after))
        found.append(Deployment(load["load_id"], load["at"], changed, numbers, repaired))
    return found[::-1]


def failure_share(found: Sequence[Deployment]) -> float | None:
    """Return the share of the deployments that failed; None without any."""
    return sum(item.failed for item in found) / len(found) if found else None
