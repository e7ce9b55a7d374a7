"""Snowflake as a source and as a target, against an emulator (fakesnow): one driver, one dialect, the laws of all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from database_place import Server, place_of
from delivered_outputs import OutputPlace
from sqlglot import exp
from test_output_tables import TABLE, every_value, numbered

from dataops_assets.config.databases import SnowflakeDatabase
from dataops_assets.connections.databases.opening import database_of
from dataops_assets.connections.databases.snowflake_writer import SnowflakeWriter
from dataops_assets.errors import ConfigError, StorageError

FULL = {"type": "full", "key": ["id"]}
EVERY = """
CREATE TABLE "every" ("id" BIGINT, "small" NUMBER(18,0), "amount" NUMBER(38,4), "text" VARCHAR, "double" DOUBLE,
  "yes" BOOLEAN, "day" DATE, "at" TIMESTAMP_NTZ(6), "instant" TIMESTAMP_TZ(6), "clock" TIME, "raw" BINARY,
  "json" VARIANT)
"""
ROWS = """
INSERT INTO "every" SELECT 2, -5, -0.5, '', 0.1, FALSE, '9999-12-31', '1700-01-01', '1969-12-31 23:00:00.5+00:00',
  '23:59:59', TO_BINARY('00ff', 'HEX'), PARSE_JSON('{"a": [1, null]}')
"""


def test_every_type_is_read_as_declared_and_in_one_order(snowflake: Server, tmp_path: Path) -> None:
    nulls = 'INSERT INTO "every" ("id") SELECT 3'
    large = (
        'INSERT INTO "every" ("id", "amount", "text") '
        "SELECT 1, 1234567890123456789012345678901234.5678, 'it''s \"ä€😀\" %s {{ x }}'"
    )
    snowflake.run(EVERY, ROWS, nulls, large)
    place = place_of(tmp_path / "home", snowflake.declared, FULL, table="PUBLIC.every")
    (first,) = place.look()
    assert [row[1:] for row in place.rows(first)] == [
        (None, "1234567890123456789012345678901234.5678", 'it\'s "ä€😀" %s {{ x }}', *[None] * 8),
        (
            *(-5, "-0.5000", "", 0.1, False, "9999-12-31", "1700-01-01 00:00:00", "1969-12-31 23:00:00.5+00:00"),
            *("23:59:59", b"\x00\xff", '{"a":[1,null]}'),
        ),
        tuple([None] * 11),
    ]
    kinds = dict(zip(place.table(first).column_names, place.table(first).schema.types, strict=True))
    assert kinds == dict.fromkeys(kinds, pa.string()) | {
        "small": pa.int64(),
        "double": pa.float64(),
        "yes": pa.bool_(),
        "raw": pa.binary(),
    }
    # the rows are stored in another order
    snowflake.run('DELETE FROM "every" WHERE "id" = 2', ROWS)
    assert not place.look(), "the same content"


def test_a_query_has_bound_values_and_a_cursor_takes_what_is_new(snowflake: Server, tmp_path: Path) -> None:
    snowflake.run(
        'CREATE TABLE "orders" ("id" BIGINT, "at" TIMESTAMP_TZ)',
        "INSERT INTO \"orders\" VALUES (1, '2024-01-01 10:00:00+00:00'), (2, '2024-01-01 11:00:00+00:00')",
    )
    text = """SELECT "id", "at" FROM "orders" WHERE '?%' <> '{}' AND {{ last_extract }} IS NULL -- all"""
    asked = place_of(tmp_path / "query", snowflake.declared, FULL, query=text)
    assert len(asked.rows(asked.look()[0])) == 2
    (later,) = asked.look()
    assert asked.rows(later) == []
    cursor = {"cursor": "at", "overlap": "30 minutes"}
    place = place_of(tmp_path / "cursor", snowflake.declared, {"type": "append"}, table="orders", incremental=cursor)
    assert [row[0] for row in place.rows(place.look()[0])] == ["1", "2"]
    snowflake.run("INSERT INTO \"orders\" VALUES (3, '2024-01-01 10:40:00+00:00'), (4, '2024-01-01 10:10:00+00:00')")
    assert [row[0] for row in place.rows(place.look()[0])] == ["3"], "the overlap, and no row twice"
    assert not place.look()


def test_errors_say_what_is_wrong(snowflake: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snowflake.run('CREATE TABLE "orders" ("id" BIGINT)')
    with pytest.raises(ConfigError, match=r"(?s)ordes.*PUBLIC\.orders"):
        place_of(tmp_path / "a", snowflake.declared, FULL, table="ordes").look()
    with pytest.raises(ConfigError, match="NOTHERE"):
        place_of(tmp_path / "b", snowflake.declared, FULL, query='SELECT nothere FROM "orders"').look()
    twice = place_of(tmp_path / "c", snowflake.declared, FULL, query="SELECT 1 AS id, 2 AS id")
    with pytest.raises(Exception, match="two columns named"):
        twice.look()
    from dataops_assets.connections.databases import snowflake as driver

    monkeypatch.setattr(driver, "LOGIN_SECONDS", 1)
    away = place_of(tmp_path / "d", {**snowflake.declared, "port": 1}, FULL, table="orders")
    with pytest.raises(StorageError, match="connecting to Snowflake") as raised:
        away.look()
    assert snowflake.password not in str(raised.value)


def test_every_value_arrives_as_it_is(snowflake: Server, tmp_path: Path) -> None:
    place = OutputPlace(tmp_path, {"shop": snowflake.declared})
    place.publish(every_value())
    # the comparison reads every value back
    report = place.deliver(TABLE, mode="incremental")
    assert [(item.passed, item.numbers["rows compared"]) for item in report.outcomes if item.check == "delivery"] == [
        (True, 3)
    ]
    assert place.deliver(TABLE, mode="incremental").notes["skipped"]
    changed = every_value().set_column(1, "text", pa.array(["a", None, ""]))
    place.publish(changed)
    counts = place.deliver(TABLE, mode="incremental").inputs[0].counts
    assert counts == {"rows": 3, "inserted": 0, "updated": 3, "deleted": 0}


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_rows_follow_the_hub(snowflake: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletes: str) -> None:
    place = OutputPlace(tmp_path, {"shop": snowflake.declared})
    place.publish(numbered(range(5)))
    place.deliver(TABLE, mode="incremental", deletes=deletes)
    place.publish(numbered(range(3, 7), "b"))
    with recorded(monkeypatch) as sent:
        counts = place.deliver(TABLE, mode="incremental", deletes=deletes).inputs[0].counts
    assert counts == {"rows": 4, "inserted": 2, "updated": 2, "deleted": 3}
    changed = [(n, "b") for n in range(3, 7)]
    gone = [(n, "a", True) for n in range(3)]
    assert snowflake.run('SELECT * FROM "things" ORDER BY 1') == (
        changed if deletes == "hard" else [*gone, *[(*row, False) for row in changed]]
    )
    # what others remove is found and mended
    snowflake.run('DELETE FROM "things" WHERE "id" = 5')
    assert place.deliver(TABLE, mode="incremental", deletes="hard").inputs[0].counts["inserted"] == 1
    assert snowflake.run('SELECT "delivery", "delivered_rows" FROM "dataops_outputs"') == [(3, 4)]
    # the emulator has no locks, structure ends no transaction there, and the case of names does not count: so look at
    # what it was sent
    inside = sent[sent.index("BEGIN") + 1 : sent.index("COMMIT")]
    assert {text.split()[0] for text in inside} == {"INSERT", "UPDATE", "SELECT"} | (
        {"DELETE"} if deletes == "hard" else set()
    )
    locks = next(place for place, text in enumerate(inside) if text.startswith('UPDATE "dataops_outputs" SET "output"'))
    reads = next(place for place, text in enumerate(inside) if text.startswith('SELECT "p"."source",'))
    assert locks < reads, "the position is read under its lock"
    for text in inside:
        assert all(name.quoted for name in sqlglot.parse_one(text, dialect="snowflake").find_all(exp.Identifier)), text


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that the driver sends."""
    from snowflake.connector.cursor import SnowflakeCursor

    sent: list[str] = []
    execute = SnowflakeCursor.execute

    def record(cursor: Any, command: str, *args: Any, **more: Any) -> Any:
        sent.append(command)
        return execute(cursor, command, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(SnowflakeCursor, "execute", record)
        yield sent


def test_structure_and_a_delivery_that_fails(
    snowflake: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = OutputPlace(tmp_path, {"shop": snowflake.declared})
    place.publish(numbered(range(3)))
    with pytest.raises(ConfigError, match="no such table"):
        place.deliver(TABLE | {"structure": "check"})
    place.deliver(TABLE)
    wider = numbered(range(4), "b").append_column("added", pa.array(["x"] * 4))
    place.publish(wider)
    with pytest.raises(ConfigError, match="no column 'added'"):
        place.deliver(TABLE)
    with monkeypatch.context() as patched:
        patched.setattr(SnowflakeWriter, "commit", _fails)
        with pytest.raises(StorageError, match="cut"):
            place.deliver(TABLE | {"structure": "alter"})
    assert snowflake.run('SELECT count(*) FROM "things" WHERE "note" = \'b\'') == [(0,)]
    place.deliver(TABLE | {"structure": "check"})
    assert snowflake.run('SELECT "id", "note", "added" FROM "things" ORDER BY 1') == [(n, "b", "x") for n in range(4)]
    # a table without a key is replaced as a whole
    place.publish(numbered(range(2), "c"))
    keyless = [{"name": "note"}]
    there = TABLE | {"table": "PUBLIC.notes"}
    place.deliver(there, columns=keyless)
    place.publish(numbered(range(3), "d"))
    assert place.deliver(there, columns=keyless).inputs[0].counts["deleted"] == 2
    assert snowflake.run('SELECT * FROM "notes"') == [("d",)] * 3


def test_a_value_that_the_target_changes_delivers_nothing(snowflake: Server, tmp_path: Path) -> None:
    place = OutputPlace(tmp_path, {"shop": snowflake.declared})
    snowflake.run('CREATE TABLE "rounded" ("id" BIGINT, "note" NUMBER(10, 1))', 'INSERT INTO "rounded" VALUES (7, 0.5)')
    place.publish(pa.table({"id": [1, 2], "note": [0.5, 0.25]}))
    report = place.deliver(TABLE | {"table": "rounded"})
    (check,) = [item for item in report.outcomes if item.check == "delivery"]
    assert (check.passed, "values in the target differ" in check.explanation) == (False, True)
    assert snowflake.run('SELECT "id" FROM "rounded"') == [(7,)]


def _fails(_self: Any) -> None:
    raise StorageError("committing", received="the line was cut", next_step="try again")


def test_a_key_logs_in_and_a_wrong_one_is_refused(snowflake: Server, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*private))
    declared = {name: value for name, value in snowflake.declared.items() if name != "password"}
    with database_of(
        SnowflakeDatabase.model_validate(declared | {"private_key": {"file": str(tmp_path / "key.pem")}})
    ).snapshot() as opened:
        assert opened.server().startswith("Snowflake ")
        assert opened.tables() == []
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(ConfigError, match="PEM form"):
        place_of(tmp_path, declared | {"private_key": {"file": str(tmp_path / "key.pem")}}, table="t").look()
    with pytest.raises(ValueError, match="either password or private_key"):
        SnowflakeDatabase.model_validate(declared)
