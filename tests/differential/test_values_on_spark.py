"""A text is the same value of a type on both engines, or none on both."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp

from dataops_assets.config.contract import Column
from dataops_assets.config.types import sql_type
from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.engines.spark import SparkEngine
from dataops_assets.sql import DIALECT, alias, column, query
from dataops_assets.steps.parsing.typed_values import TextMarks, converted, marks_for

NUMBERS = (
    "12345678901234567.891e0|90071992547409.93|9007199254740993E-2|12345.67e0|.5E1|5.e-1|12e-400|1e3000|-0.0125E+2|1e36|"
    "1.2300000e-0002|1.239|1.23000|0|-0|+7|007|1.|.5|1e3|1E-2| 5 |5\n|--1|1_000|1,5|99999999.99|100000000|0e9|"
    "9223372036854775807|9223372036854775808|9007199254740993"
)
TIMES = (
    "2013-01-05 12:00:00.1234567|2013-01-05 12:00:00.1234560000|2013-01-05T12:00Z|2013-1-5 9:05|2013/01/05 12:00:00+02|"
    "2013-01-05T14:00:00+02:77|2013-01-05 14:00:00+18:00|0000-01-05 12:00|9999-12-31 23:30:00-05:00|2013-01-05 00:00|"
    "9999-12-31 23:30:00+05:00|0001-01-01 00:30:00+01:00|2013-01-05|2013-02-30|0001-01-01|9999-12-31|2013-01-05 24:00"
)
EPOCHS = (
    "0|-1|19723|1704067200|1704067200.123456|1704067200.1234567|1.7040672E9|1704067200123|-62135596800|-62135596801|"
    "253402300799.999999|253402300800|-719162|-719163|2932896|2932897|9223372036854775808|0.5|1,5|2024-01-01|"
)
CASES = [
    *[(kind, "", tuple(NUMBERS.split("|"))) for kind in ("decimal(20,3)", "decimal(38,2)", "integer", "double")],
    *[(kind, "", tuple(TIMES.split("|"))) for kind in ("date", "timestamp", "timestamptz")],
    ("date", ("%d.%m.%Y", "%m/%d/%y", "%Y%m%d"), ("05.01.2013", "5.1.2013", "05.01.13", "3/2/69", "3/2/68", "2013111")),
    ("date", "%Y-%m-%d %H:%M%z", ("2013-01-05 00:00Z", "2013-01-05 00:00+0100", "2013-01-05 01:00Z")),
    ("timestamp", "%d %B %Y %I:%M:%S.%f %p", ("5 MAY 2013 12:00:01.5 am", " 5  May\u00a02013 12:00:01.000001 PM")),
    (
        "timestamptz",
        "%Y-%m-%dT%H:%M:%S%z",
        ("2013-01-05T12:00:00+2359", "9999-12-31T23:59:59-00:01", "2013-01-05T1:2:3Z"),
    ),
    ("timestamptz", "epoch_milliseconds", tuple(EPOCHS.split("|"))),
    ("timestamp", "epoch_seconds", tuple(EPOCHS.split("|"))),
    ("date", "epoch_days", tuple(EPOCHS.split("|"))),
    (
        "binary",
        "hex",
        ("\\x00fF", "0x00ff", " 0X00FF ", "", "\\x", "\\x0", "0x0g", "00 ff", "\\\\x00", "é", "00" * 9000),
    ),
    (
        "binary",
        "base64",
        ("AP8=", " AP8= ", "", "AP8", "AP9=", "AP8==", "A===", "====", "AP\n8=", "AP-_", "é===", "AAAA" * 5000),
    ),
    ("date", "%Y-%j", ("2013-1", "2013-365", "2013-366", "2016-366")),
    ("date", "%G-W%V-%u", ("2020-W53-7", "2021-W53-1", "2016-W01-1", "2016-W1-7")),
    ("date", "%Y %U %a", ("2013 0 tue", "2012 53 MON", "2018 00 Sun", "2013 12 Sat")),
    ("date", "%Y %W %w", ("2018 0 1", "2013 53 0", "2013 0 6", "2013 12 3")),
    (
        "decimal(12,2)",
        {"decimal_mark": ",", "thousands_mark": ".", "minus": ["after", "parentheses"], "units": ["€", "kg.", "$"]},
        ("1.234,50-", "(1.234,5)", "€ 7", "7 kg.", "€(7)", "$7$", "-7", "(7", "7)", "(7)-", "12,345", "", "€"),
    ),
]


@pytest.mark.parametrize(("kind", "form", "texts"), CASES)
def test_a_text_is_one_value(
    duckdb: DuckDBEngine, spark: SparkEngine, kind: str, form: Any, texts: tuple[str, ...]
) -> None:
    field = "number_format" if isinstance(form, dict) else "binary_format" if kind == "binary" else "date_format"
    declared = Column.model_validate({"name": "c", "type": kind, field: form})
    target = exp.DataType.build(sql_type(kind), dialect=DIALECT)
    result = alias(exp.cast(converted(column("v"), "VARCHAR", declared, marks_for(declared, TextMarks())), target), "r")
    found = []
    for engine in (duckdb, spark):
        with engine.session() as session:
            given = session.register(pa.table({"n": range(len(texts)), "v": pa.array(texts, pa.string())}))
            rows = session.fetch(query("SELECT $result, n FROM $given AS g ORDER BY n", given=given, result=result))
            values = rows.column(0).to_pylist()
            # an instant is one whatever its zone
            found.append([value.timestamp() if kind == "timestamptz" and value else value for value in values])
    assert dict(zip(texts, found[0], strict=True)) == dict(zip(texts, found[1], strict=True))
    assert any(value is not None for value in found[0])
