"""Process control where a user meets it: files in a landing folder, and the sentence of a check in the run."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dataops_assets.components.run_attempts import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from tests.integration.code_location import CodeLocation, checks, loaded, standalone

DAYS = 45


@pytest.fixture
def here(instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[CodeLocation]:
    with loaded(standalone()) as definitions:
        yield CodeLocation(definitions, instance, tmp_path / "home")


def day(number: int, rows: int) -> tuple[str, str]:
    """The file of a day; the first is Monday, 1 January 2024."""
    month, of_month = divmod(number, 31)
    lines = "".join(f"{row},{row % 7},{5 + row % 11}\n" for row in range(rows))
    return f"orders_2024-{month + 1:02}-{of_month + 1:02}.csv", f"id,customer,amount\n{lines}"


def test_a_truncated_file_is_told_with_what_was_expected_on_such_a_day(here: CodeLocation) -> None:
    chance = random.Random(5)
    usual = [60 if number % 7 > 4 else 200 for number in range(DAYS)]
    for number, rows in enumerate(usual):
        here.land("orders", *day(number, round(rows * math.exp(chance.gauss(0, 0.03)))))
    here.tick("orders")
    ids = here.partitions("orders")
    span = {RANGE_START_TAG: ids[0], RANGE_END_TAG: ids[-1]}
    history = here.materialize(["raw/orders", "lake/orders"], span)
    assert history.success
    assert checks(history)["lake/orders:volume"].passed

    # a Thursday with the rows of a Sunday
    here.land("orders", *day(DAYS, 60))
    here.tick("orders")
    (newest,) = set(here.partitions("orders")) - set(ids)
    run = here.materialize(["raw/orders", "lake/orders"], {PARTITION_TAG: newest})
    assert run.success, "a warning stops nothing"
    told = checks(run)["lake/orders:volume"]
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (told.description or "").startswith("rows 60, expected ")
    assert " on a Thursday" in (told.description or "")
    chart = told.metadata["control chart"]
    assert isinstance(chart, dg.MarkdownMetadataValue)
    assert (chart.md_str or "").startswith("![rows 60, expected ")
    # fewer rows have fewer ids; the amounts are as before
    columns = checks(run)["lake/orders:distribution"].description or ""
    assert "id: distinct values " in columns
    assert "amount" not in columns
    bytes_of_it = checks(run)["raw/orders:volume"]
    assert not bytes_of_it.passed
    assert (bytes_of_it.description or "").startswith("bytes ")
