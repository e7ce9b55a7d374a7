"""Checks that compare a table, or one input of it, with the declaration and with earlier inputs.

Pure functions: profiles and declarations in, outcomes out. An input is never compared with itself.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from dataops_assets.config.quality import Checks, DistributionCheck, SchemaCheck, VolumeCheck
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.report import CheckOutcome

BASELINE = 30
# with fewer inputs the median means little: after one history, the first daily file would fail
_ENOUGH = 3
_ENOUGH_MEANS = 5
_SHOWN = 5


def earlier_inputs(profile: Profile, known: Iterable[Profile]) -> list[Profile]:
    """Return the last inputs of `known` that were extracted before the profile's input, oldest first.

    An id starts with the extract time. Inputs of the same extract time, such as two versions of a file, are not
    compared with each other.
    """
    own = _extracted(profile)
    before = [other for other in known if other.input_id and _extracted(other) < own]
    return sorted(before, key=attrgetter("input_id"))[-BASELINE:]


def _extracted(profile: Profile) -> str:
    return profile.input_id.partition("-")[0]


def input_outcomes(
    profile: Profile, earlier: Sequence[Profile], checks: Checks, expected: Mapping[str, str], note: str = ""
) -> tuple[CheckOutcome, ...]:
    """Check volume, schema and distribution of one input; checks that are declared off are left out.

    `expected` is the table's columns with their SQL types; `note` describes differences of the raw columns.
    """
    found = {item.name: item.type for item in profile.columns}
    outcomes = []
    if checks.volume.enabled:
        outcomes.append(volume(profile, earlier, checks.volume))
    if checks.table_schema.enabled:
        outcomes.append(table_schema(profile.asset, found, expected, checks.table_schema, profile.input_id, note))
    if checks.distribution.enabled:
        outcomes.append(distribution(profile, earlier, checks.distribution))
    return tuple(outcomes)


def table_outcomes(
    asset: str, rows: int, columns: Mapping[str, str], expected: Mapping[str, str], checks: Checks
) -> tuple[CheckOutcome, ...]:
    """Check volume and schema of a whole table; checks that are declared off are left out."""
    outcomes = []
    if checks.volume.enabled:
        # the declared maximum is for one input
        least = checks.volume.model_copy(update={"max_rows": None})
        outcomes.append(volume(Profile(asset, "", rows, ()), (), least))
    if checks.table_schema.enabled:
        outcomes.append(table_schema(asset, columns, expected, checks.table_schema))
    return tuple(outcomes)


def volume(profile: Profile, earlier: Sequence[Profile], check: VolumeCheck, unit: str = "rows") -> CheckOutcome:
    """Check the number of rows against the declared limits and the median of earlier inputs."""
    low, high = check.min_rows, check.max_rows
    numbers: dict[str, float | int | str | None] = {unit: profile.rows}
    if len(earlier) >= _ENOUGH:
        median = statistics.median(other.rows for other in earlier)
        low = max(low, math.ceil(median / check.max_change_ratio))
        usual = math.floor(median * check.max_change_ratio)
        high = max(low, usual if high is None else min(high, usual))
        numbers |= {"median": median, "earlier inputs": len(earlier)}
    numbers |= {"expected at least": low, "expected at most": high}
    expected = f"at least {low:,}" if high is None else f"between {low:,} and {high:,}"
    return CheckOutcome(
        profile.asset,
        "volume",
        low <= profile.rows and (high is None or profile.rows <= high),
        check.severity,
        f"{unit} {profile.rows:,}, expected {expected}",
        profile.input_id or None,
        numbers,
    )


def table_schema(
    asset: str,
    found: Mapping[str, str],
    expected: Mapping[str, str],
    check: SchemaCheck,
    input_id: str = "",
    note: str = "",
) -> CheckOutcome:
    """Check columns and types against the declared ones, in any order."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not declared" for name in found if name not in expected]
    problems += [
        f"{name} is {found[name]}, expected {kind}"
        for name, kind in expected.items()
        if name in found and found[name] != kind
    ]
    explanation = "; ".join(problems) if problems else f"{len(found)} columns as declared"
    return CheckOutcome(
        asset,
        "schema",
        not problems,
        check.severity,
        f"{explanation}; {note}" if note else explanation,
        input_id or None,
        {"columns": len(found), "expected": len(expected), "differences": len(problems)},
    )


def distribution(profile: Profile, earlier: Sequence[Profile], check: DistributionCheck) -> CheckOutcome:
    """Check null shares and means of the columns against earlier inputs."""
    compared = [other for other in earlier if other.rows]
    if profile.rows == 0 or len(compared) < _ENOUGH:
        why = "no rows to compare" if profile.rows == 0 else f"{len(compared)} earlier inputs, {_ENOUGH} are needed"
        return CheckOutcome(
            profile.asset, "distribution", True, check.severity, why, profile.input_id or None, {"columns": 0}
        )
    looked_at = [item for item in profile.columns if item.name not in check.ignore]
    columns = [(other.rows, {item.name: item for item in other.columns}) for other in compared]
    problems = []
    for item in looked_at:
        before = [(rows, named[item.name]) for rows, named in columns if item.name in named]
        problems += _null_problem(item, profile.rows, before, check) + _mean_problem(item, before, check)
    rest = len(problems) - _SHOWN
    shown = "; ".join(problems[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
    return CheckOutcome(
        profile.asset,
        "distribution",
        not problems,
        check.severity,
        shown or f"{len(looked_at)} columns like those of the {len(compared)} inputs before",
        profile.input_id or None,
        {"columns": len(looked_at), "differences": len(problems), "earlier inputs": len(compared)},
    )


def _null_problem(
    item: ColumnProfile, rows: int, before: Sequence[tuple[int, ColumnProfile]], check: DistributionCheck
) -> list[str]:
    if len(before) < _ENOUGH:
        return []
    share = item.nulls / rows
    usual = statistics.median(other.nulls / other_rows for other_rows, other in before)
    most = usual + check.max_null_share_increase
    return [f"{item.name}: {share:.1%} nulls, expected at most {most:.1%}"] if share > most else []


def _mean_problem(
    item: ColumnProfile, before: Sequence[tuple[int, ColumnProfile]], check: DistributionCheck
) -> list[str]:
    means = [other.mean for _, other in before if other.mean is not None]
    if item.mean is None or len(means) < _ENOUGH_MEANS:
        return []
    centre = statistics.fmean(means)
    spread = math.sqrt(math.fsum((mean - centre) ** 2 for mean in means) / (len(means) - 1))
    # a column that was constant so far (a year, a month) has no spread to compare with
    if spread == 0 or abs(item.mean - centre) <= check.max_mean_shift * spread:
        return []
    low, high = centre - check.max_mean_shift * spread, centre + check.max_mean_shift * spread
    return [f"{item.name}: mean {item.mean:,.4g}, expected between {low:,.4g} and {high:,.4g}"]
