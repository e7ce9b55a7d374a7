"""Outputs to tables of real servers: exact values, structure, one transaction, kills, and what others change there."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from database_place import Server
from delivered_outputs import OutputPlace

from dataops_assets.errors import ConfigError, InputError, StorageError

TABLE = {"type": "table", "database": "shop", "table": "things"}
NOON = dt.datetime(2024, 5, 17, 12, 30, 15, 123456, dt.UTC).replace(tzinfo=None)
VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "id": (pa.int64(), [1, -(2**63), 3]),
    "text": (pa.string(), ["", 'it\'s \\ "ä€😀", \n\t%s', None]),
    "number": (pa.float64(), [0.1, -1e300, None]),
    "sum": (
        pa.decimal128(38, 4),
        [decimal.Decimal("1234567890123456789012345678901234.5678"), None, decimal.Decimal(0)],
    ),
    "yes": (pa.bool_(), [True, False, None]),
    "day": (pa.date32(), [dt.date(1000, 1, 1), dt.date(9999, 12, 31), None]),
    "at": (pa.timestamp("us"), [NOON, NOON.replace(year=1700), None]),
    "instant": (
        pa.timestamp("us", "UTC"),
        [NOON.replace(tzinfo=dt.UTC), dt.datetime(1969, 12, 31, 23, tzinfo=dt.UTC), None],
    ),
    "raw": (pa.binary(), [b"", b"\x00\xff'\\", None]),
}


@pytest.fixture(params=["postgres", "mysql"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def every_value() -> pa.Table:
    return pa.table({name: pa.array(values, kind) for name, (kind, values) in VALUES.items()})


def numbered(ids: range, note: str = "a") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "note": pa.array([note] * len(ids), pa.string())})


def place_of(server: Server, home: Path) -> OutputPlace:
    return OutputPlace(home, {"shop": server.declared})


@pytest.mark.parametrize("kind", ["postgres", "mysql", "sqlite", "duckdb"])
def test_every_value_arrives_as_it_is(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind in ("postgres", "mysql"):
        declared = request.getfixturevalue(kind).declared
    else:
        declared = {"type": kind, "path": str(tmp_path / "target")}
    place = OutputPlace(tmp_path, {"shop": declared})
    place.publish(every_value())
    # the comparison reads every value back, so it is the test
    report = place.deliver(TABLE)
    assert [(item.passed, item.numbers["rows compared"]) for item in report.outcomes if item.check == "delivery"] == [
        (True, 3)
    ]
    # a changed decimal is found and written; nothing else
    changed = every_value().set_column(3, "sum", pa.array([decimal.Decimal("0.0001")] * 3, pa.decimal128(38, 4)))
    place.publish(changed)
    assert place.deliver(TABLE, mode="incremental").inputs[0].counts == {
        "rows": 3,
        "inserted": 0,
        "updated": 3,
        "deleted": 0,
    }


def test_a_value_that_the_target_changes_delivers_nothing(server: Server, tmp_path: Path) -> None:
    single = {"postgres": "real", "mysql": "float"}[server.declared["type"]]
    server.run(
        f"CREATE TABLE things (id bigint PRIMARY KEY, note varchar(10), amount {single})",
        "INSERT INTO things VALUES (7, 'old', 1)",
    )
    place = place_of(server, tmp_path)
    place.publish(pa.table({"id": [1, 2], "note": ["x", "y"], "amount": [0.5, 16777217.0]}))
    report = place.deliver(TABLE)
    (check,) = [item for item in report.outcomes if item.check == "delivery"]
    assert not check.passed
    assert "values in the target differ" in check.explanation
    assert "nothing was delivered" in str(report.inputs[0].error) + check.explanation
    assert server.run("SELECT id, note FROM things") == [(7, "old")]


def test_structure_is_created_altered_or_only_checked(server: Server, tmp_path: Path) -> None:
    place = place_of(server, tmp_path)
    place.publish(numbered(range(3)))
    with pytest.raises(ConfigError, match="no such table"):
        place.deliver(TABLE | {"structure": "check"})
    place.deliver(TABLE)
    place.publish(numbered(range(4)).append_column("added", pa.array(["x"] * 4, pa.string())))
    with pytest.raises(ConfigError, match="no column 'added'"):
        place.deliver(TABLE)
    # nothing was written
    assert server.run("SELECT count(*) FROM things") == [(3,)]
    place.deliver(TABLE | {"structure": "alter"})
    assert server.run("SELECT id, added FROM things ORDER BY id") == [(n, "x") for n in range(4)]
    # columns of others stay as they are
    server.run("ALTER TABLE things ADD COLUMN seen integer", "UPDATE things SET seen = 1")
    place.publish(numbered(range(4), "b").append_column("added", pa.array(["y"] * 4, pa.string())))
    place.deliver(TABLE | {"structure": "check"})
    assert server.run("SELECT DISTINCT note, added, seen FROM things") == [("b", "y", 1)]


def test_what_others_change_is_found_and_mended(server: Server, tmp_path: Path) -> None:
    place = place_of(server, tmp_path)
    place.publish(numbered(range(5)))
    place.deliver(TABLE, mode="incremental", deletes="soft")
    server.run("DELETE FROM things WHERE id = 3")
    report = place.deliver(TABLE, mode="incremental", deletes="soft")
    assert report.inputs[0].counts["inserted"] == 1
    place.publish(numbered(range(1, 5)))
    place.deliver(TABLE, mode="incremental", deletes="soft")
    assert [row[0] for row in server.run("SELECT id FROM things WHERE is_deleted")] == [0]
    place.publish(numbered(range(5)))
    place.deliver(TABLE, mode="incremental", deletes="soft")
    assert server.run("SELECT id FROM things WHERE is_deleted") == []


def test_keys_that_are_null_or_twice_deliver_nothing(postgres: Server, tmp_path: Path) -> None:
    place = place_of(postgres, tmp_path)
    place.publish(pa.table({"id": [1, 1, 2], "note": ["a", "b", "c"]}))
    with pytest.raises(InputError, match=r"1 keys that occur in more than one row; e.g. id=1"):
        place.deliver(TABLE)
    place.publish(pa.table({"id": pa.array([1, None], pa.int64()), "note": ["a", "b"]}))
    with pytest.raises(InputError, match="1 rows without a value"):
        place.deliver(TABLE)
    with pytest.raises(InputError, match=r"2 values that do not fit; e.g. 'a', 'b'"):
        place.deliver(TABLE, columns=[{"name": "note", "type": "integer"}])


def test_an_unreachable_server_may_be_tried_again(postgres: Server, tmp_path: Path) -> None:
    place = OutputPlace(tmp_path, {"shop": {**postgres.declared, "port": 1}})
    place.publish(numbered(range(2)))
    with pytest.raises(StorageError, match="connecting to PostgreSQL"):
        place.deliver(TABLE)


_CHILD = """
import json, sys
from pathlib import Path
from delivered_outputs import OutputPlace
home, databases, to = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
print("begins", flush=True)
OutputPlace(Path(home), databases).deliver(to, mode="incremental")
"""
_SLOW = {
    "postgres": [
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$",
        "CREATE TRIGGER slow BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION slow()",
    ],
    "mysql": [
        "CREATE TRIGGER slow BEFORE INSERT ON things FOR EACH ROW SET @slept = SLEEP(0.02)",
    ],
}
_FAST = {"postgres": "DROP TRIGGER slow ON things", "mysql": "DROP TRIGGER slow"}
_BUSY = {
    "postgres": "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO \"things\"%' AND state = 'active'",
    "mysql": "SELECT count(*) > 0 FROM information_schema.processlist WHERE state = 'User sleep'",
}


def test_a_delivery_that_is_killed_changes_nothing_and_is_made_again(server: Server, tmp_path: Path) -> None:
    place = place_of(server, tmp_path)
    place.publish(numbered(range(10)))
    place.deliver(TABLE, mode="incremental")
    kind = server.declared["type"]
    server.run(*_SLOW[kind])
    place.publish(numbered(range(5, 1000), "b"))
    search = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", _CHILD, str(tmp_path), json.dumps(place.databases), json.dumps(TABLE)]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": search}, stdout=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while server.run(_BUSY[kind]) == [(0,)]:
            assert child.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert server.run("SELECT min(id), max(id), max(note), count(*) FROM things") == [(0, 9, "a", 10)]
    # the server ends the transaction of a client that is gone when it answers it
    _until(lambda: server.run(_BUSY[kind]) == [(0,)])
    server.run(_FAST[kind])
    report = place.deliver(TABLE, mode="incremental")
    assert server.run("SELECT min(id), max(id), min(note), count(*) FROM things") == [(5, 999, "b", 995)]
    assert report.notes["delivery"] == 2
    assert place.deliver(TABLE, mode="incremental").notes["skipped"]


def _until(holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
