"""Checks that compare a table, or one input of it, with the declaration and with earlier inputs.

Pure functions: profiles and declarations in, outcomes out. An input is never compared with itself.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from dataops_assets.config.quality import Checks, DistributionCheck, SchemaCheck, VolumeCheck
from dataops_assets.profiles import HOURS, ColumnProfile, Profile
from dataops_assets.quality.control.charts import as_markdown
from dataops_assets.quality.control.forecasts import Memory
from dataops_assets.quality.control.verdicts import Judgement, Settings, judgements
from dataops_assets.report import PER_INPUT, CheckOutcome

BASELINE = 30
"""How many inputs before an input are compared with it as long as there are too few to learn limits from."""
# with fewer inputs the median means little: after one history, the first daily file would fail
_ENOUGH = 3
_ENOUGH_MEANS = 5
_SHOWN = 5
# limits as long as there are too few inputs to learn them
_WIDE_RATIO = 10.0
_WIDE_INCREASE = 0.2
_WIDE_SHIFT = 6.0
_NOT_COMPARED = ("correction", "backfill")


class EarlierInputs:
    """The inputs of a table in the order of their extract times.

    An id starts with the extract time. Inputs of the same extract time, such as two versions of a file, are not
    compared with each other.
    """

    def __init__(self, known: Iterable[Profile]) -> None:
        self._ordered = sorted((item for item in known if item.input_id), key=attrgetter("extracted", "input_id"))
        self._times = [item.extracted for item in self._ordered]

    def before(self, profile: Profile) -> list[Profile]:
        """Return the last inputs that were extracted before the profile's input, oldest first."""
        end = bisect_left(self._times, profile.extracted)
        return self._ordered[max(0, end - BASELINE) : end]


@dataclass(frozen=True)
class Compared:
    """What the inputs of a table are compared with.

    * `known`: the profiles of the inputs that are there, those that are judged among them or not.
    * `sources`: how many sources (or tables) share the budget of false alarms.
    * `faulty`: inputs that are no history for others, except from a day on that is declared as a new normal.
    * `memory`: keeps how far the table was forecast, so that a further input costs one step.
    """

    known: Collection[Profile]
    sources: int
    faulty: Collection[str] = ()
    memory: Memory | None = None


def judged(profiles: Collection[Profile], compared: Compared, checks: Checks) -> dict[str, Judgement]:
    """Return by id what process control says of each input of a table."""
    if not checks.compare_inputs:
        return {}
    control = checks.control
    share = control.false_alarms_a_day / (max(compared.sources, 1) * len(PER_INPUT))
    ignore = tuple(checks.distribution.ignore)
    settings = Settings(share, control.accept_after, control.new_normal, control.country, ignore)
    days = [f"{day:%Y%m%d}" for day in control.new_normal]
    history = [
        item
        for item in compared.known
        if item.input_id not in compared.faulty or any(item.extracted >= day for day in days)
    ]
    return judgements(profiles, history, settings, compared.memory)


def input_outcomes(
    profile: Profile,
    earlier: Sequence[Profile],
    checks: Checks,
    expected: Mapping[str, str],
    note: str = "",
    judgement: Judgement | None = None,
) -> tuple[CheckOutcome, ...]:
    """Check volume, schema and distribution of one input; checks that are declared off are left out.

    `expected` is the table's columns with their SQL types; `note` describes differences of the raw columns.
    """
    found = {item.name: item.type for item in profile.columns}
    outcomes = []
    if checks.volume.enabled:
        outcomes.append(volume(profile, earlier, checks.volume, judgement=judgement))
    if checks.table_schema.enabled:
        outcomes.append(table_schema(profile.asset, found, expected, checks.table_schema, profile.input_id, note))
    if checks.distribution.enabled:
        outcomes.append(distribution(profile, earlier, checks.distribution, judgement))
    return tuple(outcomes)


def anomalies(
    profile: Profile, earlier: Sequence[Profile], checks: Checks, judgement: Judgement | None = None
) -> list[CheckOutcome]:
    """Return the failed checks volume and distribution of one input; with `on_anomaly: hold` they hold it."""
    found = []
    if checks.volume.enabled:
        found.append(volume(profile, earlier, checks.volume, judgement=judgement))
    if checks.distribution.enabled:
        found.append(distribution(profile, earlier, checks.distribution, judgement))
    return [outcome for outcome in found if not outcome.passed]


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


def volume(
    profile: Profile,
    earlier: Sequence[Profile],
    check: VolumeCheck,
    unit: str = "rows",
    judgement: Judgement | None = None,
) -> CheckOutcome:
    """Check the number of rows against the declared limits, and against the learnt ones or the median before."""
    told = judgement or Judgement()
    low, high, numbers = _declared_limits(earlier, check, told)
    is_within = low <= profile.rows and (high is None or profile.rows <= high)
    expected = f"at least {low:,}" if high is None else f"between {low:,} and {high:,}"
    explanation = f"{unit} {profile.rows:,}, expected {expected}"
    verdict = told.of_rows
    if verdict is not None:
        if is_within:
            explanation = f"{unit} {verdict.sentence}"
            is_within = not verdict.is_alarm
        low = max(low, math.ceil(verdict.low))
        learnt = math.floor(verdict.high) if math.isfinite(verdict.high) else None
        high = min((limit for limit in (high, learnt) if limit is not None), default=None)
        numbers |= {"p-value": verdict.p}
    elif told.delivery in _NOT_COMPARED:
        explanation += f"; a {told.delivery}, so it is not compared with regular inputs"
    numbers |= {"expected at least": low, "expected at most": high}
    return CheckOutcome(
        profile.asset,
        "volume",
        is_within,
        check.severity,
        explanation,
        profile.input_id or None,
        {unit: profile.rows} | numbers,
        as_markdown(told.trend, explanation) if told.trend is not None else "",
    )


def _declared_limits(
    earlier: Sequence[Profile], check: VolumeCheck, told: Judgement
) -> tuple[int, int | None, dict[str, float | int | str | None]]:
    """Return the limits that are declared, or that hold while there are too few inputs to learn from."""
    low, high = check.min_rows, check.max_rows
    ratio = check.max_change_ratio
    if ratio is None and told.of_rows is None and told.delivery not in _NOT_COMPARED:
        ratio = _WIDE_RATIO
    if len(earlier) < _ENOUGH:
        return low, high, {}
    median = statistics.median(other.rows for other in earlier)
    if ratio is not None:
        low = max(low, math.ceil(median / ratio))
        usual = math.floor(median * ratio)
        high = max(low, usual if high is None else min(high, usual))
    return low, high, {"median": median, "earlier inputs": told.learnt_from if told.verdicts else len(earlier)}


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


def distribution(
    profile: Profile, earlier: Sequence[Profile], check: DistributionCheck, judgement: Judgement | None = None
) -> CheckOutcome:
    """Check the columns against the learnt limits, or their null shares and means against earlier inputs."""
    told = judgement or Judgement()
    compared = [other for other in earlier if other.rows]
    why = _not_compared(profile, compared, told)
    if why:
        return CheckOutcome(
            profile.asset, "distribution", True, check.severity, why, profile.input_id or None, {"columns": 0}
        )
    looked_at = [item for item in profile.columns if item.name not in check.ignore and item.type != HOURS]
    problems = _beyond_declared(profile, looked_at, compared, (check, told))
    alarms = sorted((item for item in told.of_columns if item.is_alarm), key=lambda item: item.p)
    problems += [f"{item.column}: {item.measure} {item.sentence}" for item in alarms]
    rest = len(problems) - _SHOWN
    shown = "; ".join(problems[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
    inputs = told.learnt_from if told.verdicts else len(compared)
    numbers: dict[str, float | int | str | None] = {
        "columns": len(looked_at),
        "differences": len(problems),
        "earlier inputs": inputs,
    }
    explanation = shown or f"{len(looked_at)} columns like those of the {inputs} inputs before"
    if told.of_columns:
        numbers |= {"monitors": len(told.of_columns), "least p-value": min(item.p for item in told.of_columns)}
    return CheckOutcome(
        profile.asset,
        "distribution",
        not problems,
        check.severity,
        explanation,
        profile.input_id or None,
        numbers,
        as_markdown(told.distances, f"distance of all columns to the inputs before; {explanation}")
        if problems and told.distances is not None
        else "",
    )


def _not_compared(profile: Profile, compared: Sequence[Profile], told: Judgement) -> str:
    """Return why the columns of an input are not compared; '' if they are."""
    if profile.rows == 0:
        return "no rows to compare"
    if told.delivery in _NOT_COMPARED:
        return f"a {told.delivery}, so it is not compared with regular inputs"
    if len(compared) < _ENOUGH:
        return f"{len(compared)} earlier inputs, {_ENOUGH} are needed"
    return ""


def _beyond_declared(
    profile: Profile,
    looked_at: Sequence[ColumnProfile],
    compared: Sequence[Profile],
    limits: tuple[DistributionCheck, Judgement],
) -> list[str]:
    """Return what is beyond the limits that are declared, or that hold while there are too few inputs to learn from."""
    check, told = limits
    learning = not told.of_columns
    increase = check.max_null_share_increase or (_WIDE_INCREASE if learning else None)
    shift = check.max_mean_shift or (_WIDE_SHIFT if learning else None)
    if increase is None and shift is None:
        return []
    columns = [(other.rows, {item.name: item for item in other.columns}) for other in compared]
    problems = []
    for item in looked_at:
        before = [(rows, named[item.name]) for rows, named in columns if item.name in named]
        if increase is not None:
            problems += _null_problem(item, profile.rows, before, increase)
        if shift is not None:
            problems += _mean_problem(item, before, shift)
    return problems


def _null_problem(
    item: ColumnProfile, rows: int, before: Sequence[tuple[int, ColumnProfile]], increase: float
) -> list[str]:
    if len(before) < _ENOUGH:
        return []
    share = item.nulls / rows
    usual = statistics.median(other.nulls / other_rows for other_rows, other in before)
    most = usual + increase
    return [f"{item.name}: {share:.1%} nulls, expected at most {most:.1%}"] if share > most else []


def _mean_problem(item: ColumnProfile, before: Sequence[tuple[int, ColumnProfile]], shift: float) -> list[str]:
    means = [other.mean for _, other in before if other.mean is not None]
    if item.mean is None or len(means) < _ENOUGH_MEANS:
        return []
    centre = statistics.fmean(means)
    spread = math.sqrt(math.fsum((mean - centre) ** 2 for mean in means) / (len(means) - 1))
    # a column that was constant so far (a year, a month) has no spread to compare with
    if spread == 0 or abs(item.mean - centre) <= shift * spread:
        return []
    low, high = centre - shift * spread, centre + shift * spread
    return [f"{item.name}: mean {item.mean:,.4g}, expected between {low:,.4g} and {high:,.4g}"]
