"""The log of PostgreSQL becomes inputs: each committed change once, in its order, whatever dies and whoever writes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from code_location import CodeLocation, declaration
from dagster.components.testing import create_defs_folder_sandbox
from database_place import DatabasePlace, Server, SideBySide, place_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_assets.connections.databases.pgoutput import UNCHANGED
from dataops_assets.errors import ConfigError, InputError
from dataops_assets.metadata.position_store import FinishedLook, PositionStore

EVERY_TICK = {"every": "PT0S"}
TABLE = "CREATE TABLE {} (id integer PRIMARY KEY, note text, serial integer)"


def place(home: Path, server: Server, slot: str, table: str = "public.t", **connection: Any) -> DatabasePlace:
    return place_of(home, server.declared, type="replication", table=table, slot=slot, **EVERY_TICK, **connection)


def records(place: DatabasePlace) -> list[dict[str, Any]]:
    """All records of all inputs, in their order."""
    texts = [place.path(item).read_text(encoding="utf-8") for item in sorted(place.inputs)]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def folded(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows by key that a reader of the records has after all of them."""
    state: dict[str, Any] = {}
    for record in found:
        match record["op"]:
            case "t":
                state.clear()
            case "d":
                del state[record["before"]["id"]]
            case _:
                state[record["after"]["id"]] = record["after"]
    return state


def rows_of(server: Server, table: str) -> dict[str, Any]:
    rows = server.run(f"SELECT id::text, note, serial::text FROM {table}")
    return {row[0]: dict(zip(("id", "note", "serial"), row, strict=True)) for row in rows}


CLIENTS = 3
KEYS = st.integers(1, 4)
ACTS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, CLIENTS - 1), KEYS),
    st.tuples(st.just("write"), st.integers(0, CLIENTS - 1), KEYS),
    st.tuples(st.just("delete"), st.integers(0, CLIENTS - 1), KEYS),
    st.tuples(st.just("other key"), st.integers(0, CLIENTS - 1), KEYS),
    st.tuples(st.just("savepoint"), st.integers(0, CLIENTS - 1), KEYS),
    st.tuples(st.just("empty the table"), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(("commit", "rollback")), st.integers(0, CLIENTS - 1), st.just(0)),
    st.tuples(st.sampled_from(("look", "look that dies")), st.just(0), st.just(0)),
)


class Writers(SideBySide):
    """Each has rows of its own, so that none waits for another."""

    def __init__(self, server: Server, table: str) -> None:
        super().__init__(server, CLIENTS)
        self.table = table

    def act(self, what: str, client: int, key: int) -> None:
        self.serial += 1
        own, connection = client * 10 + key, self.connections[client]
        if what == "empty the table":
            self.end()
        with connection.cursor() as cursor:
            match what:
                case "write" | "savepoint":
                    cursor.execute(
                        f"SAVEPOINT s; INSERT INTO {self.table} VALUES (%s, %s, %s) "
                        "ON CONFLICT (id) DO UPDATE SET note = excluded.note, serial = excluded.serial",
                        (own, f"v{self.serial} 'é\n\\\"", self.serial),
                    )
                    if what == "savepoint" and self.serial % 2:
                        cursor.execute("ROLLBACK TO s")
                case "delete":
                    cursor.execute(f"DELETE FROM {self.table} WHERE id = %s", (own,))
                case "other key":
                    cursor.execute(
                        f"UPDATE {self.table} SET id = id + 5 WHERE id = %s AND NOT EXISTS "
                        f"(SELECT 1 FROM {self.table} WHERE id = %s)",
                        (own, own + 5),
                    )
                case "empty the table":
                    cursor.execute(f"TRUNCATE {self.table}")
                    connection.commit()
                case "commit":
                    connection.commit()
                case "rollback":
                    connection.rollback()


class _Killed(BaseException):
    pass


def dying(monkeypatch: pytest.MonkeyPatch, look: Callable[[], Any]) -> None:
    """A look whose process is killed where it records what it read."""

    def record(_self: PositionStore, done: FinishedLook) -> None:
        raise _Killed(done.source)

    with monkeypatch.context() as patched:
        patched.setattr(PositionStore, "record", record)
        with suppress(_Killed):
            look()


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
            with pytest.MonkeyPatch.context() as patch:
                for what, client, key in acts:
                    if what == "look":
                        if not begins(here):
                            here.look()
                    elif what == "look that dies":
                        if not begins(here):
                            dying(patch, here.look)
                    else:
                        writers.act(what, client, key)
            writers.end()
            here.look()
            here.look()
            here.look()
        finally:
            writers.close()
            postgres.run(f"SELECT pg_drop_replication_slot('law_{number}')")
        found = records(here)
        assert folded(found) == rows_of(postgres, table)
        places = [(record["source"]["lsn"], record["source"]["number"], record["op"]) for record in found]
        changes = [each for each in places if each[2] != "r"]
        assert len(set(changes)) == len(changes), "a change that is there twice"
        assert changes == sorted(changes, key=lambda each: each[:2])

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
            raise _Killed
        recorded(self, done)

    with monkeypatch.context() as patched:
        patched.setattr(PositionStore, "record", record)
        with pytest.raises(_Killed):
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
    "envelope": "postgres",
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
    with create_defs_folder_sandbox() as sandbox:
        connections = {"shop": postgres.declared}
        texts = {
            "databases": yaml.safe_dump(
                {
                    "type": "dataops_assets.components.ConnectionsComponent",
                    "attributes": {"connections": connections},
                }
            ),
            "orders": declaration(SOURCE),
        }
        for name, text in texts.items():
            (sandbox.defs_folder_path / name).mkdir(parents=True)
            (sandbox.defs_folder_path / name / "defs.yaml").write_text(text)
        with sandbox.build_all_defs() as definitions:
            here = CodeLocation(definitions, instance, tmp_path)

            def taken() -> list[tuple[Any, ...]]:
                for request in here.tick("orders").run_requests or []:
                    assert here.run(request).success
                here.restart()
                return [
                    tuple(None if value is None else str(value) for value in row)
                    for row in here.rows("hub/orders", *NAMES)
                ]

            assert taken() == postgres.run(wanted)
            postgres.run(
                "UPDATE orders SET amount = 2 WHERE id = 1",
                "DELETE FROM orders WHERE id = 3",
                "UPDATE orders SET id = 20 WHERE id = 2",
            )
            assert taken() == postgres.run(wanted)
            postgres.run("TRUNCATE orders; INSERT INTO orders VALUES (5, 5, true, now(), NULL, 'after')")
            assert taken() == postgres.run(wanted)
    postgres.run("SELECT pg_drop_replication_slot('dataops_test_orders')")
