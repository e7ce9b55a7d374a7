"""The SQL that converts a value stays short: Spark's parser takes minutes for some hundred kilobytes."""

from __future__ import annotations

import pytest

from dataops_assets.config.contract import Column
from dataops_assets.engines.spark_dialect import DIALECT, for_spark
from dataops_assets.sql import column
from dataops_assets.steps.parsing.typed_values import TextMarks, converted

# as the reader of raw files names them, and as Spark does
RAW = {
    "VARCHAR": "string",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "DECIMAL(18,4)": "decimal(18,4)",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp_ntz",
    "TIMESTAMP_NS": "string",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}
TYPES = ("text", "integer", "double", "decimal(18,4)", "boolean", "date", "timestamp", "timestamptz", "binary")
FORMATS = ("%Y-%m-%dT%H:%M:%S.%f%z", "%d %B %Y %I:%M:%S %p", "%Y %U %a", "%G-W%V-%u", "%Y-%j", "epoch_milliseconds")
MOST = 16_000


@pytest.mark.parametrize("raw", RAW)
@pytest.mark.parametrize("kind", TYPES)
def test_of_every_type(raw: str, kind: str) -> None:
    value = converted(column("x", "r"), raw, Column(name="x", type=kind), TextMarks(",", "."))
    assert len(DIALECT.generate(for_spark(value, {"x": RAW[raw]}))) < MOST


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_of_every_time_format(kind: str, form: str) -> None:
    value = converted(column("x", "r"), "VARCHAR", Column(name="x", type=kind, date_format=form), TextMarks())
    assert len(DIALECT.generate(for_spark(value, {"x": "string"}))) < MOST
