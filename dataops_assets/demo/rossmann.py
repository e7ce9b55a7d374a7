"""Daily drug-store sales, with the exact shape of the public Rossmann files, made by a seeded generator.

Grain: `sales` has one row for each store and day (1,017,209), `stores` one row for each store (1,115). Money is in
euros, distances are in metres. Columns, their order, quoting, row order (newest day first, then store), counts of nulls
and of categories are those of the public `train.csv` and `store.csv`. The figures are invented, with seasons,
promotions, holidays and closures. The same seed gives the same bytes.

As in the public data, 180 stores have no rows from July to December 2014 and one store lacks the first day:
1,115 * 942 - 180 * 184 - 1 = 1,017,209.

The delivery is a history up to 7 June 2015 and then one file a week. In the newest week of a file some figures are
preliminary; the file of the next week has the corrected rows. One week arrives late, after the two that follow it, and
the store list arrives a second time with changes. Once every stage has arrived, the tables are `sales()` and
`stores(revised=True)` exactly.
"""

from __future__ import annotations

import datetime as dt
import functools
import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from dataops_assets.demo.landing import LandingFile, Stage

SEED = 20150731
STORES = 1115
FIRST_DAY = dt.date(2013, 1, 1)
LAST_DAY = dt.date(2015, 7, 31)
DAYS = (LAST_DAY - FIRST_DAY).days + 1
GAP = (dt.date(2014, 7, 1), dt.date(2014, 12, 31))
GAP_STORES = 180
STORE_WITHOUT_FIRST_DAY = 988

HISTORY_ENDS = dt.date(2015, 6, 7)
WEEKS: Mapping[dt.date, Stage] = {
    dt.date(2015, 6, 14): "delivery_1",
    dt.date(2015, 6, 21): "delivery_2",
    dt.date(2015, 6, 28): "delivery_3",  # late: the two weeks after it arrive before it
    dt.date(2015, 7, 5): "delivery_2",
    dt.date(2015, 7, 12): "delivery_2",
    dt.date(2015, 7, 19): "delivery_3",
    dt.date(2015, 7, 26): "delivery_3",
    LAST_DAY: "delivery_3",
}
STORES_REVISED = dt.date(2015, 7, 5)
PRELIMINARY_ROWS = 25
PRELIMINARY_SHARE = 0.8

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# counts of the public store.csv
STORE_TYPES = {"a": 602, "b": 17, "c": 148, "d": 348}
ASSORTMENTS = {"a": 593, "b": 9, "c": 513}
INTERVALS = {"": 544, "Jan,Apr,Jul,Oct": 335, "Feb,May,Aug,Nov": 130, "Mar,Jun,Sept,Dec": 106}
WITHOUT_DISTANCE = 3
WITHOUT_OPENING = 354

EASTER = {2013: dt.date(2013, 3, 31), 2014: dt.date(2014, 4, 20), 2015: dt.date(2015, 4, 5)}
STATE_SHARES = [0.26, 0.15, 0.12, 0.10, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03, 0.02, 0.02]
# states (by position above) that keep a holiday the others do not
EPIPHANY_STATES = (1, 2, 7)
CORPUS_CHRISTI_STATES = (0, 1, 2, 3, 6)
REFORMATION_STATES = (7, 8, 9, 10)
ALL_SAINTS_STATES = (0, 1, 2, 6)


def stage_files(stage: Stage) -> list[LandingFile]:
    """Return the files that arrive in `stage`; their bytes are made when they are read."""
    files = []
    if stage == "history":
        files.append(LandingFile("rossmann/stores/store.csv", lambda: csv_bytes(stores())))
        files.append(LandingFile("rossmann/sales/train.csv", history_bytes))
    for week, arrives in WEEKS.items():
        if arrives == stage:
            files.append(LandingFile(f"rossmann/sales/sales_{week}.csv", functools.partial(week_bytes, week)))
    if WEEKS[STORES_REVISED] == stage:
        name = f"rossmann/stores/store_{STORES_REVISED}.csv"
        files.append(LandingFile(name, lambda: csv_bytes(stores(revised=True))))
    return files


def history_bytes() -> bytes:
    """Return `train.csv`: all days up to HISTORY_ENDS; some figures of the last week are preliminary."""
    days = pc.less_equal(sales()["Date"], pa.scalar(HISTORY_ENDS))
    return csv_bytes(_preliminary(sales().filter(days), HISTORY_ENDS))


def week_bytes(week: dt.date) -> bytes:
    """Return the delivery of the week that ends on `week`: its rows, and the corrected rows of the week before."""
    weeks = [HISTORY_ENDS, *WEEKS]
    before = weeks[weeks.index(week) - 1]
    delivered = pa.concat_tables([week_rows(week), week_rows(before).take(_preliminary_positions(before))])
    return csv_bytes(_preliminary(delivered, week) if week != LAST_DAY else delivered)


def week_rows(week: dt.date) -> pa.Table:
    """Return the final rows of the week that ends on `week` (a Sunday, or the last day), newest first."""
    monday = week - dt.timedelta(days=week.weekday())
    dates = sales()["Date"]
    return sales().filter(pc.and_(pc.greater_equal(dates, pa.scalar(monday)), pc.less_equal(dates, pa.scalar(week))))


def _preliminary_positions(week: dt.date) -> Integers:
    """Return positions in `week_rows(week)` that are preliminary in their first file: only open days, others are 0."""
    is_open = np.flatnonzero(week_rows(week)["Open"].to_numpy())
    return np.sort(_random(f"preliminary {week}").choice(is_open, PRELIMINARY_ROWS, replace=False))


def _preliminary(rows: pa.Table, week: dt.date) -> pa.Table:
    # `rows` starts with the rows of `week`: files are ordered newest first
    positions = _preliminary_positions(week)
    for name in ("Sales", "Customers"):
        values = rows[name].to_numpy().copy()
        values[positions] = values[positions] * PRELIMINARY_SHARE
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    return rows


def csv_bytes(table: pa.Table) -> bytes:
    """Write a table as CSV like the public files: names and texts quoted, numbers and dates not, nulls empty."""
    buffer = io.BytesIO()
    csv.write_csv(table, buffer)
    return buffer.getvalue()


def _random(part: str) -> np.random.Generator:
    # each part has its own random stream, so a change of one part does not change the others
    return np.random.default_rng([SEED, *part.encode()])


# --- stores ----------------------------------------------------------------------------------------------------------


@functools.cache
def stores(revised: bool = False) -> pa.Table:
    """Return the list of stores; `revised` is its second extract, in which five stores have new values.

    Nulls as in the public file: three stores without a competitor's distance, 354 without its opening month, 544
    outside Promo2 (their interval is an empty text, not a null).
    """
    random = _random("stores")
    kinds = random.permutation(np.repeat(list(STORE_TYPES), list(STORE_TYPES.values())))
    assortments = np.empty(STORES, dtype="<U1")
    # assortment b is sold only in stores of type b
    small = random.choice(np.flatnonzero(kinds == "b"), ASSORTMENTS["b"], replace=False)
    assortments[small] = "b"
    others = np.setdiff1d(np.arange(STORES), small)
    assortments[others] = random.permutation(np.repeat(["a", "c"], [ASSORTMENTS["a"], ASSORTMENTS["c"]]))

    distance = np.clip(np.round(random.lognormal(np.log(2325), 1.25, STORES), -1), 20, 75860)
    no_distance = random.choice(STORES, WITHOUT_DISTANCE, replace=False)
    known = np.setdiff1d(np.arange(STORES), no_distance)
    no_opening = np.union1d(no_distance, random.choice(known, WITHOUT_OPENING - WITHOUT_DISTANCE, replace=False))
    opening_year = np.clip(2016 - np.round(random.gamma(2.2, 3.0, STORES)), 1990, 2015).astype(int)
    opening_month = np.where(opening_year == 2015, random.integers(1, 8, STORES), random.integers(1, 13, STORES))

    intervals = random.permutation(np.repeat(list(INTERVALS), list(INTERVALS.values())))
    promo_year = random.choice(np.arange(2009, 2016), STORES, p=[0.13, 0.11, 0.22, 0.14, 0.21, 0.14, 0.05])
    promo_week = np.where(promo_year == 2015, random.integers(1, 24, STORES), random.integers(1, 51, STORES))
    in_promo = intervals != ""

    if revised:
        closer, joining = np.split(random.choice(np.setdiff1d(known, no_opening), 5, replace=False), [3])
        distance[closer] = np.maximum(20, np.round(distance[closer] / 3, -1))
        opening_year[closer], opening_month[closer] = 2015, 7
        in_promo[joining] = True
        intervals[joining] = "Jan,Apr,Jul,Oct"
        promo_year[joining], promo_week[joining] = 2015, 26

    position = np.arange(STORES)
    without_opening = np.isin(position, no_opening)
    return pa.table(
        {
            "Store": position + 1,
            "StoreType": kinds,
            "Assortment": assortments,
            "CompetitionDistance": pa.array(distance.astype(int), mask=np.isin(position, no_distance)),
            "CompetitionOpenSinceMonth": pa.array(opening_month, mask=without_opening),
            "CompetitionOpenSinceYear": pa.array(opening_year, mask=without_opening),
            "Promo2": in_promo.astype(int),
            "Promo2SinceWeek": pa.array(promo_week, mask=~in_promo),
            "Promo2SinceYear": pa.array(promo_year, mask=~in_promo),
            "PromoInterval": intervals,
        }
    )


@functools.cache
def gap_stores() -> Integers:
    """Return the numbers of the stores without rows from July to December 2014."""
    others = np.setdiff1d(np.arange(1, STORES + 1), [STORE_WITHOUT_FIRST_DAY])
    return np.sort(_random("gap").choice(others, GAP_STORES, replace=False))


# --- sales -----------------------------------------------------------------------------------------------------------


@functools.cache
def sales() -> pa.Table:
    """Return all rows of sales with their final figures, newest day first, then by store.

    They are made as arrays of days by stores, newest day first; then the missing rows are left out.
    """
    dates = np.arange(np.datetime64(LAST_DAY), np.datetime64(FIRST_DAY) - 1, -1)
    weekday = (dates.astype(int) + 3) % 7 + 1
    state = _random("states").choice(len(STATE_SHARES), STORES, p=STATE_SHARES)
    holiday = _holidays(dates)[:, state]
    # not every store has a school nearby
    school = _school_holidays(dates, len(STATE_SHARES))[:, state] & (_random("schools").random(STORES) < 0.79)
    promo = _promotions(dates, weekday)
    is_open = _open_days(weekday, holiday)
    amount = _amounts(dates, weekday, promo, holiday != "0", is_open)
    basket = _random("baskets").normal(9.3, 1.4, STORES).clip(5.5, 14)
    guests = amount / (basket * np.where(promo, 1.17, 1.0)[:, None])
    guests *= _random("guests").lognormal(0, 0.05, amount.shape)

    shape = amount.shape
    store = np.broadcast_to(np.arange(1, STORES + 1), shape)
    day = np.broadcast_to(dates[:, None], shape)
    in_gap = (day >= np.datetime64(GAP[0])) & (day <= np.datetime64(GAP[1])) & np.isin(store, gap_stores())
    kept = ~in_gap & ~((day == np.datetime64(FIRST_DAY)) & (store == STORE_WITHOUT_FIRST_DAY))

    def rows(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return values[kept]

    return pa.table(
        {
            "Store": rows(store),
            "DayOfWeek": rows(np.broadcast_to(weekday[:, None], shape)),
            "Date": rows(day),
            "Sales": rows(np.where(is_open, amount, 0).astype(int)),
            "Customers": rows(np.where(is_open, np.clip(guests, 5, 7388), 0).astype(int)),
            "Open": rows(is_open.astype(int)),
            "Promo": rows(np.broadcast_to(promo[:, None].astype(int), shape)),
            # the public file quotes both holiday columns, so both are texts here
            "StateHoliday": rows(holiday),
            "SchoolHoliday": rows(np.where(school, "1", "0")),
        }
    )


def _holidays(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.str_]:
    """Return holidays, days by states: '0' none, 'a' public holiday, 'b' Easter, 'c' Christmas."""
    kinds = np.full((len(dates), len(STATE_SHARES)), "0")
    everywhere = tuple(range(len(STATE_SHARES)))
    for year, easter in EASTER.items():

        def after_easter(days: int, easter: dt.date = easter) -> dt.date:
            return easter + dt.timedelta(days=days)

        for day, kind, states in (
            (dt.date(year, 1, 1), "a", everywhere),
            (dt.date(year, 1, 6), "a", EPIPHANY_STATES),
            (after_easter(-2), "b", everywhere),
            (after_easter(1), "b", everywhere),
            (dt.date(year, 5, 1), "a", everywhere),
            (after_easter(39), "a", everywhere),
            (after_easter(50), "a", everywhere),
            (after_easter(60), "a", CORPUS_CHRISTI_STATES),
            (dt.date(year, 10, 3), "a", everywhere),
            (dt.date(year, 10, 31), "a", REFORMATION_STATES),
            (dt.date(year, 11, 1), "a", ALL_SAINTS_STATES),
            (dt.date(year, 12, 25), "c", everywhere),
            (dt.date(year, 12, 26), "c", everywhere),
        ):
            kinds[np.ix_(dates == np.datetime64(day), states)] = kind
    return kinds


def _school_holidays(dates: npt.NDArray[np.datetime64], states: int) -> Flags:
    """Return school holidays, days by states. Six weeks of summer start differently by state; Sundays do not count."""
    result = np.zeros((len(dates), states), dtype=bool)
    for year, easter in EASTER.items():
        for state in range(states):
            summer = dt.date(year, 6, 22) + dt.timedelta(days=(state * 37 + year * 11) % 38)
            autumn = dt.date(year, 10, 7) + dt.timedelta(days=7 * (state % 3))
            for first, days in (
                (dt.date(year, 1, 1), 5),
                (dt.date(year, 2, 4) + dt.timedelta(days=7 * (state % 4)), 5 if state % 2 else 0),
                (easter - dt.timedelta(days=13), 19),
                (easter + dt.timedelta(days=50), 4 if state % 3 else 0),
                (summer, 43),
                (autumn, 12),
                (dt.date(year, 12, 22), 10),
            ):
                start = np.datetime64(first)
                result[(dates >= start) & (dates < start + days), state] = True
    result[(dates.astype(int) + 3) % 7 == 6] = False
    return result


def _promotions(dates: npt.NDArray[np.datetime64], weekday: Integers) -> Flags:
    """Return the days with a promotion: Monday to Friday of every second week and of some weeks between."""
    week = (dates - np.datetime64("2013-01-07")).astype(int) // 7
    extra = _random("promotions").choice(np.arange(1, 130, 2), 4, replace=False)
    return ((week % 2 == 0) | np.isin(week, extra)) & (week >= 0) & (weekday <= 5)


def _open_days(weekday: Integers, holiday: npt.NDArray[np.str_]) -> Flags:
    """Return open days, days by stores: most close on Sundays, holidays, and while they are refurbished."""
    random = _random("open")
    kinds = stores()["StoreType"].to_numpy(zero_copy_only=False)
    always = (kinds == "b") | (random.random(STORES) < 0.015)
    is_open = ((weekday[:, None] != 7) | always) & ((holiday == "0") | (always & (random.random(STORES) < 0.8)))
    refurbished = random.choice(STORES, STORES // 7, replace=False)
    for store, start, days in zip(
        refurbished, random.integers(0, DAYS, len(refurbished)), random.integers(6, 35, len(refurbished)), strict=True
    ):
        is_open[start : start + days, store] = False
    return is_open


def _amounts(
    dates: npt.NDArray[np.datetime64], weekday: Integers, promo: Flags, holiday: Flags, is_open: Flags
) -> Floats:
    """Return the sales that an open store makes, in euros, days by stores."""
    random = _random("amounts")
    kinds = stores()["StoreType"].to_numpy(zero_copy_only=False)
    level = random.lognormal(np.log(5170), 0.28, STORES) * np.where(kinds == "b", 1.5, 1.0)
    growth = random.normal(0.02, 0.05, STORES)
    promo_lift = random.normal(0.33, 0.07, STORES).clip(0.1, 0.6)
    by_weekday = np.array([1.19, 1.05, 1.0, 1.01, 1.07, 0.92, 1.15])[weekday - 1]
    by_month = np.array([0.95, 0.96, 1.01, 1.02, 1.03, 1.01, 0.99, 0.97, 0.96, 0.97, 1.04, 1.20])
    month = dates.astype("datetime64[M]").astype(int) % 12
    # the days before Christmas
    advent = 1 + 0.35 * np.exp(-(((dates - dates.astype("datetime64[Y]")).astype(int) - 354) ** 2) / 40)
    years = (dates - np.datetime64(FIRST_DAY)).astype(int) / 365.25
    common = by_weekday * by_month[month] * advent
    amount = common[:, None] * level * (1 + np.outer(years, growth))
    amount *= 1 + np.outer(promo, promo_lift)
    # people stock up when the next day is closed; rows run from the newest day to the oldest
    before_holiday = np.zeros_like(holiday)
    before_holiday[1:] = holiday[:-1]
    amount *= np.where(before_holiday & is_open, 1.25, 1.0)
    amount *= random.lognormal(0, 0.13, amount.shape)
    return amount.clip(46, 41551)
