"""The problems of the sources that the metadata knows: failed checks, inputs and looks, held and late inputs, crashes.

Problems of other tables, such as those of the warehouse, come from whoever knows them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dataops_assets import errors
from dataops_assets.config.quality import Severity
from dataops_assets.config.source import Source
from dataops_assets.errors import GivenUp, RunDied, split_next_step
from dataops_assets.incidents.decisions import Seen
from dataops_assets.incidents.grouping import Lineage
from dataops_assets.incidents.late_inputs import late_inputs
from dataops_assets.incidents.problem import CRASHED, FAILED, HELD, UNSEEN, Problem
from dataops_assets.incidents.slow_steps import slow_steps
from dataops_assets.masking import mask
from dataops_assets.metadata.incident_store import IncidentStore, Row

_TABLES = {
    "ingest": "raw/{}",
    "parse": "lake/{}",
    "cdc": "lake/{}_changes",
    "enrich": "hub/{}_enriched",
    "refresh": "hub/{}",
    "recalculate": "hub/{}_current",
}
_CRASHES = (RunDied.__name__, GivenUp.__name__)
_SHOWN = 3
_LISTED = 100
# a result is committed later than the time in it
_COMMITTED_WITHIN = dt.timedelta(minutes=10)


@dataclass(frozen=True)
class Watched:
    """The declared sources, and the tables that each table is made from."""

    sources: Mapping[str, Source]
    lineage: Lineage


def read_problems(store: IncidentStore, watched: Watched, now: dt.datetime, before: dt.datetime | None) -> Seen:
    """Return the problems of all sources. `before` is the time of the look before; None if there was none."""
    problems = [*_failed(store, watched), *_held(store, watched), *_unseen(store, watched)]
    problems += late_inputs(store, watched.sources, now)
    checks = _checks(store, watched, before)
    slow = slow_steps(store, watched.sources, _ran(checks, watched), _TABLES)
    complete = [_completed(item, watched) for item in (*problems, *checks.problems, *slow.problems)]
    passed = {**checks.passed, **slow.passed}
    return Seen(complete, passed, [_completed(item, watched) for item in checks.brief])


def _ran(checks: Seen, watched: Watched) -> list[str]:
    """Return the sources whose steps ran since the look before: each run of a step has checks."""
    tables = {*(key.rpartition(" ")[0] for key in checks.passed), *(item.asset for item in checks.problems)}
    return [name for name in watched.sources if any(pattern.format(name) in tables for pattern in _TABLES.values())]


def _completed(problem: Problem, watched: Watched) -> Problem:
    """Return the problem with what its source and the lineage say."""
    source = watched.sources[problem.source]
    names = [*source.column_names, *(rule.name for rule in source.rules)]
    text = problem.summary
    named = tuple(name for name in dict.fromkeys(names) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text))
    return replace(
        problem,
        summary=mask(problem.summary),
        next_step=mask(problem.next_step),
        area=source.area,
        owners=source.owners,
        columns=named,
        inputs=problem.inputs[:_LISTED],
        downstream=tuple(sorted(watched.lineage.below(problem.asset))),
    )


# --- inputs ----------------------------------------------------------------------------------------------------------


def _failed(store: IncidentStore, watched: Watched) -> Iterator[Problem]:
    by_key: dict[tuple[str, str, str], list[Row]] = {}
    for row in store.failed():
        if row["source"] in watched.sources:
            kind = CRASHED if row["error_type"] in _CRASHES else FAILED
            by_key.setdefault((row["source"], row["step"], kind), []).append(row)
    for (source, step, kind), rows in sorted(by_key.items()):
        ordered = sorted(rows, key=lambda row: (row["finished_at"], row["input_id"] or ""))
        inputs = tuple(row["input_id"] for row in ordered if row["input_id"])
        told = [split_next_step(row["error"] or "") for row in ordered]
        names = [row["origin"] or "the table" for row in ordered]
        severity: Severity = "fail" if any(_is_lasting(row["error_type"]) for row in rows) else "warn"
        again = f"fix the cause, then run: dataops reset {source} {step} {' '.join(inputs[:1])}".rstrip()
        yield Problem(
            _TABLES[step].format(source),
            kind,
            severity,
            ordered[0]["finished_at"],
            ordered[-1]["finished_at"],
            _several([f"{step} of {name}: {what}" for name, (what, _) in zip(names, told, strict=True)]),
            told[-1][1] or (again if severity == "fail" else "nothing; it is tried again by itself"),
            source,
            inputs=inputs,
            rows=sum(row["rejected"] or 0 for row in rows) or None,
        )


def _is_lasting(error_type: str | None) -> bool:
    kind = getattr(errors, error_type or "", None)
    return error_type == GivenUp.__name__ or not isinstance(kind, type) or bool(getattr(kind, "permanent", True))


def _held(store: IncidentStore, watched: Watched) -> Iterator[Problem]:
    by_source: dict[str, list[Row]] = {}
    for row in store.held():
        if row["source"] in watched.sources:
            by_source.setdefault(row["source"], []).append(row)
    for source, rows in sorted(by_source.items()):
        ordered = sorted(rows, key=lambda row: (row["held_at"], row["input_id"]))
        inputs = tuple(row["input_id"] for row in ordered)
        yield Problem(
            _TABLES["cdc"].format(source),
            HELD,
            "fail",
            ordered[0]["held_at"],
            ordered[-1]["held_at"],
            _several([f"{row['origin']} is held: {split_next_step(row['reason'])[0]}" for row in ordered]),
            f"look at it, then run: dataops approve {source} {inputs[0]}",
            source,
            inputs=inputs,
        )


def _unseen(store: IncidentStore, watched: Watched) -> Iterator[Problem]:
    """Return the sources whose new inputs are not seen, because the looks for them fail."""
    for row in store.failing_looks():
        if row["source"] in watched.sources:
            what, next_step = split_next_step(row["error"])
            yield Problem(
                _TABLES["ingest"].format(row["source"]),
                UNSEEN,
                "fail",
                row["failing_since"],
                row["failing_since"],
                f"new inputs of {row['source']} are not seen: {what}",
                next_step or f"dataops status {row['source']}",
                row["source"],
            )


# --- checks ----------------------------------------------------------------------------------------------------------


def _checks(store: IncidentStore, watched: Watched, before: dt.datetime | None) -> Seen:
    """Return the checks that failed or passed since the look before. The last report of a check decides."""
    reports: dict[tuple[str, str, str], dict[dt.datetime, list[Row]]] = {}
    approved = store.approved()
    for row in store.checks(None if before is None else before - _COMMITTED_WITHIN):
        if row["source"] in watched.sources and watched.lineage.knows(row["asset"]):
            check = reports.setdefault((row["source"], row["asset"], row["kind"]), {})
            check.setdefault(row["checked_at"], []).append(row)
    problems, brief = [], []
    passed: dict[str, dt.datetime] = {}
    for (source, asset, kind), by_time in sorted(reports.items()):
        failing = {time: bad for time, rows in by_time.items() if (bad := _failing(rows, approved))}
        last = max(by_time)
        if failing:
            problem = _check(source, asset, kind, failing[max(failing)])
        if last in failing:
            streak = [time for time in failing if all(other in failing for other in by_time if other > time)]
            problems.append(replace(problem, began=min(streak)))
        else:
            passed[f"{asset} {kind}"] = last
            if failing:
                brief.append(problem)
    return Seen(problems, passed, brief)


def _failing(rows: Sequence[Row], approved: frozenset[tuple[str, str]]) -> list[Row]:
    """Return the failed results. Deletes that a person approved are no problem any more, nor is a removed input."""
    return [
        row
        for row in rows
        if not row["passed"]
        and not row["is_removed"]
        and not (row["kind"] == "deletes" and (row["source"], row["input_id"]) in approved)
    ]


def _check(source: str, asset: str, kind: str, rows: Sequence[Row]) -> Problem:
    counted = [
        max((int(value) for name, value in row["numbers"].items() if name != "rows"), default=0)
        for row in rows
        if kind == "validation"
    ]
    time = rows[0]["checked_at"]
    return Problem(
        asset,
        kind,
        "fail" if any(row["severity"] == "fail" for row in rows) else "warn",
        time,
        time,
        _several([f"check {kind} of {asset}: {row['explanation']}" for row in rows]),
        f"look at the data; dataops status {source} shows what is left out",
        source,
        inputs=tuple(row["input_id"] for row in rows if row["input_id"]),
        rows=sum(counted) or None,
    )


def _several(texts: Sequence[str]) -> str:
    rest = len(texts) - _SHOWN
    return "; ".join([*texts[:_SHOWN], *([f"and {rest:,} more"] if rest > 0 else [])])
