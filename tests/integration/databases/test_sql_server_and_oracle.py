"""What is of SQL Server and Oracle alone, without a server of them: none can be had here.

Statements are compiled by their dialects and read by another parser (sqlglot). The reader is run against stand-ins for
connections of their drivers, which record what is sent and answer what they are told. So the tests show that
statements, values, positions and errors fit together, and not that a server takes them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import oracledb
import pyarrow as pa
import pymssql
import pytest
import sqlalchemy as sa
import sqlglot
from database_place import place_of
from sqlglot import exp

from dataops_assets.connections.databases import oracle, sql_server
from dataops_assets.connections.databases.reading import Statement
from dataops_assets.connections.databases.sqlalchemy_columns import Asked, Column, Traits, column_of, named, selected
from dataops_assets.connections.databases.sqlalchemy_database import written
from dataops_assets.errors import ConfigError, DataOpsError, InputError, StorageError

APPEND = {"type": "append"}
FULL = {"type": "full"}
SQL_SERVER = {"type": "sqlalchemy", "dialect": "mssql+pymssql", "host": "mssql.example.com", "database": "shop"}
ORACLE = {**SQL_SERVER, "dialect": "oracle+oracledb", "database": "", "options": {"service_name": "shop"}}
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"


@dataclass
class StandIn:
    """Stands in for a connection of a driver. `answers`: for a pattern, columns and rows, or an error."""

    answers: list[tuple[str, Sequence[Any], Sequence[tuple[Any, ...]] | Exception]]
    sent: list[tuple[str, Any]] = field(default_factory=list)
    version: str = "19.0.0.0.0"
    max_identifier_length: int = 128
    outputtypehandler: Any = None
    closed: bool = False

    def connect(self, **_given: Any) -> StandIn:
        return self

    def cursor(self, *_given: Any, **_more: Any) -> Cursor:
        return Cursor(self)

    def commit(self) -> None:
        self.sent.append(("COMMIT", None))

    def rollback(self) -> None:
        self.sent.append(("ROLLBACK", None))

    def autocommit(self, _on: bool) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def texts(self) -> list[str]:
        return [text for text, _ in self.sent]


@dataclass
class Cursor:
    """Of a stand-in."""

    connection: StandIn
    description: Any = None
    rows: list[Any] = field(default_factory=list)
    arraysize: int = 100
    rowcount: int = -1
    outputtypehandler: Any = None

    def execute(self, text: str, values: Any = None, **_more: Any) -> None:
        self.connection.sent.append((text, values))
        # what SQLAlchemy asks of its own has no rows
        unknown: tuple[Any, Any] = (["x"] if text.lstrip().upper().startswith("SELECT") else [], [])
        found = (answer for pattern, *answer in self.connection.answers if re.search(pattern, text))
        columns, rows = next(found, unknown)
        if isinstance(rows, Exception):
            raise rows
        self.description = [item if isinstance(item, tuple) else (item, *[None] * 6) for item in columns] or None
        self.rows = list(rows)

    def setinputsizes(self, *_given: Any, **_more: Any) -> None:
        pass

    def fetchone(self) -> Any:
        return self.rows.pop(0) if self.rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        found, self.rows = self.rows[:size], self.rows[size or len(self.rows) :]
        return found

    def fetchall(self) -> list[Any]:
        return self.fetchmany()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())

    def close(self) -> None:
        pass


def sql_server_of(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> StandIn:
    """A stand-in for a server. What SQLAlchemy asks it first is answered."""
    asked = [("@@version", ["v"], [("Microsoft SQL Server 2022 - 16.0.1000.6",)]), ("schema_name", ["s"], [("dbo",)])]
    stands = StandIn([*answers, *asked])
    monkeypatch.setattr(pymssql, "connect", stands.connect)
    return stands


def oracle_of(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> StandIn:
    stands = StandIn([*answers, ("1.1", ["n"], [("1.1",)])])
    monkeypatch.setattr(oracledb, "connect", stands.connect)
    return stands


DESCRIBED = ["name", "system_type_name", "error_number", "error_message"]
ORDERS = [(*item, None, None) for item in (("id", "int"), ("price", "decimal(18,4)"), ("at", "datetimeoffset(7)"))]
PRINTED = [(1, "0.1000", "2024-06-01 10:00:00.0000000+00:00"), (2, None, None)]


def test_a_table_of_sql_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("describe_first", DESCRIBED, ORDERS), (r"s_r", ["id", "price", "at"], PRINTED)]
    stands = sql_server_of(monkeypatch, *answers)
    incremental = {"cursor": "at", "overlap": "30 minutes"}
    place = place_of(tmp_path, SQL_SERVER, APPEND, table="dbo.Orders", incremental=incremental)
    (item,) = place.look()
    assert place.rows(item) == PRINTED
    assert place.table(item).schema.types == [pa.int64(), pa.string(), pa.string()]
    texts = stands.texts()
    describe, read = (texts.index(next(text for text in texts if part in text)) for part in ("describe_first", "s_r"))
    assert texts.index(SNAPSHOT) < describe < read, "all in one snapshot"
    assert texts[texts.index(SNAPSHOT) + 1] == "COMMIT", "the level counts for the next transaction"
    assert not [text for text in texts[describe:read] if text == "COMMIT"]
    assert stands.sent[describe][1]["s_text"] == "SELECT * FROM [dbo].[Orders]"
    parsed("tsql", texts[read])
    stands.sent.clear()
    assert not place.look(), "rows that were taken are left out"
    text, values = next(item for item in stands.sent if "s_r" in item[0])
    assert "[at] >= CAST(%(s_0)s AS datetimeoffset(7)) OR [at] IS NULL" in text
    assert values == {"s_0": "2024-06-01 09:30:00+00:00"}
    assert stands.closed


def number_of(name: str, precision: int, scale: int) -> tuple[Any, ...]:
    return (name, oracledb.DB_TYPE_NUMBER, None, None, precision, scale, True)


def of_type(name: str, kind: Any) -> tuple[Any, ...]:
    return (name, kind, None, None, None, None, True)


def test_a_query_of_oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [number_of("ID", 10, 0), number_of("PRICE", 0, -127), of_type("AT", oracledb.DB_TYPE_DATE)]
    rows = [(1, ".1", "2024-06-01 10:00:00"), (2, None, None)]
    stands = oracle_of(monkeypatch, (r"1 = 0", columns, []), (r"s_r", columns, rows))
    text = "SELECT * FROM SHOP.ORDERS WHERE {{ last_cursor }} IS NULL OR AT >= {{ last_cursor }}"
    place = place_of(tmp_path, ORACLE, APPEND, query=text, incremental={"cursor": "AT", "overlap": "30 minutes"})
    (item,) = place.look()
    assert place.rows(item) == rows
    assert place.table(item).schema.types == [pa.int64(), pa.string(), pa.string()]
    begins = stands.texts().index("SET TRANSACTION READ ONLY")
    assert "COMMIT" not in stands.texts()[begins:]
    assert stands.texts().index("ALTER SESSION SET TIME_ZONE = '+00:00'") < begins
    stands.sent.clear()
    assert not place.look()
    read, values = next(item for item in reversed(stands.sent) if "s_r" in item[0])
    assert set(values.values()) == {"2024-06-01 09:30:00.000000"}
    assert read.count("TO_TIMESTAMP(:s_") == 2
    parsed("oracle", read)


def test_what_a_server_refuses_is_told_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(name: str, declared: dict[str, Any], **connection: Any) -> DataOpsError:
        with pytest.raises(DataOpsError) as raised:
            place_of(tmp_path / name, declared, FULL, **connection).look()
        return raised.value

    refused = pymssql.OperationalError(3952, b"Snapshot isolation transaction failed accessing database 'shop'")
    sql_server_of(monkeypatch, ("describe_first", DESCRIBED, ORDERS), ("s_r", [], refused))
    found = look("a", SQL_SERVER, table="orders")
    assert isinstance(found, ConfigError)
    assert "ALLOW_SNAPSHOT_ISOLATION ON" in found.next_step
    problem = [(None, None, 208, "Invalid object name 'ordes'.")]
    tables = ("information_schema", ["table_schema", "table_name"], [("dbo", "orders")])
    sql_server_of(monkeypatch, ("describe_first", DESCRIBED, problem), tables)
    found = look("b", SQL_SERVER, table="ordes")
    assert (type(found), found.received, found.known) == (ConfigError, problem[0][3], ("dbo.orders",))
    sql_server_of(monkeypatch, ("describe_first", DESCRIBED, [("place", "geography", None, None)]))
    assert isinstance(look("c", SQL_SERVER, table="orders"), InputError)
    busy = pymssql.OperationalError(1205, b"was deadlocked")
    sql_server_of(monkeypatch, ("describe_first", DESCRIBED, busy))
    assert isinstance(look("d", SQL_SERVER, table="orders"), StorageError)
    missing = oracledb.DatabaseError(SimpleNamespace(code=942, full_code="ORA-00942", isrecoverable=False))
    listed = [("all_tables", ["owner", "table_name"], [("SHOP", "ORDERS")]), ("all_views", ["owner", "view_name"], [])]
    oracle_of(monkeypatch, *listed, ("s_r", [], missing))
    found = look("e", ORACLE, table="shop.orders")
    assert (type(found), found.known, "capitals" in found.next_step) == (ConfigError, ("SHOP.ORDERS",), True)
    old = oracledb.DatabaseError(SimpleNamespace(code=1555, full_code="ORA-01555", isrecoverable=False))
    oracle_of(monkeypatch, ("s_r", [], old))
    assert isinstance(look("f", ORACLE, table="SHOP.ORDERS"), StorageError)


# --- statements ------------------------------------------------------------------------------------------------------

ASKED = Asked(Statement(""), "t", sa.text("t"), "reading")
OF_SQL_SERVER = [
    *("bigint", "bit", "float", "real", "decimal(38,10)", "money", "date", "datetime", "smalldatetime", "time(7)"),
    *("datetime2(7)", "datetimeoffset(7)", "char(3)", "nvarchar(max)", "text", "ntext", "xml", "uniqueidentifier"),
    *("binary(3)", "varbinary(max)", "image", "timestamp"),
]
OF_ORACLE = [
    *("NUMBER", "BINARY_DOUBLE", "VARCHAR", "NCHAR", "CLOB", "RAW", "BLOB", "DATE", "TIMESTAMP", "TIMESTAMP_TZ"),
    # and JSON, of which the parser does not know how it is printed
    *("TIMESTAMP_LTZ", "INTERVAL_DS", "INTERVAL_YM", "ROWID", "BOOLEAN"),
]


def columns_of(kind: str) -> list[Column]:
    if kind == "tsql":
        return [column_of(ASKED, f"a {item}]", item, sql_server.TYPES) for item in OF_SQL_SERVER]
    return [column_of(ASKED, f'a "{item}', f"DB_TYPE_{item}", oracle.TYPES) for item in OF_ORACLE]


def compiled(kind: str, statement: sa.ClauseElement) -> str:
    url = {"tsql": "mssql+pymssql", "oracle": "oracle+oracledb"}[kind]
    dialect = sa.make_url(f"{url}://").get_dialect()
    return str(statement.compile(dialect=dialect(paramstyle="named")))


def parsed(kind: str, text: str) -> exp.Select:
    (found,) = sqlglot.parse(re.sub(r"%\((\w+)\)s", r"@\1", text), dialect=kind)
    assert isinstance(found, exp.Select)
    return found


@pytest.mark.parametrize(("kind", "traits"), [("tsql", sql_server.SQL_SERVER), ("oracle", oracle.ORACLE)])
def test_statements_are_read_by_another_parser(kind: str, traits: Traits) -> None:
    assert traits.dialect == kind
    columns = columns_of(kind)
    moments = {"last_cursor": "2024-01-01 10:00:00.5+00:00", "last_extract": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)}
    given = "SELECT * FROM t WHERE a >= {{ last_cursor }} AND b > {{ last_extract }} AND c = 'x:y%z' -- end"
    text, values = written(Statement(given, moments), traits)
    rows = sa.text(f"({text}\n) s_r").bindparams(**values)
    found = parsed(kind, compiled(kind, selected(rows, columns)))
    assert [item.alias for item in found.selects] == [item.name for item in columns]
    # each value is of its own column alone
    assert [[part.name for part in item.find_all(exp.Column)] for item in found.selects] == [
        [item.name] for item in columns
    ]
    small = [str(place) for place, item in enumerate(columns, 1) if not item.is_large]
    assert [item.this.name for item in found.args["order"].expressions] == small
    inner = found.find(exp.Subquery)
    assert inner is not None
    assert inner.alias == "s_r"
    assert {item.name for item in inner.find_all(exp.Literal)} >= {"x:y%z"}


# written from the manuals of the servers; a change of the code is to be compared with them again
MANUALS = {
    "tsql": {
        "bigint": "[a]",
        "decimal(38,10)": "CONVERT(varchar(50), [a])",
        "money": "CONVERT(varchar(50), [a], 2)",
        "date": "CONVERT(varchar(10), [a], 23)",
        "datetime": "CONVERT(varchar(30), [a], 121)",
        "datetime2(7)": "CONVERT(varchar(30), [a], 121)",
        "datetimeoffset(7)": (
            "CONVERT(varchar(30), CONVERT(datetime2(7), SWITCHOFFSET([a], '+00:00')), 121) + '+00:00'"
        ),
        "time(7)": "CONVERT(varchar(16), [a], 121)",
        "uniqueidentifier": "CONVERT(varchar(36), [a])",
        "varbinary(max)": "[a]",
    },
    "oracle": {
        "NUMBER": """TO_CHAR("a", 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')""",
        "DATE": """LTRIM(TO_CHAR("a", 'SYYYY-MM-DD HH24:MI:SS'))""",
        "TIMESTAMP": """LTRIM(TO_CHAR("a", 'SYYYY-MM-DD HH24:MI:SS.FF9'))""",
        "TIMESTAMP_TZ": """LTRIM(TO_CHAR(SYS_EXTRACT_UTC("a"), 'SYYYY-MM-DD HH24:MI:SS.FF9"+00:00"'))""",
        "TIMESTAMP_LTZ": """LTRIM(TO_CHAR("a", 'SYYYY-MM-DD HH24:MI:SS.FF9"+00:00"'))""",
        "INTERVAL_YM": 'TO_CHAR("a")',
        "JSON": 'JSON_SERIALIZE("a" RETURNING CLOB)',
        "CLOB": '"a"',
    },
}


@pytest.mark.parametrize("kind", MANUALS)
def test_each_type_is_printed_as_the_manual_says(kind: str) -> None:
    prefix, types = ("", sql_server.TYPES) if kind == "tsql" else ("DB_TYPE_", oracle.TYPES)
    columns = [column_of(ASKED, "a", f"{prefix}{item}", types) for item in MANUALS[kind]]
    printed = [named("a") if item.printed is None else item.printed for item in columns]
    assert [compiled(kind, item) for item in printed] == [*MANUALS[kind].values()]


def test_the_styles_of_sql_server_are_those_that_another_translator_knows() -> None:
    """sqlglot translates T-SQL by a table of styles of its own, and DuckDB runs what it gives."""
    for kind, value, text in (
        ("date", "DATE '2024-01-02'", "2024-01-02"),
        ("datetime2(7)", "TIMESTAMP '2024-01-02 03:04:05.678901'", "2024-01-02 03:04:05.678901"),
    ):
        (shown,) = sqlglot.transpile(MANUALS["tsql"][kind], read="tsql", write="duckdb")
        assert duckdb.sql(f"SELECT {shown} FROM (SELECT {value} AS a)").fetchall() == [(text,)]


def test_the_statement_that_asks_for_columns() -> None:
    described = parsed("tsql", compiled("tsql", sql_server.described("SELECT ':a'")))
    assert [item.name for item in described.selects] == DESCRIBED


@pytest.mark.parametrize(
    ("given", "of_sql_server", "of_oracle"),
    [
        ("2024-01-01 10:00:00", ("CAST({} AS datetime2(7))", "2024-01-01 10:00:00"), "2024-01-01 10:00:00.000000"),
        (
            "2024-01-01 10:00:00.25+02:00",
            ("CAST({} AS datetimeoffset(7))", "2024-01-01 10:00:00.250000+02:00"),
            "2024-01-01 08:00:00.250000",
        ),
        ("2024-01-01", ("{}", "2024-01-01"), "2024-01-01 00:00:00.000000"),
        (7, ("{}", 7), 7),
        ("abc", ("{}", "abc"), "abc"),
        (None, ("{}", None), None),
    ],
)
def test_values_are_bound_with_all_their_digits(given: Any, of_sql_server: tuple[str, Any], of_oracle: Any) -> None:
    assert sql_server.given(given) == of_sql_server
    form, value = oracle.given(given)
    assert (value, "TO_TIMESTAMP" in form) == (of_oracle, of_oracle != given)
