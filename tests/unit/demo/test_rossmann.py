"""The invented sales have the public files' shape, and the deliveries add up to them."""

from __future__ import annotations

import datetime as dt
import io

import pandas as pd
import pytest

from dataops_assets.demo import rossmann
from dataops_assets.demo.landing import STAGES

SALES_HEADER = b'"Store","DayOfWeek","Date","Sales","Customers","Open","Promo","StateHoliday","SchoolHoliday"'
STORES_HEADER = (
    b'"Store","StoreType","Assortment","CompetitionDistance","CompetitionOpenSinceMonth",'
    b'"CompetitionOpenSinceYear","Promo2","Promo2SinceWeek","Promo2SinceYear","PromoInterval"'
)


@pytest.fixture(scope="module")
def sales() -> pd.DataFrame:
    return rossmann.sales().to_pandas()


@pytest.fixture(scope="module")
def stores() -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(rossmann.csv_bytes(rossmann.stores())), keep_default_na=False, na_values=[""])


def _files() -> dict[str, bytes]:
    return {file.path: file.content() for stage in STAGES for file in rossmann.stage_files(stage)}


def test_counts_are_those_of_the_public_file(sales):
    assert len(sales) == 1_017_209
    assert sales.Store.nunique() == 1115
    assert sales.Date.min() == dt.date(2013, 1, 1)
    assert sales.Date.max() == dt.date(2015, 7, 31)
    assert not sales.duplicated(["Store", "Date"]).any()


def test_180_stores_have_no_rows_from_july_to_december_2014(sales):
    gap = sales[(sales.Date >= dt.date(2014, 7, 1)) & (sales.Date <= dt.date(2014, 12, 31))]
    absent = sorted(set(range(1, 1116)) - set(gap.Store))
    assert absent == list(rossmann.gap_stores())
    assert len(absent) == 180
    others = sales[~sales.Store.isin(absent)].groupby("Store").size()
    assert set(others) == {942, 941}
    assert others[others == 941].index.tolist() == [988]


def test_rows_run_from_the_newest_day_to_the_oldest_and_by_store(sales):
    order = sales.sort_values(["Date", "Store"], ascending=[False, True], kind="stable")
    assert (order.index == sales.index).all()


def test_a_closed_store_sells_nothing_and_an_open_one_something(sales):
    closed = sales[sales.Open == 0]
    assert (closed.Sales == 0).all()
    assert (closed.Customers == 0).all()
    assert (sales[sales.Open == 1].Sales > 0).all()
    assert (sales[sales.Open == 1].Customers > 0).all()
    assert (sales[(sales.DayOfWeek == 7)].Open.mean()) < 0.06


def test_values_stay_within_what_the_gate_on_raw_allows(sales):
    assert sales.Sales.between(0, 50_000).all()
    assert sales.Customers.between(0, 10_000).all()
    assert set(sales.StateHoliday) == {"0", "a", "b", "c"}
    assert (sales.DayOfWeek == pd.to_datetime(sales.Date).dt.dayofweek + 1).all()
    for name in ("Open", "Promo"):
        assert set(sales[name]) == {0, 1}
    assert set(sales.SchoolHoliday) == {"0", "1"}


def test_the_figures_look_like_the_public_ones(sales):
    """Means of the public file: 5,774 a day, 0.83 open, 0.38 promotion, 0.18 school holiday; December sells most."""
    assert sales.Sales.mean() == pytest.approx(5774, rel=0.02)
    assert sales.Open.mean() == pytest.approx(0.83, abs=0.01)
    assert sales.Promo.mean() == pytest.approx(0.38, abs=0.01)
    assert (sales.SchoolHoliday == "1").mean() == pytest.approx(0.18, abs=0.01)
    opened = sales[sales.Open == 1]
    assert opened[opened.Promo == 1].Sales.mean() > 1.2 * opened[opened.Promo == 0].Sales.mean()
    month = pd.to_datetime(opened.Date).dt.month
    assert opened.groupby(month).Sales.mean().idxmax() == 12
    holidays = sales.StateHoliday.value_counts()
    assert (holidays["b"], holidays["c"]) == (6690, 4100)


def test_stores_have_the_public_file_s_nulls_and_categories(stores):
    assert len(stores) == 1115
    assert stores.CompetitionDistance.isna().sum() == 3
    assert stores.CompetitionOpenSinceMonth.isna().sum() == stores.CompetitionOpenSinceYear.isna().sum() == 354
    assert stores.StoreType.value_counts().to_dict() == rossmann.STORE_TYPES
    assert stores.Assortment.value_counts().to_dict() == rossmann.ASSORTMENTS
    assert stores.PromoInterval.value_counts(dropna=False).sum() == 1115
    assert (stores.Promo2 == 0).sum() == 544
    without = stores[stores.Promo2 == 0]
    assert without[["Promo2SinceWeek", "Promo2SinceYear", "PromoInterval"]].isna().all(axis=None)
    assert stores[stores.Promo2 == 1].PromoInterval.isin(list(rossmann.INTERVALS)[1:]).all()
    assert stores.CompetitionOpenSinceMonth.dropna().between(1, 12).all()
    assert stores.Promo2SinceWeek.dropna().between(1, 53).all()


def test_files_are_written_in_the_public_manner():
    first = rossmann.week_bytes(rossmann.LAST_DAY).splitlines()
    assert first[0] == SALES_HEADER
    assert first[1].startswith(b"1,5,2015-07-31,")
    assert first[1].endswith((b',"0","1"', b',"0","0"'))
    stores = rossmann.csv_bytes(rossmann.stores()).splitlines()
    assert stores[0] == STORES_HEADER
    assert any(line.endswith(b',0,,,""') for line in stores)


def test_the_same_seed_gives_the_same_bytes():
    rossmann.sales.cache_clear()
    rossmann.stores.cache_clear()
    before = rossmann.week_bytes(dt.date(2015, 6, 14)), rossmann.csv_bytes(rossmann.stores())
    rossmann.sales.cache_clear()
    rossmann.stores.cache_clear()
    assert (rossmann.week_bytes(dt.date(2015, 6, 14)), rossmann.csv_bytes(rossmann.stores())) == before


def test_the_newest_row_of_each_key_over_all_deliveries_is_the_final_row(sales):
    """What `refresh: key` by extract time makes of the files, late week included."""
    files = {path.rsplit("/", 1)[1]: content for path, content in _files().items() if "/sales/" in path}
    by_extract = sorted(files, key=lambda name: "" if name == "train.csv" else name)
    read = [
        pd.read_csv(io.BytesIO(files[name]), dtype={"StateHoliday": str, "SchoolHoliday": str}) for name in by_extract
    ]
    assert (len(read[0]), len(read)) == (956_999, 9)
    merged = pd.concat(read).drop_duplicates(["Store", "Date"], keep="last")
    merged = merged.sort_values(["Date", "Store"], ascending=[False, True]).reset_index(drop=True)
    final = sales.assign(Date=sales.Date.astype(str))
    pd.testing.assert_frame_equal(merged, final, check_dtype=False)


def test_deliveries_do_correct_what_came_before(sales):
    week, after = dt.date(2015, 6, 14), dt.date(2015, 6, 21)
    first, second = (pd.read_csv(io.BytesIO(rossmann.week_bytes(day))) for day in (week, after))
    both = first.merge(second, on=["Store", "Date"], suffixes=("_before", "_after"))
    assert len(both) == rossmann.PRELIMINARY_ROWS
    assert (both.Sales_before < both.Sales_after).all()
    assert (both.Customers_before < both.Customers_after).all()


def test_the_revised_stores_differ_in_five():
    first, second = (rossmann.stores(revised=revised).to_pandas() for revised in (False, True))
    same = (first == second) | (first.isna() & second.isna())
    assert (~same.all(axis=1)).sum() == 5
