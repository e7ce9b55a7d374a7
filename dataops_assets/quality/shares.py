"""Checks of change sets and hubs: the share of each kind of change among the rows.

A change set is profiled by the shares of its kinds, a hub by the shares of its rows that an input wrote and removed. So
an extract that suddenly changes half of a table is found, without a further query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataops_assets.config.quality import Checks, DistributionCheck
from dataops_assets.profiles import SHARE, ColumnProfile, Profile
from dataops_assets.quality.checks import Compared, EarlierInputs, distribution, judged, table_schema, volume
from dataops_assets.report import CheckOutcome

# a whole table has no series to learn from
_MOST_INCREASE = 0.2


def share_profile(asset: str, input_id: str, rows: int, parts: Mapping[str, int]) -> Profile:
    """Make a profile whose columns are the shares (0 to 1) of `parts` in `rows`."""
    columns = tuple(
        ColumnProfile(f"share {name}", SHARE, 0, 1, None, None, count / max(rows, 1), 0.0)
        for name, count in parts.items()
    )
    return Profile(asset, input_id, rows, columns)


def null_share_outcome(
    asset: str, before: Mapping[str, float], after: Mapping[str, float], check: DistributionCheck
) -> CheckOutcome:
    """Check the distribution of a whole table: no share of nulls (0 to 1) rose much since the version before."""
    compared = [name for name in after if name in before and name not in check.ignore]
    most = check.max_null_share_increase or _MOST_INCREASE
    risen = [name for name in compared if after[name] - before[name] > most]
    shown = "; ".join(f"{name}: {after[name]:.1%} nulls, {before[name]:.1%} before" for name in risen)
    return CheckOutcome(
        asset,
        "distribution",
        not risen,
        check.severity,
        shown or f"{len(compared)} columns compared with the version before",
        numbers={"columns": len(compared), "most": most},
    )


def share_outcomes(
    profiles: Sequence[Profile],
    compared: Compared,
    checks: Checks,
    columns: tuple[Mapping[str, str], Mapping[str, str]],
    *,
    of_all_inputs: bool = False,
) -> dict[str, tuple[CheckOutcome, ...]]:
    """Check volume, schema and distribution of each profiled input, by its id; checks declared off are left out.

    `columns` are those of the table and the expected ones, with their SQL types. An input may change nothing, so only a
    declared maximum and the inputs before limit how much it does. The rows of a hub are those of all inputs, so they
    have no declared limit, and only the learnt ones.
    """
    found, expected = columns
    limits = checks.volume.model_copy(update={"min_rows": 0})
    if of_all_inputs:
        limits = limits.model_copy(update={"max_rows": None})
    result = {}
    told = judged(profiles, compared, checks)
    earlier_inputs = EarlierInputs(compared.known)
    for profile in profiles:
        earlier = earlier_inputs.before(profile)
        outcomes = []
        if checks.volume.enabled:
            judgement = told.get(profile.input_id) if of_all_inputs else None
            outcomes.append(volume(profile, (), limits, judgement=judgement))
        if checks.table_schema.enabled:
            outcomes.append(table_schema(profile.asset, found, expected, checks.table_schema, profile.input_id))
        if checks.distribution.enabled:
            outcomes.append(distribution(profile, earlier, checks.distribution, told.get(profile.input_id)))
        result[profile.input_id] = tuple(outcomes)
    return result
