"""The log of MariaDB becomes inputs: each committed change once, in its order, whatever dies and whoever writes."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from change_log import ACTS, TABLE, Writers, act, folded, hub_of, records, records_of, require_each_once, rows_of
from database_place import DatabasePlace, Server, place_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.errors import ConfigError, DataOpsError, InputError
from dataops_assets.operations.connections import ConnectionReport, examine


def place(home: Path, server: Server, table: str = "t", **connection: Any) -> DatabasePlace:
    whole = f"{server.declared['database']}.{table}"
    return place_of(home, server.declared, type="replication", table=whole, every="PT0S", **connection)


class MariaWriters(Writers):
    """They write as MariaDB takes it."""

    write = "INSERT INTO {} VALUES (%s, %s, %s) ON DUPLICATE KEY UPDATE note = VALUES(note), serial = VALUES(serial)"
    other_key = "UPDATE IGNORE {} SET id = id + 5 WHERE id = %s AND %s > 0"

    def __init__(self, server: Server, table: str) -> None:
        super().__init__(server, table)
        for connection in self.connections:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute("SET SESSION innodb_lock_wait_timeout = 5")


def test_law_of_the_log(mysql: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is written, rolled back, looked at and killed: the records give the table when all have ended.

    No change is there twice, and a compressed log gives the same rows.
    """
    home = tmp_path_factory.mktemp("log")

    @settings(max_examples=8, deadline=None)
    @given(st.lists(ACTS, min_size=6, max_size=40), st.booleans(), st.sampled_from((1, 3, 1000)))
    def law(acts: list[tuple[str, int, int]], compressed: bool, most: int) -> None:
        number = len(list(home.iterdir()))
        table = f"t{number}"
        mysql.run(
            f"SET GLOBAL log_bin_compress = {compressed:d}, GLOBAL log_bin_compress_min_len = 10",
            TABLE.format(table),
            f"INSERT INTO {table} VALUES (1, 'first', 0), (99, NULL, NULL)",
        )
        here = place(home / str(number), mysql, table, most_changes=most)
        writers = MariaWriters(mysql, table)
        try:
            for step in acts:
                act(writers, here, step)
            writers.end()
            here.look()
            here.look()
        finally:
            writers.close()
        found = records(here)
        assert folded(found) == rows_of(mysql, table)
        require_each_once(found)

    try:
        law()
    finally:
        mysql.run("SET GLOBAL log_bin_compress = 0")


def test_what_was_rolled_back_does_not_count_where_the_log_has_it(mysql: Server, tmp_path: Path) -> None:
    """The log has rows of transactions that were rolled back, if these also did what cannot be rolled back."""
    mysql.run(TABLE.format("t"), "CREATE TABLE beside (a integer) ENGINE = MyISAM")
    here = place(tmp_path, mysql)
    here.look()
    insert = "INSERT INTO t VALUES ({}, uuid(), 1)"
    mysql.run(
        "SET SESSION binlog_format = 'MIXED'",
        "BEGIN",
        *(insert.format(1), "SAVEPOINT s", insert.format(2), "INSERT INTO beside VALUES (1)", "ROLLBACK TO s"),
        *(insert.format(3), "COMMIT"),
        *("BEGIN", insert.format(4), "CREATE TEMPORARY TABLE other (a integer)", "ROLLBACK"),
        *("BEGIN", insert.format(5), "COMMIT"),
    )
    here.look()
    assert [record["after"]["id"] for record in records(here)] == ["1", "3", "5"]
    assert folded(records(here)) == rows_of(mysql, "t")


def values(here: DatabasePlace) -> list[dict[str, str | None]]:
    return [record["after"] for record in records(here)]


# what is inserted, and its text: that of a SELECT, but for bytes and for floats with more than six digits
KINDS: dict[str, tuple[str, str]] = {
    "a tinyint unsigned": ("255", "255"),
    "a2 tinyint": ("-128", "-128"),
    "b smallint unsigned": ("65535", "65535"),
    "c mediumint": ("-8388608", "-8388608"),
    "c2 mediumint unsigned": ("16777215", "16777215"),
    "d int unsigned zerofill": ("42", "42"),
    "e bigint": ("-9223372036854775808", "-9223372036854775808"),
    "e2 bigint unsigned": ("18446744073709551615", "18446744073709551615"),
    "f decimal(30,10)": ("-0.0000000001", "-0.0000000001"),
    "f2 decimal(65,30)": ("12345678901234567890.123456789012345678901234567891",) * 2,
    "f3 decimal(4,0) zerofill": ("7", "7"),
    "f4 decimal(3,3)": ("-0.125", "-0.125"),
    "g float": ("0.1", "0.1"),
    "g2 float": ("16777215", "16777215"),
    "h double": ("1.7976931348623157e308", "1.7976931348623157e+308"),
    "h2 double(9,2)": ("-3", "-3"),
    "i date": ("'0000-00-00'", "0000-00-00"),
    "i2 date": ("'9999-12-31'", "9999-12-31"),
    "j datetime": ("'2024-00-00 00:00:00'", "2024-00-00 00:00:00"),
    "j2 datetime(6)": ("'2024-01-01 00:00:00.000001'", "2024-01-01 00:00:00.000001"),
    "j3 datetime(3)": ("'1000-01-01 23:59:59.01'", "1000-01-01 23:59:59.010"),
    "k timestamp null": ("'2024-07-01 10:00:00'", "2024-07-01 08:00:00"),
    "k2 timestamp(6) null": ("'2024-07-01 10:00:00.000001'", "2024-07-01 08:00:00.000001"),
    "k3 timestamp(2) null": ("0", "0000-00-00 00:00:00.00"),
    "l time": ("'-838:59:59'", "-838:59:59"),
    "l2 time(6)": ("'-00:00:00.000001'", "-00:00:00.000001"),
    "l3 time(1)": ("'-01:02:03.5'", "-01:02:03.5"),
    "l4 time(4)": ("'100:00:00.0001'", "100:00:00.0001"),
    "m year": ("2155", "2155"),
    "m2 year": ("0", "0000"),
    "n bit(10)": ("b'1000000001'", "513"),
    "n2 bit(64)": ("~0", "18446744073709551615"),
    "o blob": ("x'00ff'", r"\x00ff"),
    "o2 varbinary(300)": ("x'ff00'", r"\xff00"),
    "o3 binary(3)": ("x'ff00'", r"\xff0000"),
    "p text": ("'é€😀'", "é€😀"),
    "p2 longtext": ("repeat('é', 70000)", "é" * 70000),
    "p3 varchar(20) character set latin1": ("'é€'", "é€"),
    "p4 char(255)": ("'null  '", "null"),
    "p5 varchar(9)": ("''", ""),
    "p6 char(3) character set ucs2": ("'é€'", "é€"),
    "q json": ('\'{"a": 1.10,  "b": null}\'', '{"a": 1.10,  "b": null}'),
    "r enum('a','é','c') character set latin1": ("'é'", "é"),
    "r2 enum('a','b')": ("'nope'", ""),
    "s set('z','y','x')": ("'x,z'", "z,x"),
    "s2 set('a','b')": ("''", ""),
    "t boolean": ("true", "1"),
    "u uuid": ("'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000"),
    "u2 inet6": ("'::ffff:192.0.2.128'", "::ffff:192.0.2.128"),
    "u3 inet4": ("'10.0.0.0'", "10.0.0.0"),
    "v int invisible": ("4", "4"),
}
NAMES = [kind.split()[0] for kind in KINDS]


def test_each_type_has_the_same_text_in_the_rows_and_in_the_changes(mysql: Server, tmp_path: Path) -> None:
    columns = ", ".join([*KINDS, "w int AS (v + 1) VIRTUAL", "w2 int AS (v + 2) STORED"])
    mysql.run("SET sql_mode = ''", f"CREATE TABLE t ({columns}) CHARACTER SET utf8mb4")
    here = place(tmp_path, mysql)
    here.look()
    connection = mysql.connect()
    with connection.cursor() as cursor:
        cursor.execute("SET sql_mode = '', time_zone = '+02:00'")
        for row in ([value for value, _ in KINDS.values()], ["NULL"] * len(KINDS)):
            cursor.execute(f"INSERT INTO t ({', '.join(NAMES)}) VALUES ({', '.join(row)})")
    connection.close()
    here.look()
    wanted = {name: text for name, (_, text) in zip(NAMES, KINDS.values(), strict=True)}
    assert values(here)[0] == {**wanted, "w": "5", "w2": "6"}
    assert set(values(here)[1].values()) == {None}
    rows = place(tmp_path / "rows", mysql)
    rows.look()
    assert values(rows) == values(here)


def drawn() -> Any:
    """Values of the types that have many forms, within their ranges."""
    first, last = (dt.datetime.fromisoformat(text) for text in ("1000-01-01", "9999-12-31T23:00"))
    moments = st.datetimes(first, last)
    seconds = st.integers(1, 2**31 - 1)
    return st.tuples(
        st.decimals(-(10**20), 10**20, places=7),
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        moments,
        moments,
        seconds.map(lambda value: dt.datetime.fromtimestamp(value, dt.UTC).replace(tzinfo=None)),
        st.timedeltas(dt.timedelta(hours=-838), dt.timedelta(hours=838)),
        st.timedeltas(dt.timedelta(hours=-838), dt.timedelta(hours=838)),
        st.binary(max_size=8),
        st.binary(max_size=40),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        st.integers(0, 2**33 - 1),
        st.integers(0, 2**63 - 1),
    )


def test_drawn_values_have_the_same_text_in_the_rows_and_in_the_changes(
    mysql: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mysql.run(
        "CREATE TABLE t (a decimal(38,7), b double, c float, d datetime(6), e datetime(2), f timestamp(4) NULL, "
        "g time(6), h time(3), i binary(8), j varbinary(300), k text, l bit(33), m bigint unsigned)"
        " CHARACTER SET utf8mb4"
    )
    here = place(tmp_path_factory.mktemp("log"), mysql)
    here.look()

    @settings(max_examples=8, deadline=None)
    @given(st.lists(drawn(), min_size=1, max_size=5))
    def law(rows: list[tuple[Any, ...]]) -> None:
        mysql.run("DELETE FROM t")
        here.look()
        connection = mysql.connect()
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', sql_mode = ''")
            cursor.executemany(f"INSERT INTO t VALUES ({', '.join(['%s'] * 13)})", rows)
        connection.close()
        (item,) = here.look()
        changed = [record["after"] for record in records_of(here, item)]
        beginning = place(tmp_path_factory.mktemp("rows"), mysql)
        beginning.look()
        assert values(beginning) == changed
        for given_row, row in zip(rows, changed, strict=True):
            assert float(row["b"] or "") == given_row[1]
            assert np.float32(row["c"]) == given_row[2]

    law()


def test_from_the_log_to_the_hub(mysql: Server, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Snapshot and changes give the values of the table; a truncated table is empty, and a later look goes on."""
    source = {
        "name": "orders",
        "area": "shop",
        "connection": {
            "type": "replication",
            "database": "shop",
            "table": f"{mysql.declared['database']}.orders",
            "every": "PT0S",
        },
        "envelope": "replication",
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "amount", "type": "decimal(18,4)"},
            {"name": "at", "type": "timestamptz"},
            {"name": "kind"},
            {"name": "photo"},
        ],
        "refresh": {"type": "key", "key": ["id"]},
        "gates": {"deletes": {"max_share": 1.0}},
    }
    names = ("id", "amount", "kind", "photo")
    mysql.run(
        "CREATE TABLE orders (id bigint PRIMARY KEY, amount decimal(18,4), at timestamp(6) NULL, "
        "kind set('a','b'), photo blob)",
        "INSERT INTO orders VALUES (1, 12345678901234.5678, '2024-05-04 10:00', 'b,a', x'00ff41'), "
        "(2, NULL, NULL, NULL, NULL), (3, 3, now(), '', '')",
    )

    def there() -> list[tuple[Any, ...]]:
        rows = mysql.run(r"SELECT id, amount, kind, concat('\\x', lower(hex(photo))) FROM orders ORDER BY id")
        return [tuple(None if value is None else str(value) for value in row) for row in rows]

    with hub_of(mysql, source, instance, tmp_path) as taken:
        assert taken(*names) == there()
        mysql.run(
            "TRUNCATE orders",
            "INSERT INTO orders VALUES (2, NULL, NULL, NULL, NULL), (3, 3, now(), '', ''), (5, 5, now(), 'a', NULL)",
            "UPDATE orders SET amount = 2, photo = x'ff' WHERE id = 5",
            "DELETE FROM orders WHERE id = 3",
            "UPDATE orders SET id = 20 WHERE id = 2",
        )
        assert taken(*names) == there()


def refused(here: DatabasePlace, **changes: Any) -> DataOpsError:
    with pytest.raises(DataOpsError) as refusal:
        here.look(**changes)
    return refusal.value


def starting_again(here: DatabasePlace) -> Any:
    return here.source.model_copy(update={"connection": here.source.connection.model_copy(update={"lost": "snapshot"})})


def test_changes_that_are_gone_are_told_and_the_table_can_be_read_again(mysql: Server, tmp_path: Path) -> None:
    mysql.run(TABLE.format("t"), "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)")
    here = place(tmp_path, mysql)
    here.look()
    mysql.run("DELETE FROM t WHERE id = 1", "FLUSH BINARY LOGS")
    ((newest, *_),) = mysql.run("SHOW MASTER STATUS")
    # a file is kept as long as a thread of the server sends it
    for _ in range(100):
        mysql.run(f"PURGE BINARY LOGS TO '{newest}'")
        if len(mysql.run("SHOW BINARY LOGS")) == 1:
            break
        time.sleep(0.1)
    error = refused(here)
    assert isinstance(error, InputError)
    assert "purged" in error.received
    assert "lost to snapshot" in error.next_step
    here.look(source=starting_again(here))
    assert [record["op"] for record in records(here)] == ["r", "r", "t", "r"]
    assert folded(records(here)) == rows_of(mysql, "t")
    arrivals = here.metadata.arrivals("orders")
    assert next(arrival.note for arrival in arrivals if arrival.note).startswith("begun again with all rows, because")
    # the numbers of transactions begin again, and more of them than before
    mysql.run("RESET MASTER", *[f"INSERT INTO t VALUES ({key}, NULL, 0)" for key in range(10, 40)])
    assert "before" in refused(here).received or "begins anew" in refused(here).received
    here.look(source=starting_again(here))
    mysql.run("DELETE FROM t WHERE id = 10")
    here.look()
    assert folded(records(here)) == rows_of(mysql, "t")
    orders = [record["source"]["lsn"] for record in records(here)]
    assert orders == sorted(orders)


def test_a_log_that_begins_anew_is_found_by_its_file(mysql: Server, tmp_path: Path) -> None:
    mysql.run(TABLE.format("t"), "RESET MASTER", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (1, NULL, 0)")
    here = place(tmp_path, mysql)
    here.look()
    # more transactions than before, so that their numbers alone do not tell
    mysql.run("RESET MASTER", *[f"INSERT INTO t VALUES ({key}, NULL, 0)" for key in range(10, 20)])
    assert "begins anew" in refused(here).received


STRUCTURE = {
    "ALTER TABLE t MODIFY note varchar(1)": ["UPDATE t SET note = 'x'"],
    "DROP TABLE t": [TABLE.format("t"), "INSERT INTO t VALUES (7, 'x', 7)"],
    "SET STATEMENT binlog_format = 'STATEMENT' FOR UPDATE t SET serial = 9": [],
    "SET STATEMENT binlog_row_image = 'MINIMAL' FOR UPDATE t SET serial = 9 WHERE id = 2": [],
}


@pytest.mark.parametrize("statement", STRUCTURE)
def test_what_the_log_does_not_tell_ends_the_input_before_it(statement: str, mysql: Server, tmp_path: Path) -> None:
    mysql.run(TABLE.format("t"))
    here = place(tmp_path, mysql)
    here.look()
    mysql.run("SET sql_mode = ''", "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)")
    connection = mysql.connect()
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()
    mysql.run(*STRUCTURE[statement], "INSERT INTO t (id) VALUES (3)")
    assert "changes that were not read are gone" in refused(here).received
    # what is before it was taken
    here.inputs = list(here.metadata.inputs("orders"))
    assert [record["op"] for record in records(here)] == ["c", "c"]
    here.look(source=starting_again(here))
    rows = {key: {name: row[name] for name in ("id", "note", "serial")} for key, row in folded(records(here)).items()}
    assert rows == rows_of(mysql, "t")


def test_a_prepared_transaction_of_xa_is_told(mysql: Server, tmp_path: Path) -> None:
    mysql.run(TABLE.format("t"))
    here = place(tmp_path, mysql)
    here.look()
    mysql.run("XA START 'x'", "INSERT INTO t VALUES (1, 'a', 1)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'")
    assert "a transaction of XA" in refused(here).received


def examined(here: DatabasePlace) -> ConnectionReport:
    """What `dataops connections test` finds."""
    (report,) = examine(here.databases, {"orders": here.source}, here.metadata.positions, {})
    return report


SETTINGS = {"binlog_format": "MIXED", "binlog_row_image": "MINIMAL", "binlog_row_metadata": "MINIMAL"}


def test_what_is_missing_says_what_to_do(mysql: Server, tmp_path: Path) -> None:
    name = mysql.declared["database"]
    mysql.run(
        TABLE.format("t"),
        "CREATE TABLE loose (id integer PRIMARY KEY) ENGINE = MyISAM",
        "CREATE TABLE part (id integer PRIMARY KEY, t integer REFERENCES t (id) ON DELETE CASCADE)",
        f"CREATE USER reader@'127.0.0.1' IDENTIFIED BY '{mysql.password.replace(chr(39), chr(39) * 2)}'",
        f"GRANT SELECT ON {name}.* TO reader@'127.0.0.1'",
    )
    reader = Server({**mysql.declared, "user": "reader"}, mysql.password)
    try:
        for right in ("BINLOG MONITOR", "REPLICATION SLAVE"):
            here = place(tmp_path / right[0], reader)
            error = refused(here)
            assert right in error.received
            assert "GRANT REPLICATION SLAVE, BINLOG MONITOR" in error.next_step
            assert error.next_step == examined(here).next_step
            mysql.run(f"GRANT {right} ON *.* TO reader@'127.0.0.1'")
        here = place(tmp_path / "rights", reader)
        here.look()
        for setting, value in SETTINGS.items():
            ((usual,),) = mysql.run(f"SELECT @@global.{setting}")
            mysql.run(f"SET GLOBAL {setting} = '{value}'")
            try:
                error = refused(here)
                assert isinstance(error, ConfigError)
                assert f"{setting} = {value}" in error.received
                assert examined(here).sources[0].problem == error.received
                assert f"set {setting} = {usual}" in error.next_step
            finally:
                mysql.run(f"SET GLOBAL {setting} = '{usual}'")
        assert examined(here).is_well
        assert "cascade" in refused(place(tmp_path / "part", reader, "part")).received
        assert "MyISAM" in refused(place(tmp_path / "loose", reader, "loose")).received
        assert "no such table" in refused(place(tmp_path / "none", reader, "T")).received
        with_slot = place(tmp_path / "slot", reader, slot="x")
        assert "connection.slot" in refused(with_slot).received
    finally:
        mysql.run("DROP USER reader@'127.0.0.1'")
