"""How many faults in the weekly sales of the demo are found, and how many right weeks warn. Run by hand.

The sales of the demo (1,115 stores, January 2013 to July 2015) are cut into weekly inputs, and each is profiled like an
input of the lake. Each week from the second year on is judged by the weeks before it: once as it is, and once with each
fault. The checks are those that a source has by default; the budget is that of one of six sources.

Grain of the output: one line a fault, with the share of weeks in which a check warns.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from dataops_assets.config.quality import Checks
from dataops_assets.demo.rossmann import sales
from dataops_assets.profiles import ColumnProfile, Profile
from dataops_assets.quality.checks import Compared, judged

FIRST_JUDGED = 52
SOURCES = 6
NUMBERS = ("Store", "DayOfWeek", "Sales", "Customers", "Open", "Promo")
TEXTS = ("StateHoliday", "SchoolHoliday")

Week = dict[str, npt.NDArray]
Change = Callable[[Week, np.random.Generator], Week]


def every(week: Week, **changes: npt.NDArray) -> Week:
    return {**week, **changes}


def chosen(week: Week, rows: npt.NDArray) -> Week:
    return {name: values[rows] for name, values in week.items()}


def with_nulls(week: Week, chance: np.random.Generator, share: float) -> Week:
    amount = week["Sales"].astype(float)
    return every(week, Sales=np.where(chance.random(len(amount)) < share, np.nan, amount))


def without_a_day(week: Week, chance: np.random.Generator) -> Week:
    return chosen(week, week["DayOfWeek"] != chance.integers(1, 7))


def other_codes(week: Week, _chance: np.random.Generator) -> Week:
    return every(week, SchoolHoliday=np.where(week["SchoolHoliday"] == "1", "yes", "no"))


FAULTS: Mapping[str, Change] = {
    "none": lambda week, _: week,
    "half of the rows": lambda week, chance: chosen(week, np.sort(chance.permutation(len(week["Store"]))[::2])),
    "a day is missing": without_a_day,
    "doubled file": lambda week, _: {name: np.concatenate([values, values]) for name, values in week.items()},
    "sales x 10": lambda week, _: every(week, Sales=week["Sales"] * 10),
    "sales x 1.1": lambda week, _: every(week, Sales=week["Sales"] * 1.1),
    "sales and customers swapped": lambda week, _: every(week, Sales=week["Customers"], Customers=week["Sales"]),
    "5 % of sales are null": lambda week, chance: with_nulls(week, chance, 0.05),
    "other codes": other_codes,
    "a fifth of the stores is missing": lambda week, _: chosen(week, week["Store"] % 5 != 0),
}


def profile_of(number: int, week: Week) -> Profile:
    """Profile a week as an input; quantiles are those of all rows."""
    rows = len(week["Store"])
    columns = []
    for name in NUMBERS:
        values = week[name][~np.isnan(week[name])] if week[name].dtype.kind == "f" else week[name]
        low, median, high = (float(value) for value in np.quantile(values, (0.05, 0.5, 0.95)))
        ends = (str(values.min()), str(values.max()))
        told = (float(values.mean()), float(values.std()))
        distinct = len(np.unique(values))
        columns.append(
            ColumnProfile(name, "BIGINT", rows - len(values), distinct, *ends, *told, low=low, median=median, high=high)
        )
    for name in TEXTS:
        counted = Counter(week[name].tolist())
        length = float(np.mean([len(value) for value in week[name]]))
        columns.append(
            ColumnProfile(
                name, "VARCHAR", 0, len(counted), min(counted), max(counted), None, None, length, dict(counted)
            )
        )
    time = dt.datetime(2013, 1, 6, tzinfo=dt.UTC) + dt.timedelta(weeks=number)
    return Profile("lake/sales", f"{time:%Y%m%dT%H%M%SZ}-x", rows, tuple(columns))


def weeks() -> list[Week]:
    """Return the whole weeks, from Monday to Sunday, oldest first."""
    table = sales()
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in (*NUMBERS, *TEXTS)}
    day = table.column("Date").to_numpy(zero_copy_only=False).astype("datetime64[D]").astype(int)
    # day 0 of the epoch was a Thursday
    number = (day + 3) // 7
    found = [chosen(columns, np.flatnonzero(number == one)) for one in np.unique(number)]
    return [week for week in found if len(np.unique(week["DayOfWeek"])) == 7]


def main() -> None:
    """Print the table."""
    right = weeks()
    known = [profile_of(number, week) for number, week in enumerate(right)]
    checks = Checks.model_validate({"control": {"false_alarms": "1 a week", "country": "DE"}})
    print(f"{len(right)} weeks, {len(right) - FIRST_JUDGED} are judged\n\n| fault | weeks that warn |\n|---|---|")
    for name, change in FAULTS.items():
        chance = np.random.default_rng(7)
        warned = 0
        for number in range(FIRST_JUDGED, len(right)):
            odd = profile_of(number, change(right[number], chance))
            told = judged([odd], Compared([*known[:number], odd], SOURCES), checks)
            warned += any(verdict.is_alarm for one in told.values() for verdict in one.verdicts)
        print(f"| {name} | {warned} ({warned / (len(right) - FIRST_JUDGED):.2f}) |", flush=True)


if __name__ == "__main__":
    main()
