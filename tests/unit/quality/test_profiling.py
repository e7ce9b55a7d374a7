"""Profiles of wide tables: each column is profiled as if it were alone, and the queries grow with the columns."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from sqlglot import exp

from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.profiles import Profile
from dataops_assets.quality.profiling import profile_inputs
from dataops_assets.sql import query

# each column has other values, so that no profile can stand for another
ROWS = "SELECT *, IF(s_row_id < 2, 'a', 'b') AS s_input_id FROM (SELECT range AS s_row_id, {} FROM range(5)) AS r"


class Counting(DuckDBSession):
    """A session that adds up the length of its queries."""

    written = 0

    def fetch(self, query: exp.Expr) -> pa.Table:
        self.written += len(query.sql("duckdb"))
        return super().fetch(query)


def profiled(width: int, first: int = 0) -> tuple[list[Profile], int]:
    """The profiles of so many columns from one on, and the length of the queries."""
    names = [f"c{number}" for number in range(first, first + width)]
    values = ", ".join(f"CAST(range * {number} AS BIGINT) AS c{number}" for number in range(first, first + width))
    with duckdb.connect() as connection:
        session = Counting(connection)
        found = profile_inputs(session, query(ROWS.format(values)), dict.fromkeys(names, "BIGINT"), "lake/sales")
    return found, session.written


@pytest.mark.parametrize("width", [1, 16, 17, 32, 33, 50])
def test_a_column_is_profiled_alike_alone_and_beside_others(width: int) -> None:
    together, _ = profiled(width)
    assert [(item.input_id, item.rows) for item in together] == [("a", 2), ("b", 3)]
    for number in {0, width // 2, width - 1}:
        alone, _ = profiled(1, first=number)
        assert [item.columns[number] for item in together] == [item.columns[0] for item in alone]


def test_the_queries_grow_with_the_columns_and_not_with_their_square() -> None:
    (_, narrow), (_, wide) = profiled(32), profiled(256)
    assert wide < 1.1 * 8 * narrow


def test_the_values_of_a_text_are_counted_if_they_are_few() -> None:
    values = "IF(range % 2 = 0, 'x', NULL) AS few, repeat('é', range + 1) AS length, 'a' AS secret, 1 AS number"
    kinds = {"few": "VARCHAR", "length": "VARCHAR", "secret": "VARCHAR", "number": "INTEGER"}
    many = query("SELECT 'a' AS s_input_id, CAST(range AS VARCHAR) AS id FROM range(50) AS r")
    with duckdb.connect() as connection:
        session = DuckDBSession(connection)
        found = profile_inputs(session, query(ROWS.format(values)), kinds, "lake/sales", hidden=["secret"])
        (wide,) = profile_inputs(session, many, {"id": "VARCHAR"}, "lake/sales")
    told = [{item.name: (item.mean_length, item.frequent) for item in profile.columns} for profile in found]
    assert told == [
        {"few": (1, {"x": 1}), "length": (1.5, {"é": 1, "éé": 1}), "secret": (None, None), "number": (None, None)},
        {
            "few": (1, {"x": 2}),
            "length": (4, dict.fromkeys(["ééé", "éééé", "ééééé"], 1)),
            "secret": (None, None),
            "number": (None, None),
        },
    ]
    assert wide.columns[0].frequent is None


SOME = """
SELECT '{}' AS s_input_id, range AS s_row_id,
  CASE WHEN range % 50 = 7 THEN NULL ELSE CAST(range * 7919 % 20011 AS DOUBLE) END AS number,
  IF(range % 4 = 0, 'Straße ', 'b') || range || '-X' AS code, 'n' || range AS secret, range % 3 AS few
FROM range({}) AS r
"""


def test_quantiles_and_patterns_are_those_of_a_sample_that_the_places_of_rows_decide() -> None:
    kinds = {"number": "DOUBLE", "code": "VARCHAR", "secret": "VARCHAR", "few": "BIGINT"}
    texts = {name: SOME.format(name, size) for name, size in (("a", 20_000), ("b", 29))}
    with duckdb.connect() as connection:
        session = DuckDBSession(connection)
        profiles = {
            name: profile_inputs(session, query(text), kinds, "lake/a", ["secret"]) for name, text in texts.items()
        }
        both = query(" UNION ALL ".join(texts.values()))
        together = profile_inputs(session, both, kinds, "lake/a", ["secret"])
    # an input is profiled alike alone and beside others
    assert sorted(together, key=lambda item: item.input_id) == [*profiles["a"], *profiles["b"]]
    number, code, secret, few = profiles["a"][0].columns
    # two halvings leave 5,000 of 20,000 rows: four deviations of the share of rows below a quantile
    chosen = [n for n in range(20_000) if (n * 2654435769) % 2**32 < 2**30]
    exact = np.quantile([n * 7919 % 20011 for n in chosen if n % 50 != 7], [0.05, 0.5, 0.95])
    assert [number.low, number.median, number.high] == pytest.approx(list(exact))
    assert number.median is not None
    assert abs(number.median / 20011 - 0.5) < 4 * 0.5 / 5000**0.5
    texts = [n for n in chosen if (n * 2654435769) % 2**32 < 2**28]
    share = sum(n % 4 == 0 for n in texts) / len(texts)
    assert code.patterns == pytest.approx({"a9-A": 1 - share, "Aa 9-A": share})
    assert (secret.patterns, secret.low, few.patterns, few.median) == (None, None, None, 1.0)
    # quantiles of few rows say nothing
    assert [(item.low, item.patterns) for item in profiles["b"][0].columns] == [(None, None)] * 4


def test_rare_patterns_are_told_together() -> None:
    rows = query("SELECT 'a' AS s_input_id, range AS s_row_id, repeat('-', range) AS text FROM range(40) AS r")
    with duckdb.connect() as connection:
        (found,) = profile_inputs(DuckDBSession(connection), rows, {"text": "VARCHAR"}, "lake/a")
    shares = found.columns[0].patterns
    assert shares is not None
    assert len(shares) == 21
    assert (sum(shares.values()), shares["other"]) == pytest.approx((1, 0.5))
