"""The contract that an extract of stores must satisfy before it is published."""

from __future__ import annotations

import pandera.pandas as pa

from dataops_assets.quality.pandera_checks import row_count_between, share_in_range

INTERVALS = ["", "Jan,Apr,Jul,Oct", "Feb,May,Aug,Nov", "Mar,Jun,Sept,Dec"]

extract = pa.DataFrameSchema(
    {
        "Store": pa.Column(int, pa.Check.in_range(1, 1200), unique=True),
        "StoreType": pa.Column(str, pa.Check.isin(["a", "b", "c", "d"])),
        "Assortment": pa.Column(str, pa.Check.isin(["a", "b", "c"])),
        "CompetitionDistance": pa.Column(float, share_in_range(0, 100_000, 0.7)),
        "CompetitionOpenSinceMonth": pa.Column(int, pa.Check.in_range(0, 12)),
        "CompetitionOpenSinceYear": pa.Column(int, pa.Check.in_range(0, 2100)),
        "Promo2": pa.Column(int, pa.Check.isin([0, 1])),
        "Promo2SinceWeek": pa.Column(int, pa.Check.in_range(0, 53)),
        "Promo2SinceYear": pa.Column(int, pa.Check.in_range(0, 2100)),
        "PromoInterval": pa.Column(str, pa.Check.isin(INTERVALS)),
    },
    checks=[row_count_between(1_000, 1_200)],
    ordered=True,
    strict=True,
)
