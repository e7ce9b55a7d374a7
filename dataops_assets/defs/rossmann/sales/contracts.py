"""The contracts of sales: as parsed, with their stores, and with all features."""

from __future__ import annotations

import datetime as dt

import pandera.pandas as pa

from dataops_assets.quality.pandera_checks import row_count_between, share_in_range

MOST_SALES = 50_000
LEAST_HISTORY = 100_000
MOST_ROWS = 2_000_000
# the history has no date in its name, and this extract time; what comes after it may hold a week, a month or a few
# corrections of any day
HISTORY_UNTIL = dt.date(2015, 6, 8)

FLAG = pa.Check.isin([0, 1])

raw = pa.DataFrameSchema(
    {
        "Store": pa.Column(int, pa.Check.in_range(1, 1200)),
        "DayOfWeek": pa.Column(int, pa.Check.isin([1, 2, 3, 4, 5, 6, 7])),
        "Date": pa.Column(pa.Date),
        "Sales": pa.Column(int, pa.Check.in_range(0, MOST_SALES), nullable=True),
        "Customers": pa.Column(int, share_in_range(0, 10_000, 0.95), nullable=True),
        "Open": pa.Column(int, FLAG, nullable=True),
        "Promo": pa.Column(int, FLAG, nullable=True),
        "StateHoliday": pa.Column(str, pa.Check.isin(["0", "a", "b", "c"]), nullable=True),
        "SchoolHoliday": pa.Column(int, FLAG, nullable=True),
    },
    checks=[
        row_count_between(1, MOST_ROWS),
        row_count_between(LEAST_HISTORY, MOST_ROWS, extracted_until=HISTORY_UNTIL),
    ],
    ordered=True,
    strict=True,
)

processed = pa.DataFrameSchema(
    {
        "Store": pa.Column(int),
        "Date": pa.Column(pa.Date),
        "Sales": pa.Column(int, pa.Check.ge(0)),
        "Open": pa.Column(int, FLAG),
        "Promo": pa.Column(int, FLAG),
        # null where the store is not in the list of stores, which then is older than the sales
        "StoreType": pa.Column(str, pa.Check.isin(["a", "b", "c", "d"])),
        "Assortment": pa.Column(str, pa.Check.isin(["a", "b", "c"])),
    },
)

_FLAGS = (
    *("IsMonthStart", "IsMonthEnd", "IsQuarterStart", "IsQuarterEnd", "IsWeekend"),
    *("Promo2Active", "PromoInterval_JAJO", "PromoInterval_FMAN", "PromoInterval_MJSD", "HasCompetition"),
)

features = pa.DataFrameSchema(
    {
        "Store": pa.Column(int),
        "Date": pa.Column(pa.Date),
        "Sales": pa.Column(int, pa.Check.ge(0)),
        "DayOfWeek": pa.Column(int, pa.Check.in_range(1, 7)),
        "Year": pa.Column(int, pa.Check.in_range(2013, 2016)),
        "Month": pa.Column(int, pa.Check.in_range(1, 12)),
        "Week": pa.Column(int, pa.Check.in_range(1, 53)),
        "Day": pa.Column(int, pa.Check.in_range(1, 31)),
        "DayOfMonth": pa.Column(int, pa.Check.in_range(1, 31)),
        "Quarter": pa.Column(int, pa.Check.in_range(1, 4)),
        "Season": pa.Column(int, pa.Check.in_range(0, 3)),
        **{name: pa.Column(int, FLAG) for name in _FLAGS},
        "Promo2Duration": pa.Column(int, pa.Check.ge(0)),
        "CompetitionDistance_log": pa.Column(float, pa.Check.ge(0)),
        "CompetitionAge": pa.Column(int, pa.Check.ge(0)),
        # the past of a store's first days is empty
        **{
            f"Sales_Lag_{days}": pa.Column(int, pa.Check.in_range(0, MOST_SALES), nullable=True)
            for days in (1, 7, 14, 28)
        },
        **{
            f"Sales_Rolling{what}_{days}": pa.Column(float, pa.Check.in_range(0, MOST_SALES), nullable=True)
            for days in (7, 14, 28, 60)
            for what in ("Mean", "Std")
        },
    },
    # of the whole table, whatever the size of the input that changed it
    checks=[row_count_between(LEAST_HISTORY, MOST_ROWS)],
)
