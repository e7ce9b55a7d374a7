"""The 32 features of the drug-store sales against pandas, in both readings of the past.

By default the past is counted in calendar days and today is not in it. With `compatible: true` it is counted in rows
and today is in every window, as in the implementation the features are known from; `_reference` restates that one.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlglot
import yaml
from sqlglot import exp

from dataops_assets.config.source import Source
from dataops_assets.demo import rossmann
from dataops_assets.rules.compiler import compile_rules
from dataops_assets.rules.query import evaluate
from dataops_assets.rules.stage import Lookup
from dataops_assets.sql import DIALECT, query

DEFS = Path(__file__).parents[2] / "dataops_assets" / "defs" / "rossmann"
LAGS = (1, 7, 14, 28)
WINDOWS = (7, 14, 28, 60)
CALENDAR = (
    *("Year", "Month", "Week", "Day", "DayOfMonth", "Quarter"),
    *("IsMonthStart", "IsMonthEnd", "IsQuarterStart", "IsQuarterEnd", "IsWeekend", "Season"),
)
PROMOTION = ("Promo2Active", "Promo2Duration", "PromoInterval_JAJO", "PromoInterval_FMAN", "PromoInterval_MJSD")
COMPETITION = ("CompetitionDistance_log", "HasCompetition", "CompetitionAge")
PAST = (
    *(f"Sales_Lag_{days}" for days in LAGS),
    *(f"Sales_Rolling{what}_{days}" for days in WINDOWS for what in ("Mean", "Std")),
)
FEATURES = (*CALENDAR, *PROMOTION, *COMPETITION, *PAST)


def _source(name: str, **changes: object) -> Source:
    declared = yaml.safe_load((DEFS / name / "defs.yaml").read_text())["attributes"]
    return Source.model_validate(declared | changes)


def _cleaned(stores: pd.DataFrame) -> pd.DataFrame:
    """Stores as they are in the lake: nulls replaced by the declared defaults."""
    defaults = {
        item.name: sqlglot.parse_one(item.default, dialect=DIALECT).to_py()
        for item in _source("stores").columns
        if item.default is not None
    }
    return stores.fillna(defaults).astype(
        {name: "int64" for name in stores if name.endswith(("Year", "Month", "Week"))}
    )


@pytest.fixture(scope="module")
def stores() -> pd.DataFrame:
    return _cleaned(rossmann.stores().to_pandas())


@pytest.fixture(scope="module")
def sales(stores: pd.DataFrame) -> pd.DataFrame:
    """Every kind of store: with the gap of 2014 and without, with each interval, without competition, ..."""
    kinds = [*stores.groupby("PromoInterval").Store.head(2), *stores.groupby("StoreType").Store.first()]
    unknown = [
        *stores[stores.CompetitionDistance == 100_000].Store,
        *stores[stores.CompetitionOpenSinceYear == 0].Store[:2],
    ]
    chosen = {*kinds, *unknown, *rossmann.gap_stores()[:4], rossmann.STORE_WITHOUT_FIRST_DAY}
    rows = rossmann.sales().to_pandas()
    rows = rows[rows.Store.isin(chosen)].assign(Date=pd.to_datetime(rows.Date))
    return rows.sort_values(["Store", "Date"]).reset_index(drop=True)


def _computed(sales: pd.DataFrame, stores: pd.DataFrame, source: Source) -> pd.DataFrame:
    """The compiled rules over sales and stores, snapshot rules first, ordered by store and date."""
    compiled = compile_rules(source, {"sales": source, "stores": _source("stores")})
    own = pa.Table.from_pandas(sales.assign(Date=sales.Date.dt.date), preserve_index=False)
    own = own.append_column("s_input_id", pa.repeat("input", len(own))).append_column(
        "s_row_id", pa.array(range(len(own)))
    )

    def related(_: Lookup) -> exp.Query:
        return query("SELECT * FROM related")

    snapshot = evaluate(compiled.snapshot, query("SELECT * FROM own"), related)
    current = evaluate(compiled.current, snapshot, related)
    with duckdb.connect() as connection:
        connection.register("own", own)
        connection.register("related", stores)
        statement = query('SELECT * FROM $rows AS r ORDER BY "Store", "Date"', rows=current)
        return connection.execute(statement.sql(DIALECT)).df()


def _calendar_past(sales: pd.DataFrame) -> pd.DataFrame:
    """Lags by joining on the date, windows over days that end yesterday."""
    result = pd.DataFrame(index=sales.index)
    for days in LAGS:
        earlier = sales[["Store", "Date", "Sales"]].assign(Date=sales.Date + pd.Timedelta(days=days))
        joined = sales[["Store", "Date"]].merge(earlier, on=["Store", "Date"], how="left", validate="1:1")
        result[f"Sales_Lag_{days}"] = joined.Sales.to_numpy()
    for days in WINDOWS:
        for _, rows in sales.groupby("Store"):
            # every day of the span, those without a row as missing values, moved on by one day
            daily = rows.set_index("Date").Sales.asfreq("D").shift(1)
            window = daily.rolling(days, min_periods=1)
            result.loc[rows.index, f"Sales_RollingMean_{days}"] = window.mean().reindex(rows.Date).to_numpy()
            result.loc[rows.index, f"Sales_RollingStd_{days}"] = window.std(ddof=1).reindex(rows.Date).to_numpy()
    return result


def _reference_past(sales: pd.DataFrame) -> pd.DataFrame:
    """Lags and windows by rows of a store in order of their dates, today included."""
    by_store = sales.groupby("Store").Sales
    result = pd.DataFrame(index=sales.index)
    for rows in LAGS:
        result[f"Sales_Lag_{rows}"] = by_store.shift(rows)
    for rows in WINDOWS:
        window = by_store.rolling(window=rows, min_periods=1)
        result[f"Sales_RollingMean_{rows}"] = window.mean().reset_index(level=0, drop=True)
        result[f"Sales_RollingStd_{rows}"] = window.std().reset_index(level=0, drop=True)
    return result


def _reference(sales: pd.DataFrame, stores: pd.DataFrame) -> pd.DataFrame:
    """The features that do not look at the past, row by row in plain Python."""
    joined = sales.merge(stores, on="Store", how="left", validate="m:1")
    return pd.DataFrame([_reference_row(row) for row in joined.itertuples()], index=sales.index)


def _promotion_start(year: int, week: int) -> pd.Timestamp:
    return pd.to_datetime(f"{year}-W{week}-1", format="%Y-W%W-%w")


def _reference_row(row) -> dict[str, float]:
    day = row.Date
    last = (day + pd.Timedelta(days=1)).month != day.month
    months = row.PromoInterval.replace("Sept", "Sep").split(",")
    joined, opened = None, None
    if row.Promo2 == 1 and row.Promo2SinceYear:
        joined = _promotion_start(row.Promo2SinceYear, row.Promo2SinceWeek)
    if row.CompetitionOpenSinceYear and row.CompetitionOpenSinceMonth:
        opened = pd.Timestamp(row.CompetitionOpenSinceYear, row.CompetitionOpenSinceMonth, 1)
    return {
        "Year": day.year,
        "Month": day.month,
        "Week": day.isocalendar().week,
        "Day": day.day,
        "DayOfMonth": day.day,
        "Quarter": day.quarter,
        "IsMonthStart": day.day == 1,
        "IsMonthEnd": last,
        "IsQuarterStart": day.day == 1 and day.month in (1, 4, 7, 10),
        "IsQuarterEnd": last and day.month in (3, 6, 9, 12),
        "IsWeekend": row.DayOfWeek >= 6,
        "Season": {12: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 3, 10: 3, 11: 3}[day.month],
        "Promo2Active": row.Promo2 == 1 and day.strftime("%b") in months,
        "Promo2Duration": max(0, (day - joined).days) if joined else 0,
        "PromoInterval_JAJO": row.PromoInterval == "Jan,Apr,Jul,Oct",
        "PromoInterval_FMAN": row.PromoInterval == "Feb,May,Aug,Nov",
        "PromoInterval_MJSD": row.PromoInterval == "Mar,Jun,Sept,Dec",
        "CompetitionDistance_log": np.log1p(row.CompetitionDistance),
        "HasCompetition": row.CompetitionDistance < 100_000,
        "CompetitionAge": max(0, (day - opened).days) if opened else 0,
    }


def _assert_same(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    for name in expected:
        # the running sums behind pandas' windows leave about 1e-9 of a value of 40,000
        np.testing.assert_allclose(
            actual[name].astype(float), expected[name].astype(float), rtol=1e-7, atol=1e-4, err_msg=name
        )


@pytest.fixture(scope="module")
def by_day(sales, stores) -> pd.DataFrame:
    return _computed(sales, stores, _source("sales"))


@pytest.fixture(scope="module")
def by_row(sales, stores) -> pd.DataFrame:
    return _computed(sales, stores, _source("sales", compatible=True))


def test_there_are_the_32_features_and_the_store_s_kind():
    names = [rule.name for rule in _source("sales").rules]
    assert len(FEATURES) == 32
    assert names == ["StoreType", "Assortment", *FEATURES]


def test_only_what_looks_at_the_past_has_a_compatible_expression():
    assert [rule.name for rule in _source("sales").rules if rule.compatible] == list(PAST)


def test_calendar_promotion_and_competition_agree_with_plain_python(sales, stores, by_day):
    expected = _reference(sales, stores)
    assert list(expected) == [*CALENDAR, *PROMOTION, *COMPETITION]
    _assert_same(by_day, expected)
    # not vacuous: the sample holds every case
    for name in (*PROMOTION, "HasCompetition", "IsQuarterEnd"):
        assert expected[name].nunique() >= 2, name
    september = expected[expected.Month == 9]
    assert set(september[september.PromoInterval_MJSD].Promo2Active) == {True}


def test_by_default_the_past_is_calendar_days_without_today(sales, by_day):
    _assert_same(by_day, _calendar_past(sales))


def test_compatible_reproduces_the_reference(sales, stores, by_row):
    _assert_same(by_row, _reference_past(sales))
    _assert_same(by_row, _reference(sales, stores))


def test_compatible_is_the_reference_to_the_last_bit_it_keeps(sales, by_row):
    """The reference stores its lags and windows as 32-bit numbers."""
    for name, expected in _reference_past(sales).items():
        same = by_row[name].astype("float32").eq(expected.astype("float32")) | (by_row[name].isna() & expected.isna())
        assert same.mean() > 0.999, name


def test_across_the_gap_the_two_readings_differ_and_the_default_is_right(sales, by_day, by_row):
    first_after = (sales.Store == rossmann.gap_stores()[0]) & (sales.Date == pd.Timestamp(2015, 1, 1))
    before = sales[(sales.Store == rossmann.gap_stores()[0]) & (sales.Date == pd.Timestamp(2014, 6, 30))].Sales.item()
    assert by_day[first_after][list(PAST)].isna().all(axis=None)
    assert by_row[first_after].Sales_Lag_1.item() == before
    assert by_row[first_after].Sales_RollingMean_60.notna().all()
    # ten days on, two weeks ago is still in the gap and one week ago is not
    later = (sales.Store == rossmann.gap_stores()[0]) & (sales.Date == pd.Timestamp(2015, 1, 11))
    assert by_day[later].Sales_Lag_7.notna().all()
    assert by_day[later].Sales_Lag_14.isna().all()


def test_where_no_day_is_missing_the_lags_of_both_readings_are_the_same(sales, by_day, by_row):
    whole = ~sales.Store.isin(rossmann.gap_stores())
    lags = [f"Sales_Lag_{days}" for days in LAGS]
    pd.testing.assert_frame_equal(by_day[whole][lags], by_row[whole][lags], check_dtype=False)


def test_today_s_sales_leak_into_no_default_feature_but_into_the_reference(sales, stores, by_day, by_row):
    last = sales.groupby("Store").Date.transform("max") == sales.Date
    changed = sales.assign(Sales=sales.Sales.where(~last, 49_999))
    again = _computed(changed, stores, _source("sales"))
    pd.testing.assert_frame_equal(again[list(FEATURES)], by_day[list(FEATURES)])
    leaked = _computed(changed, stores, _source("sales", compatible=True))
    assert (leaked[last].Sales_RollingMean_7 != by_row[last].Sales_RollingMean_7).all()


def test_one_observation_gives_a_mean_and_no_deviation(sales, by_day, by_row):
    first = sales.groupby("Store").cumcount()
    assert by_day[first == 0][list(PAST)].isna().all(axis=None)
    assert by_day[first == 1].Sales_RollingMean_7.notna().all()
    assert by_day[first == 1].Sales_RollingStd_7.isna().all()
    assert by_day[first == 2].Sales_RollingStd_7.notna().all()
    assert (by_row[first == 0].Sales_RollingMean_7 == sales[first == 0].Sales).all()
    assert by_row[first == 0].Sales_RollingStd_7.isna().all()


def test_the_order_of_rows_does_not_matter(sales, stores, by_day):
    shuffled = sales.sample(frac=1, random_state=7)
    again = _computed(shuffled, stores, _source("sales"))
    pd.testing.assert_frame_equal(again[list(FEATURES)], by_day[list(FEATURES)])


def test_promotion_weeks_are_strptime_s_for_every_year_and_week():
    """All weeks from 1990 to 2040: years that start on each weekday, of 52 and of 53 weeks."""
    sinces = [(year, week) for year in range(1990, 2041) for week in range(1, 54)]
    stores = pd.DataFrame(sinces, columns=["Promo2SinceYear", "Promo2SinceWeek"]).assign(
        Store=range(len(sinces)),
        Promo2=1,
        PromoInterval="",
        CompetitionDistance=1.0,
        StoreType="a",
        Assortment="a",
        CompetitionOpenSinceYear=0,
        CompetitionOpenSinceMonth=0,
    )
    day = pd.Timestamp(2020, 2, 29)
    sales = pd.DataFrame({"Store": stores.Store, "Date": day, "Sales": 1, "Open": 1, "DayOfWeek": 6})
    expected = [max(0, (day - _promotion_start(year, week)).days) for year, week in sinces]
    assert _computed(sales, stores, _source("sales")).Promo2Duration.tolist() == expected
    assert 0 in expected
