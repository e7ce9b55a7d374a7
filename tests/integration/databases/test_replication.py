"""The log of PostgreSQL becomes inputs: each committed change once, in its order, whatever dies and whoever writes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from change_log import ACTS, TABLE, Killed, Writers, act, folded, hub_of, records, require_each_once, rows_of
from database_place import DatabasePlace, Server, place_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.connections.databases.pgoutput import UNCHANGED
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.metadata.position_store import FinishedLook, PositionStore

EVERY_TICK = {"every": "PT0S"}


def place(home: Path, server: Server, slot: str, table: str = "public.t", **connection: Any) -> DatabasePlace:
    return place_of(home, server.declared, type="replication", table=table, slot=slot, **EVERY_TICK, **connection)


def test_law_of_the_log(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is written, rolled back, looked at and killed: the records give the table when all have ended.

    No change is there twice, and a full replica identity gives the same rows.
    """
    home = tmp_path_factory.mktemp("log")

    @settings(max_examples=8, deadline=None)
    @given(st.lists(ACTS, min_size=6, max_size=40), st.booleans(), st.sampled_from((1, 3, 1000)))
    def law(acts: list[tuple[str, int, int]], full: bool, most: int) -> None:
        number = len(list(home.iterdir()))
        table = f"public.t{number}"
        postgres.run(TABLE.format(table), f"INSERT INTO {table} VALUES (1, 'first', 0), (99, NULL, NULL)")
        if full:
            postgres.run(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
        here = place(home / str(number), postgres, f"law_{number}", table, most_changes=most)
        writers = Writers(postgres, table)
        try:
            for step in acts:
                act(writers, here, step, can_look=not begins(here))
            writers.end()
            here.look()
            here.look()
            here.look()
        finally:
            writers.close()
            postgres.run(f"SELECT pg_drop_replication_slot('law_{number}')")
        found = records(here)
        assert folded(found) == rows_of(postgres, table)
        require_each_once(found)

    def begins(here: DatabasePlace) -> bool:
        """The slot waits for open transactions when it is made, so a single thread cannot make it in between."""
        return not here.metadata.positions.last_look("orders").position and bool(
            postgres.run("SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
        )

    law()


def test_a_look_killed_while_the_slot_is_made_begins_again(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run(TABLE.format("t"), "INSERT INTO t VALUES (1, 'a', 1)")
    here = place(tmp_path, postgres, "killed")
    recorded = PositionStore.record

    def record(self: PositionStore, done: FinishedLook) -> None:
        if done.item is not None:
            raise Killed
        recorded(self, done)

    with monkeypatch.context() as patched:
        patched.setattr(PositionStore, "record", record)
        with pytest.raises(Killed):
            here.look()
    postgres.run("INSERT INTO t VALUES (2, 'b', 2)")
    # the first slot began before the second row: if it were read on, the row would be there twice, or none at all
    here.look()
    here.look()
    assert [record["op"] for record in records(here)] == ["r", "r"]
    postgres.run("SELECT pg_drop_replication_slot('killed')")


def test_changes_that_are_gone_are_told_and_the_table_can_be_read_again(postgres: Server, tmp_path: Path) -> None:
    postgres.run(TABLE.format("t"), "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)")
    here = place(tmp_path, postgres, "gone")
    here.look()
    postgres.run("DELETE FROM t WHERE id = 1", "SELECT pg_drop_replication_slot('gone')")
    with pytest.raises(InputError, match="not there any more"):
        here.look()
    other = place(tmp_path / "other", postgres, "gone")
    other.look()
    # another deployment made it, so it is not ours, whatever it has
    with pytest.raises(InputError, match="somebody read the slot up to"):
        here.look()
    with pytest.raises(ConfigError, match="did not make"):
        place(tmp_path / "third", postgres, "gone").look()
    again = here.source.model_copy(
        update={"connection": here.source.connection.model_copy(update={"lost": "snapshot"})}
    )
    here.look(source=again)
    assert [record["op"] for record in records(here)] == ["r", "r", "t", "r"]
    assert folded(records(here)) == rows_of(postgres, "t")
    arrivals = here.metadata.arrivals("orders")
    assert next(arrival.note for arrival in arrivals if arrival.note).startswith("begun again with all rows, because")
    postgres.run("SELECT pg_drop_replication_slot('gone')")


def test_what_is_missing_says_what_to_do(postgres: Server, tmp_path: Path) -> None:
    postgres.run(TABLE.format("t"), "CREATE USER reader REPLICATION PASSWORD 'r'", "GRANT SELECT ON t TO reader")
    reader = Server({**postgres.declared, "user": "reader"}, postgres.password)
    postgres.run("ALTER USER reader PASSWORD '" + postgres.password.replace("'", "''") + "'")
    try:
        with pytest.raises(ConfigError, match=r'run: CREATE PUBLICATION "right" FOR TABLE "public"\."t"'):
            place(tmp_path / "right", reader, "right").look()
        postgres.run("CREATE PUBLICATION empty")
        with pytest.raises(ConfigError, match=r'ALTER PUBLICATION "empty" ADD TABLE "public"\."t"'):
            place(tmp_path / "table", postgres, "has_table", publication="empty").look()
        kept = place(tmp_path / "kept", postgres, "kept", most_kept=1)
        kept.look()
        postgres.run("INSERT INTO t VALUES (1, 'a', 1)")
        kept.now += dt.timedelta(hours=1)
        assert "of its log for the slot" in str(kept.found().problems[0].error)
        postgres.run("SELECT pg_drop_replication_slot('kept')")
    finally:
        postgres.run("REVOKE ALL ON t FROM reader", "DROP USER reader")


SOURCE: dict[str, Any] = {
    "name": "orders",
    "area": "shop",
    "connection": {"type": "replication", "database": "shop", "table": "public.orders", "every": "PT0S"},
    "envelope": "replication",
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "amount", "type": "decimal(18,4)"},
        {"name": "paid", "type": "boolean"},
        {"name": "at", "type": "timestamptz"},
        {"name": "tags"},
        {"name": "text"},
    ],
    "refresh": {
        "type": "key",
        "key": ["id"],
        "merge": {"text": {"take": "last", "when": f"text is null or text <> '{UNCHANGED}'"}},
    },
    "gates": {"deletes": {"max_share": 1.0}},
}
NAMES = ("id", "amount", "paid", "tags", "text")


def test_from_the_log_to_the_hub(postgres: Server, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Snapshot and changes give the values of the table: exact types, large values, truncated and deleted rows."""
    postgres.run(
        "CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric, paid boolean, at timestamptz, tags text[], "
        "text text)",
        "ALTER TABLE orders ALTER COLUMN text SET STORAGE EXTERNAL",
        "INSERT INTO orders VALUES (1, 12345678901234.5678, true, '2024-05-04 10:00+02', '{a,\"b,c\"}', "
        "repeat('x', 9000)),"
        " (2, NULL, NULL, NULL, NULL, ''), (3, 3, false, now(), '{}', 'gone')",
    )
    wanted = "SELECT id::text, round(amount, 4)::text, initcap(paid::text), tags::text, text FROM orders ORDER BY id"
    with hub_of(postgres, SOURCE, instance, tmp_path) as taken:
        assert taken(*NAMES) == postgres.run(wanted)
        postgres.run(
            "UPDATE orders SET amount = 2 WHERE id = 1",
            "DELETE FROM orders WHERE id = 3",
            "UPDATE orders SET id = 20 WHERE id = 2",
        )
        assert taken(*NAMES) == postgres.run(wanted)
        postgres.run("TRUNCATE orders; INSERT INTO orders VALUES (5, 5, true, now(), NULL, 'after')")
        assert taken(*NAMES) == postgres.run(wanted)
    postgres.run("SELECT pg_drop_replication_slot('dataops_test_orders')")
