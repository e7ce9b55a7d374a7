"""What the tests of both logs share: writers whose transactions run side by side, and a reader of the records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from code_location import CodeLocation, declaration
from dagster.components.testing import create_defs_folder_sandbox
from database_place import DatabasePlace, Server, SideBySide
from hypothesis import strategies as st

from dataops_assets.errors import CommitConflict
from dataops_assets.metadata.position_store import FinishedLook, PositionStore
from dataops_assets.report import Input

TABLE = "CREATE TABLE {} (id integer PRIMARY KEY, note text, serial integer)"


def records(place: DatabasePlace) -> list[dict[str, Any]]:
    """All records of all inputs, in their order."""
    return [record for item in sorted(place.inputs) for record in records_of(place, item)]


def records_of(place: DatabasePlace, item: Input) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place.path(item).read_bytes().splitlines()]


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
    rows = [
        [None if value is None else str(value) for value in row]
        for row in server.run(f"SELECT id, note, serial FROM {table}")
    ]
    return {str(row[0]): dict(zip(("id", "note", "serial"), row, strict=True)) for row in rows}


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
    st.tuples(st.sampled_from(("look", "look that dies", "two looks")), st.just(0), st.just(0)),
)


class Writers(SideBySide):
    """Each has rows of its own, so that none waits for another."""

    write = (
        "INSERT INTO {} VALUES (%s, %s, %s) "
        "ON CONFLICT (id) DO UPDATE SET note = excluded.note, serial = excluded.serial"
    )
    other_key = "UPDATE {0} SET id = id + 5 WHERE id = %s AND NOT EXISTS (SELECT 1 FROM {0} WHERE id = %s)"

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
                    cursor.execute("SAVEPOINT s")
                    cursor.execute(self.write.format(self.table), (own, f"v{self.serial} 'é\n\\\"", self.serial))
                    if what == "savepoint" and self.serial % 2:
                        cursor.execute("ROLLBACK TO s")
                case "delete":
                    cursor.execute(f"DELETE FROM {self.table} WHERE id = %s", (own,))
                case "other key":
                    cursor.execute(self.other_key.format(self.table), (own, own + 5))
                case "empty the table":
                    cursor.execute(f"TRUNCATE {self.table}")
                    connection.commit()
                case "commit":
                    connection.commit()
                case "rollback":
                    connection.rollback()


class Killed(BaseException):
    pass


def dying(monkeypatch: pytest.MonkeyPatch, look: Callable[[], Any]) -> None:
    """A look whose process is killed where it records what it read."""

    def record(_self: PositionStore, done: FinishedLook) -> None:
        raise Killed(done.source)

    with monkeypatch.context() as patched:
        patched.setattr(PositionStore, "record", record)
        with suppress(Killed):
            look()


def side_by_side(monkeypatch: pytest.MonkeyPatch, look: Callable[[], Any]) -> None:
    """Two looks of two daemons: the other one records first, so this one counts for nothing."""
    recorded = PositionStore.record
    others = [look]

    def record(self: PositionStore, done: FinishedLook) -> None:
        if others:
            others.pop()()
        recorded(self, done)

    with monkeypatch.context() as patched:
        patched.setattr(PositionStore, "record", record)
        with suppress(CommitConflict):
            look()


def act(writers: Writers, here: DatabasePlace, step: tuple[str, int, int], *, can_look: bool = True) -> None:
    """Let a writer do what is drawn, or look."""
    what = step[0]
    looks = {"look": lambda _patch, look: look(), "look that dies": dying, "two looks": side_by_side}
    if what not in looks:
        writers.act(*step)
    elif can_look:
        with pytest.MonkeyPatch.context() as patch:
            looks[what](patch, here.look)


def require_each_once(found: list[dict[str, Any]]) -> None:
    """Each change is there once, in the order of the log."""
    places = [(record["source"]["lsn"], record["source"]["number"], record["op"]) for record in found]
    changes = [each for each in places if each[2] != "r"]
    assert len(set(changes)) == len(changes), "a change that is there twice"
    assert changes == sorted(changes, key=lambda each: each[:2])


@contextmanager
def hub_of(
    server: Server, source: dict[str, Any], instance: dg.DagsterInstance, home: Path
) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """A code location with the source `orders`; what it yields looks, runs, and returns columns of the hub as texts."""
    connections = {
        "type": "dataops_assets.components.ConnectionsComponent",
        "attributes": {"connections": {"shop": server.declared}},
    }
    with create_defs_folder_sandbox() as sandbox:
        for name, text in {"databases": yaml.safe_dump(connections), "orders": declaration(source)}.items():
            (sandbox.defs_folder_path / name).mkdir(parents=True)
            (sandbox.defs_folder_path / name / "defs.yaml").write_text(text)
        with sandbox.build_all_defs() as definitions:
            here = CodeLocation(definitions, instance, home)

            def taken(*names: str) -> list[tuple[Any, ...]]:
                for request in here.tick("orders").run_requests or []:
                    assert here.run(request).success
                here.restart()
                rows = here.rows("hub/orders", *names)
                return [tuple(None if value is None else str(value) for value in row) for row in rows]

            yield taken
