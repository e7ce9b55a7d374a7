"""Values of every type come into the raw file and the lake exactly as the server prints them, or as what they are."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest
from database_place import DatabasePlace, Server, place_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.engines.duckdb import DuckDBEngine
from dataops_assets.errors import InputError
from dataops_assets.report import Input
from dataops_assets.sql import query
from dataops_assets.steps.ingest import ingest
from dataops_assets.steps.parse import parse
from dataops_assets.steps.source_context import SourceContext

FULL = {"type": "full"}
SETTINGS = "SET timezone = 'UTC'; SET intervalstyle = 'postgres'; SET datestyle = 'ISO, YMD'; SET lc_monetary = 'C'"
# no NUL and no lone surrogate: the server has none
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: format(value, "f")[:200]),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "0.00", "1e-30", "1" + "0" * 60]),
)
TIMES = st.one_of(
    st.datetimes().map(lambda value: value.isoformat(sep=" ")),
    st.sampled_from(["infinity", "-infinity", "0044-03-15 12:00:00 BC", "294276-12-31 23:59:59.999999"]),
)
KINDS: dict[str, st.SearchStrategy[str]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "numeric": NUMBERS,
    "numeric(18,4)": st.one_of(st.integers(-(10**17), 10**17).map(lambda value: f"{value}e-4"), st.just("NaN")),
    "money": st.integers(-(10**15), 10**15).map(lambda value: f"{value / 100:.2f}"),
    "real": st.floats(width=32).map(repr),
    "double precision": st.floats().map(repr),
    "boolean": st.sampled_from(["true", "false"]),
    "text": TEXTS,
    "varchar(12)": TEXTS,
    "char(12)": TEXTS,
    "bytea": st.binary(max_size=9).map(lambda value: f"\\x{value.hex()}"),
    "date": st.one_of(
        st.dates().map(str), st.sampled_from(["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"])
    ),
    "time": st.one_of(st.times().map(str), st.just("24:00:00")),
    "timetz": st.times().map(lambda value: f"{value}+05:30"),
    "timestamp": TIMES,
    "timestamptz": TIMES,
    "interval": st.one_of(
        st.timedeltas().map(lambda value: f"{value.days} days {value.seconds} seconds {value.microseconds} us"),
        st.sampled_from(["-1 month 3 days", "1 year -2 mons", "0"]),
    ),
    "json": st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(), st.none()), max_size=2).map(
        lambda value: json.dumps(value, indent=1).replace("\\u0000", "")
    ),
    "jsonb": st.lists(st.one_of(st.integers(), st.booleans()), max_size=3).map(json.dumps),
    "uuid": st.uuids().map(str),
    "integer[]": st.lists(st.integers(0, 9), max_size=3).map(lambda value: "{" + ",".join(map(str, value)) + "}"),
    "text[]": st.sampled_from(["{}", '{"a,b",NULL,"NULL",""}', '{{a,b},{c,"d\\"e"}}']),
    "mood": st.sampled_from(["happy", "so, so", 'a"b']),
    "positive": st.integers(1, 9).map(str),
    "bit(4)": st.sampled_from(["0000", "1010"]),
    "inet": st.ip_addresses().map(str),
    "int4range": st.sampled_from(["empty", "[1,5)", "(,)"]),
    "point": st.sampled_from(["(1,2)", "(-0.5,1e+30)"]),
    "xml": st.sampled_from(["<a>1</a>", "<b>&amp;\n</b>"]),
}
# what has a type of its own in the raw file
TYPED = {"smallint", "integer", "bigint", "double precision", "boolean", "bytea", "positive"}
CONTRACT = {"double precision": "double", "boolean": "boolean", "bytea": "binary"}


def with_every_type(postgres: Server, *further: str) -> list[str]:
    """Make the table t with further columns and one of each type, and return the names of the latter."""
    names = [f"c{place}" for place in range(len(KINDS))]
    typed = [f"{name} {kind}" for name, kind in zip(names, KINDS, strict=True)]
    postgres.run(
        "CREATE TYPE mood AS ENUM ('happy', 'so, so', 'a\"b'); CREATE DOMAIN positive AS integer CHECK (value > 0)",
        f"CREATE TABLE t ({', '.join([*further, *typed])})",
    )
    return names


def columns_of(kinds: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": f"c{place}", "type": CONTRACT.get(kind, "integer" if kind in TYPED else "text")}
        for place, kind in enumerate(kinds)
    ]


def in_lake(place: DatabasePlace, engine: DuckDBEngine, item: Input) -> list[tuple[Any, ...]]:
    """The rows of an input after ingest and parse, in their order."""
    context = SourceContext(place.environment, place.source, {"orders": place.source}, engine, place.metadata)
    for step in (ingest, parse):
        report = step(context, [item])
        assert not report.failures, report.failures
        assert report.inputs[0].counts.get("rejected", 0) == 0
    snapshot = context.table("lake/orders").snapshot()
    assert snapshot is not None
    names = place.source.column_names
    with engine.session() as session:
        rows = session.fetch(query("SELECT * FROM $rows AS r ORDER BY s_row_id", rows=session.scan(snapshot)))
    mine = [row for row in rows.to_pylist() if row["s_input_id"] == item.input_id]
    return [tuple(row[name] for name in names) for row in mine]


def same(one: Any, other: Any) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (one == other and str(one) == str(other))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    home = tmp_path_factory.mktemp("engine")
    place = place_of(home, {"type": "sqlite", "path": "none"}, FULL, table="t")
    return DuckDBEngine(place.environment)


def test_every_type_of_postgresql(
    postgres: Server, engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = with_every_type(postgres)
    home = tmp_path_factory.mktemp("types")
    place = place_of(home, postgres.declared, FULL, table="public.t")
    place.source = place.source.model_validate({**place.source.model_dump(), "columns": columns_of(KINDS)})
    # what the server prints, which for some types is not what it casts to text
    printed = "CASE WHEN {0} IS NOT NULL THEN format('%s', {0}) END".format
    shown = [name if kind in TYPED else printed(name) for name, kind in zip(names, KINDS, strict=True)]
    insert = f"INSERT INTO t VALUES ({', '.join(f'%s::{kind}' for kind in KINDS)})"
    connection = postgres.connect()
    row = st.tuples(*(st.one_of(st.none(), values) for values in KINDS.values()))

    @settings(max_examples=5)
    @given(st.lists(row, min_size=1, max_size=20))
    def law(rows: list[tuple[str | None, ...]]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE t; {SETTINGS}")
            cursor.executemany(insert, rows)
            cursor.execute(f"SELECT {', '.join(shown)} FROM t")
            expected = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in one) for one in cursor.fetchall()]
        for item in place.look():
            found = place.rows(item)
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                assert not [(k, a, b) for k, a, b in zip(KINDS, one, other, strict=True) if not same(a, b)]
            for one, other in zip(in_lake(place, engine, item), expected, strict=True):
                assert not [(k, a, b) for k, a, b in zip(KINDS, one, other, strict=True) if not same(a, b)]

    law()
    connection.close()
    raw = {field.name: str(field.type) for field in place.table(place.inputs[-1]).schema}
    wanted = {"boolean": "bool", "double precision": "double", "bytea": "binary"}
    assert list(raw.values()) == [wanted.get(kind, "int64" if kind in TYPED else "string") for kind in KINDS]


def test_one_column_of_nulls_and_empty_texts_keeps_its_rows(postgres: Server, tmp_path: Path) -> None:
    postgres.run("CREATE TABLE t (a text)", "INSERT INTO t VALUES (NULL), (''), (NULL), ('\\.'), (E'\\n'), ('\"')")
    (item,) = place_of(tmp_path, postgres.declared, FULL, table="t").look()
    assert place_of(tmp_path / "other", postgres.declared, FULL, table="t").look()[0].digest == item.digest


MYSQL = {
    "a tinyint unsigned": ("255", 255),
    "b bigint": ("-9223372036854775808", -(2**63)),
    "c bigint unsigned": ("18446744073709551615", "18446744073709551615"),
    "d decimal(30,10)": ("12345678901234567890.0123456789", "12345678901234567890.0123456789"),
    "e double": ("1.7976931348623157e308", 1.7976931348623157e308),
    "f float": ("0.1", "0.1"),
    "g date": ("'0000-00-00'", "0000-00-00"),
    "h datetime(6)": ("'2024-01-01 00:00:00.000001'", "2024-01-01 00:00:00.000001"),
    "i timestamp null": ("'2024-07-01 10:00:00'", "2024-07-01 10:00:00"),
    "j time": ("'-838:59:59'", "-838:59:59"),
    "k year": ("2024", 2024),
    "l bit(10)": ("b'1000000001'", "513"),
    "m blob": ("x'00ff'", b"\x00\xff"),
    "n varbinary(9)": ("x'ff'", b"\xff"),
    "o text": ("'é€😀'", "é€😀"),
    "p json": ("'{\"a\": 1}'", '{"a": 1}'),
    "q enum('a','b')": ("'b'", "b"),
    "r set('a','b')": ("'a,b'", "a,b"),
    "s varchar(9)": ("''", ""),
    "t boolean": ("true", 1),
    "u datetime": ("'2024-00-00 00:00:00'", "2024-00-00 00:00:00"),
    "v char(5)": ("'null'", "null"),
}


def every_value(mysql: Server) -> None:
    """Make the table t with a row of values of each type, and one of nulls."""
    mysql.run(f"CREATE TABLE t ({', '.join(MYSQL)}) CHARACTER SET utf8mb4")
    connection = mysql.connect()
    with connection.cursor() as cursor:
        cursor.execute("SET sql_mode = '', time_zone = '+00:00'")
        cursor.execute(f"INSERT INTO t VALUES ({', '.join(value for value, _ in MYSQL.values())})")
        cursor.execute(f"INSERT INTO t VALUES ({', '.join('NULL' for _ in MYSQL)})")
    connection.close()


def test_every_type_of_mariadb(mysql: Server, tmp_path: Path) -> None:
    every_value(mysql)
    place = place_of(tmp_path, mysql.declared, FULL, table="t")
    (item,) = place.look()
    assert dict(zip(MYSQL, place.rows(item)[0], strict=True)) == {name: value for name, (_, value) in MYSQL.items()}
    assert set(place.rows(item)[1]) == {None}


def test_values_of_sqlite_are_text_whatever_their_type(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b BLOB, c)")
        given = [(1, b"\x00\xff", 0.1), ("x", None, 2**63 - 1), (1e300, b"", "é"), (None, b"1", -0.0)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", given)
    place = place_of(tmp_path / "home", {"type": "sqlite", "path": str(path)}, FULL, table="t")
    (item,) = place.look()
    assert place.rows(item) == [
        ("1", b"\x00\xff", "0.1"),
        ("x", None, "9223372036854775807"),
        ("1e+300", b"", "é"),
        (None, b"1", "-0.0"),
    ]
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO t VALUES (1, 'text', x'00')")
    with pytest.raises(InputError, match="column 'b'"):
        place.look()


def test_values_of_duckdb_are_text_where_a_file_could_change_them(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    values = (
        "SELECT 1::UTINYINT AS a, 18446744073709551615::UBIGINT AS b, 1.5::DECIMAL(18,4) AS c, 'infinity'::DATE AS d, "
        "'-infinity'::TIMESTAMP AS e, '2024-01-01 10:00:00.000001+00'::TIMESTAMPTZ AS f, [1, 2] AS g, {'x': 1} AS h, "
        "'a'::ENUM('a', 'b') AS i, INTERVAL '1 month 3 days' AS j, 170141183460469231731687303715884105727 AS k, "
        "'\\xAA'::BLOB AS l, true AS m, 'nan'::DOUBLE AS n, '101'::BIT AS o, '1:2:3.000001'::TIME AS p, 0.1::FLOAT AS q"
    )
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE t AS {values}")
        connection.execute("SET TimeZone = 'UTC'")
        printed = connection.execute("SELECT COLUMNS(*)::VARCHAR FROM t").fetchall()[0]
    place = place_of(tmp_path / "home", {"type": "duckdb", "path": str(path)}, FULL, table="main.t")
    (item,) = place.look()
    (found,) = place.rows(item)
    assert [str(value) for value in found if not isinstance(value, bytes | bool)] == [
        text for name, text in zip("abcdefghijklmnopq", printed, strict=True) if name not in "lm"
    ]
    assert found[11:13] == (b"\xaa", True)
