"""An input that lacks declared columns says what it looks like."""

from __future__ import annotations

import pytest

from dataops_assets.config.source import Source
from dataops_assets.steps.parsing.drift import drift_problem

ORDERS = Source.model_validate(
    {
        "name": "orders",
        "area": "tests",
        "connection": {"type": "files", "path": "orders_*.csv"},
        "columns": [{"name": name} for name in ("id", "customer", "unit price")],
        "refresh": {"type": "key", "key": ["id"]},
    }
)


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        (["id;customer;unit price"], "looks separated by ';': set delimiter"),
        (['"id";"customer";"unit price"'], "looks separated by ';': set delimiter"),
        (["id\tcustomer\tunit price"], "looks separated by '\\t' (a tab): set delimiter"),
        (["id|customer|unit price|note"], "looks separated by '|': set delimiter"),
        # a decimal comma in a header of its own: the file has been cut at commas
        (["id;customer;unit price", "net"], "looks separated by ';': set delimiter"),
        (["7", "ann", "9.50"], "the first line looks like data"),
        (["2024-01-31", "12", "x"], "the first line looks like data"),
        (["ID", "customer", "unit price"], "id: did you mean 'ID'?"),
        (["id", "customer", "UnitPrice"], "unit price: did you mean 'UnitPrice'?"),
        (["id", "customer", "unit_price"], "unit price: did you mean 'unit_price'?"),
        (["id", "custmer", "unit price"], "customer: did you mean 'custmer'?"),
        (["a", "b"], "deliver it with all columns"),
        # nothing looks like a missing column, and one number is no row of data
        (["id", "2024"], "deliver it with all columns"),
        ([], "deliver it with all columns"),
    ],
)
def test_the_next_step_names_the_cause(header: list[str], advice: str) -> None:
    problem = drift_problem(ORDERS, header, {})
    assert problem is not None
    received, next_step = problem
    assert received.startswith("no column ")
    assert advice in next_step
