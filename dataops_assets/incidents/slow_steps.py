"""The problems of steps that took far longer than expected when they ran last."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from dataops_assets.config.source import Source
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.problem import Problem
from dataops_assets.metadata.incident_store import IncidentStore
from dataops_assets.quality.control.durations import MOST_RUNS, StepRun, judge_duration

DURATION = "duration"
"""The kind of these problems. Like that of a check, one is over when the step ran again as expected."""

# the budget of false alarms of durations, as a part of that of the checks
_PART = 0.1


def slow_steps(
    store: IncidentStore, sources: Mapping[str, Source], ran: Sequence[str], tables: Mapping[str, str]
) -> Seen:
    """Return the steps of the sources `ran` that took too long, and those that did not. `tables`: by step its table."""
    problems: list[Problem] = []
    passed: dict[str, dt.datetime] = {}
    watched = [name for name in ran if sources[name].checks.compare_inputs]
    by_step: dict[tuple[str, str], list[StepRun]] = {}
    for row in store.step_runs(watched, MOST_RUNS):
        by_step.setdefault((row["source"], row["step"]), []).append(
            StepRun(row["ended"], row["seconds"], int(row["rows"] or 0))
        )
    for (source, step), runs in sorted(by_step.items()):
        share = sources[source].checks.control.false_alarms_a_day * _PART / (len(sources) * len(tables))
        verdict = judge_duration(runs, share)
        if verdict is None:
            continue
        asset, at = tables[step].format(source), verdict.run.ended
        if not verdict.is_slow:
            passed[f"{asset} {DURATION}"] = at
            continue
        problems.append(
            Problem(
                asset,
                DURATION,
                "warn",
                at,
                at,
                f"{step} of {source} took {verdict.sentence}",
                f"look at what else ran on the machine at {at:%Y-%m-%d %H:%M} UTC; over when {step} is fast again",
                source,
            )
        )
    return Seen(problems, passed)
